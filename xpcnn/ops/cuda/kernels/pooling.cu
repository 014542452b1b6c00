// Pooling of planes (N*C, H, W) to (N*C, OH, OW): windows of PH x PW whose upper left corner is at oh*SH - PT, ow*SW - PL.
// XP_PLACE: what a place in the window is kept as, unsigned char or (windows of more than 256 elements) int.
typedef XP_PLACE place_t;

// The first of the largest wins, NaN over all; a pad is -inf, so it never does. winner may be null.
extern "C" __global__ void max_pool_forward(const real_t* x, real_t* y, place_t* winner, index_t elements, index_t H,
                                            index_t W, index_t OH, index_t OW, index_t PH, index_t PW, index_t SH,
                                            index_t SW, index_t PT, index_t PL) {
    EACH(i, elements) {
        index_t ow = i % OW, oh = i / OW % OH, top = oh * SH - PT, left = ow * SW - PL;
        const real_t* image = x + i / OW / OH * H * W;
        sum_t best = MINUS_INFINITY;
        index_t place = 0;
        for (index_t ph = 0; ph < PH; ++ph)
            for (index_t pw = 0; pw < PW; ++pw) {
                index_t h = top + ph, w = left + pw;
                if (h < 0 || h >= H || w < 0 || w >= W) continue;
                sum_t v = up(image[h * W + w]);
                if (beats(v, best)) {
                    best = v;
                    place = ph * PW + pw;
                }
            }
        y[i] = down(best);
        if (winner) winner[i] = (place_t)place;
    }
}

// Every element of dx asks the windows that saw it whether it won; in the order of its place in them.
extern "C" __global__ void max_pool_backward(const real_t* dout, const place_t* winner, real_t* dx, index_t elements,
                                             index_t H, index_t W, index_t OH, index_t OW, index_t PH, index_t PW,
                                             index_t SH, index_t SW, index_t PT, index_t PL) {
    EACH(i, elements) {
        index_t w = i % W, h = i / W % H, first = i / W / H * OH * OW;
        sum_t total = 0;
        for (index_t oh = min((h + PT) / SH, OH - 1); oh >= 0 && oh * SH - PT + PH > h; --oh)
            for (index_t ow = min((w + PL) / SW, OW - 1); ow >= 0 && ow * SW - PL + PW > w; --ow) {
                index_t place = (h + PT - oh * SH) * PW + w + PL - ow * SW, at = first + oh * OW + ow;
                if ((index_t)winner[at] == place) total += up(dout[at]);
            }
        dx[i] = down(total);
    }
}

// How many elements the window with this corner is an average over: all, or those that are no pad (1 at least).
__device__ inline sum_t window_count(index_t top, index_t left, index_t H, index_t W, index_t PH, index_t PW,
                                     index_t count_pad) {
    if (count_pad) return (sum_t)(PH * PW);
    index_t rows = min(top + PH, H) - max(top, (index_t)0), columns = min(left + PW, W) - max(left, (index_t)0);
    return rows > 0 && columns > 0 ? (sum_t)(rows * columns) : (sum_t)1;
}

extern "C" __global__ void average_pool_forward(const real_t* x, real_t* y, index_t elements, index_t H, index_t W,
                                                index_t OH, index_t OW, index_t PH, index_t PW, index_t SH, index_t SW,
                                                index_t PT, index_t PL, index_t count_pad) {
    EACH(i, elements) {
        index_t ow = i % OW, oh = i / OW % OH, top = oh * SH - PT, left = ow * SW - PL;
        const real_t* image = x + i / OW / OH * H * W;
        sum_t total = 0;
        for (index_t h = max(top, (index_t)0); h < min(top + PH, H); ++h)
            for (index_t w = max(left, (index_t)0); w < min(left + PW, W); ++w) total += up(image[h * W + w]);
        y[i] = down(total / window_count(top, left, H, W, PH, PW, count_pad));
    }
}

extern "C" __global__ void average_pool_backward(const real_t* dout, real_t* dx, index_t elements, index_t H, index_t W,
                                                 index_t OH, index_t OW, index_t PH, index_t PW, index_t SH, index_t SW,
                                                 index_t PT, index_t PL, index_t count_pad) {
    EACH(i, elements) {
        index_t w = i % W, h = i / W % H, first = i / W / H * OH * OW;
        sum_t total = 0;
        for (index_t oh = min((h + PT) / SH, OH - 1); oh >= 0 && oh * SH - PT + PH > h; --oh)
            for (index_t ow = min((w + PL) / SW, OW - 1); ow >= 0 && ow * SW - PL + PW > w; --ow)
                total += up(dout[first + oh * OW + ow]) /
                         window_count(oh * SH - PT, ow * SW - PL, H, W, PH, PW, count_pad);
        dx[i] = down(total);
    }
}
