// Columns of pictures and back (book, section 7.4). A window's element (fh, fw) lies at row oh*SH - PT + fh*DH and
// column ow*SW - PL + fw*DW of its picture; outside it is 0.

// x (N, C, H, W) to col, where element k = (c, fh, fw) of pixel p = (oh, ow) of picture n is at n*by_n + k*by_k + p.
// A thread has one pixel of one channel, so that neighbours read and write side by side.
extern "C" __global__ void im2col_nchw(const real_t* x, real_t* col, index_t pixels, index_t C, index_t H, index_t W,
                                       index_t FH, index_t FW, index_t OH, index_t OW, index_t SH, index_t SW,
                                       index_t PT, index_t PL, index_t DH, index_t DW, index_t by_n, index_t by_k) {
    EACH(i, pixels) {
        index_t ow = i % OW, oh = i / OW % OH, plane = i / OW / OH, c = plane % C, n = plane / C;
        index_t top = oh * SH - PT, left = ow * SW - PL;
        const real_t* image = x + plane * H * W;
        real_t* to = col + n * by_n + c * FH * FW * by_k + oh * OW + ow;
        for (index_t fh = 0; fh < FH; ++fh)
            for (index_t fw = 0; fw < FW; ++fw) {
                index_t h = top + fh * DH, w = left + fw * DW;
                bool inside = h >= 0 && h < H && w >= 0 && w < W;
                to[(fh * FW + fw) * by_k] = inside ? image[h * W + w] : down(0);
            }
    }
}

// The transpose: every pixel of dx (N, C, H, W) sums what saw it, in the order of (fh, fw).
extern "C" __global__ void col2im_nchw(const real_t* col, real_t* dx, index_t pixels, index_t C, index_t H, index_t W,
                                       index_t FH, index_t FW, index_t OH, index_t OW, index_t SH, index_t SW,
                                       index_t PT, index_t PL, index_t DH, index_t DW, index_t by_n, index_t by_k) {
    EACH(i, pixels) {
        index_t w = i % W, h = i / W % H, plane = i / W / H, c = plane % C, n = plane / C;
        const real_t* from = col + n * by_n + c * FH * FW * by_k;
        sum_t total = 0;
        for (index_t fh = 0; fh < FH; ++fh) {
            index_t down_h = h + PT - fh * DH, oh = down_h / SH;
            if (down_h < 0 || down_h % SH != 0 || oh >= OH) continue;
            for (index_t fw = 0; fw < FW; ++fw) {
                index_t right_w = w + PL - fw * DW, ow = right_w / SW;
                if (right_w < 0 || right_w % SW != 0 || ow >= OW) continue;
                total += up(from[(fh * FW + fw) * by_k + oh * OW + ow]);
            }
        }
        dx[i] = down(total);
    }
}

// x (N, H, W, C) to col (N*OH*OW, FH*FW*C).
extern "C" __global__ void im2col_nhwc(const real_t* x, real_t* col, index_t elements, index_t C, index_t H, index_t W,
                                       index_t FH, index_t FW, index_t OH, index_t OW, index_t SH, index_t SW,
                                       index_t PT, index_t PL, index_t DH, index_t DW) {
    EACH(i, elements) {
        index_t c = i % C, k = i / C, fw = k % FW, fh = k / FW % FH, p = k / FW / FH;
        index_t ow = p % OW, oh = p / OW % OH, n = p / OW / OH;
        index_t h = oh * SH - PT + fh * DH, w = ow * SW - PL + fw * DW;
        bool inside = h >= 0 && h < H && w >= 0 && w < W;
        col[i] = inside ? x[((n * H + h) * W + w) * C + c] : down(0);
    }
}

extern "C" __global__ void col2im_nhwc(const real_t* col, real_t* dx, index_t elements, index_t C, index_t H, index_t W,
                                       index_t FH, index_t FW, index_t OH, index_t OW, index_t SH, index_t SW,
                                       index_t PT, index_t PL, index_t DH, index_t DW) {
    EACH(i, elements) {
        index_t c = i % C, p = i / C, w = p % W, h = p / W % H, n = p / W / H;
        sum_t total = 0;
        for (index_t fh = 0; fh < FH; ++fh) {
            index_t down_h = h + PT - fh * DH, oh = down_h / SH;
            if (down_h < 0 || down_h % SH != 0 || oh >= OH) continue;
            for (index_t fw = 0; fw < FW; ++fw) {
                index_t right_w = w + PL - fw * DW, ow = right_w / SW;
                if (right_w < 0 || right_w % SW != 0 || ow >= OW) continue;
                total += up(col[((((n * OH + oh) * OW + ow) * FH + fh) * FW + fw) * C + c]);
            }
        }
        dx[i] = down(total);
    }
}
