// Convolution as a matrix product whose right-hand matrix, the columns, is never stored: each tile of it is gathered
// from the picture when it is needed. W (FN, K) times columns (K, N*OH*OW), K = channels*FH*FW, per group.
// A block makes 64 filters x 64 pixels, 16 of K at a time; a thread 4 x 4 of them.
#define TILE 64
#define DEEP 16
#define EACH_WAY (TILE / DEEP)

// x (N, groups*channels, H, W); weights (groups*filters, channels, FH, FW); b (groups*filters,) or null;
// y (N, groups*filters, OH, OW). Blocks: (group, tile of filters, tile of pixels), the last the fastest.
extern "C" __global__ void conv_implicit(const real_t* x, const real_t* weights, const real_t* b, real_t* y, index_t N,
                                         index_t groups, index_t channels, index_t filters, index_t H, index_t W,
                                         index_t FH, index_t FW, index_t OH, index_t OW, index_t SH, index_t SW,
                                         index_t PT, index_t PL, index_t DH, index_t DW, index_t relu) {
    __shared__ sum_t left[DEEP][TILE + 1];  // + 1: its columns would all lie in one bank
    __shared__ sum_t right[DEEP][TILE];
    index_t K = channels * FH * FW, pixels = N * OH * OW, t = threadIdx.x;
    index_t pixel_tiles = (pixels + TILE - 1) / TILE, filter_tiles = (filters + TILE - 1) / TILE;
    index_t first_pixel = blockIdx.x % pixel_tiles * TILE;
    index_t first_filter = blockIdx.x / pixel_tiles % filter_tiles * TILE;
    index_t group = blockIdx.x / pixel_tiles / filter_tiles;

    // This thread loads column t % 64 of the right tile: one pixel, whose window it finds once.
    index_t pixel = first_pixel + t % TILE, n = pixel / (OH * OW), top = pixel / OW % OH * SH - PT;
    index_t left_edge = pixel % OW * SW - PL;
    index_t picture = (n * groups + group) * channels * H * W;

    sum_t sums[EACH_WAY][EACH_WAY];
    for (int i = 0; i < EACH_WAY; ++i)
        for (int j = 0; j < EACH_WAY; ++j) sums[i][j] = 0;

    for (index_t first = 0; first < K; first += DEEP) {
        for (int i = 0; i < EACH_WAY; ++i) {
            index_t k = first + t % DEEP, row = t / DEEP + DEEP * i, filter = first_filter + row;
            bool there = k < K && filter < filters;
            left[t % DEEP][row] = there ? up(weights[(group * filters + filter) * K + k]) : (sum_t)0;
        }
        for (int i = 0; i < EACH_WAY; ++i) {
            index_t depth = t / TILE + EACH_WAY * i, k = first + depth;
            index_t h = top + k / FW % FH * DH, w = left_edge + k % FW * DW;
            bool there = k < K && pixel < pixels && h >= 0 && h < H && w >= 0 && w < W;
            right[depth][t % TILE] = there ? up(x[picture + (k / FW / FH * H + h) * W + w]) : (sum_t)0;
        }
        __syncthreads();
        for (int depth = 0; depth < DEEP; ++depth)
            for (int i = 0; i < EACH_WAY; ++i)
                for (int j = 0; j < EACH_WAY; ++j)
                    sums[i][j] += left[depth][t / DEEP + DEEP * i] * right[depth][t % DEEP + DEEP * j];
        __syncthreads();
    }

    for (int i = 0; i < EACH_WAY; ++i)
        for (int j = 0; j < EACH_WAY; ++j) {
            index_t filter = first_filter + t / DEEP + DEEP * i, to = first_pixel + t % DEEP + DEEP * j;
            if (filter >= filters || to >= pixels) continue;
            index_t f = group * filters + filter, P = OH * OW;
            sum_t v = b ? sums[i][j] + up(b[f]) : sums[i][j];
            y[(to / P * groups * filters + f) * P + to % P] = down(relu ? rectified(v) : v);
        }
}
