// Bias, ReLU and max pooling behind a matrix product, in one pass, and the way back.
// Pictures are (N, C, P) with P = H*W pixels a plane; the array on the product's side may be (C, N, P), so it comes
// with the distances by_n and by_c of its pictures and channels. b may be null.

extern "C" __global__ void bias_relu(const real_t* x, const real_t* b, real_t* y, index_t elements, index_t C, index_t P,
                                     index_t by_n, index_t by_c, index_t relu) {
    EACH(i, elements) {
        index_t plane = i / P, c = plane % C;
        real_t v = x[plane / C * by_n + c * by_c + i % P];
        if (b) v = down(up(v) + up(b[c]));
        y[i] = relu ? down(rectified(up(v))) : v;
    }
}

// y (N, C, OH, OW); winner as in pooling.cu, or null. Windows of at most 256 elements.
extern "C" __global__ void bias_relu_pool(const real_t* x, const real_t* b, real_t* y, unsigned char* winner,
                                          index_t elements, index_t C, index_t H, index_t W, index_t OH, index_t OW,
                                          index_t PH, index_t PW, index_t SH, index_t SW, index_t PT, index_t PL,
                                          index_t by_n, index_t by_c) {
    EACH(i, elements) {
        index_t ow = i % OW, oh = i / OW % OH, plane = i / OW / OH, c = plane % C;
        index_t top = oh * SH - PT, left = ow * SW - PL;
        const real_t* image = x + plane / C * by_n + c * by_c;
        sum_t shift = b ? up(b[c]) : (sum_t)0, best = MINUS_INFINITY;
        index_t place = 0;
        for (index_t ph = 0; ph < PH; ++ph)
            for (index_t pw = 0; pw < PW; ++pw) {
                index_t h = top + ph, w = left + pw;
                if (h < 0 || h >= H || w < 0 || w >= W) continue;
                // Rounded and cut before it is compared, so that ties fall as they do in three passes.
                sum_t v = rectified(up(down(up(image[h * W + w]) + shift)));
                if (beats(v, best)) {
                    best = v;
                    place = ph * PW + pw;
                }
            }
        y[i] = down(best);
        if (winner) winner[i] = (unsigned char)place;
    }
}

// A block's part of a channel's bias gradient: final where it has the whole channel, else one of `parts` sums.
__device__ inline void store_sum(sum_t total, real_t* db, sum_t* sums, index_t c, index_t parts) {
    if (threadIdx.x != 0) return;
    if (parts == 1)
        db[c] = down(total);
    else
        sums[blockIdx.x] = total;
}

// dx = dout where y > 0 (everywhere where y is null), db = its sum over pictures and pixels. dout, y: (N, C, P).
extern "C" __global__ void bias_relu_backward(const real_t* dout, const real_t* y, real_t* dx, real_t* db, sum_t* sums,
                                              index_t count, index_t C, index_t P, index_t parts, index_t by_n,
                                              index_t by_c) {
    __shared__ sum_t room[XP_THREADS];
    Part part = my_part(count, parts);
    sum_t total = 0;
    for (index_t j = part.from + threadIdx.x; j < part.to; j += blockDim.x) {
        index_t n = j / P, p = j % P, at = (n * C + part.c) * P + p;
        sum_t d = up(dout[at]);
        if (y) d *= (sum_t)(up(y[at]) > 0);
        dx[n * by_n + part.c * by_c + p] = down(d);
        total += d;
    }
    store_sum(block_sum(total, room), db, sums, part.c, parts);
}

// The same through max pooling. dout, y, winner: (N, C, OH, OW); dx: H*W pixels a plane.
extern "C" __global__ void bias_relu_pool_backward(const real_t* dout, const real_t* y, const unsigned char* winner,
                                                   real_t* dx, real_t* db, sum_t* sums, index_t count, index_t C,
                                                   index_t H, index_t W, index_t OH, index_t OW, index_t PH, index_t PW,
                                                   index_t SH, index_t SW, index_t PT, index_t PL, index_t parts,
                                                   index_t by_n, index_t by_c) {
    __shared__ sum_t room[XP_THREADS];
    Part part = my_part(count, parts);
    sum_t total = 0;
    for (index_t j = part.from + threadIdx.x; j < part.to; j += blockDim.x) {
        index_t w = j % W, h = j / W % H, n = j / W / H, first = (n * C + part.c) * OH * OW;
        sum_t d = 0;
        for (index_t oh = min((h + PT) / SH, OH - 1); oh >= 0 && oh * SH - PT + PH > h; --oh)
            for (index_t ow = min((w + PL) / SW, OW - 1); ow >= 0 && ow * SW - PL + PW > w; --ow) {
                index_t place = (h + PT - oh * SH) * PW + w + PL - ow * SW, at = first + oh * OW + ow;
                if ((index_t)winner[at] == place) d += up(dout[at]) * (sum_t)(up(y[at]) > 0);
            }
        dx[n * by_n + part.c * by_c + h * W + w] = down(d);
        total += d;
    }
    store_sum(block_sum(total, room), db, sums, part.c, parts);
}

// The second stage: channel c's parts, summed in their order.
extern "C" __global__ void sum_parts(const sum_t* sums, real_t* db, index_t C, index_t parts) {
    EACH(c, C) {
        sum_t total = 0;
        for (index_t part = 0; part < parts; ++part) total += sums[c * parts + part];
        db[c] = down(total);
    }
}
