// Dropout by Philox4x32-10 (Salmon et al. 2011), the same bits as rng.keep_mask: numbers 4*block .. 4*block + 3 come
// from the counter (block, block >> 32, step, stream) and the key `seed`. No mask is kept: forward and backward both
// draw it again, y = x * mask * scale.
typedef unsigned int word_t;
typedef unsigned long long long_t;

__device__ inline void philox(word_t c[4], word_t k0, word_t k1) {
    for (int round = 0; round < 10; ++round) {
        long_t product0 = (long_t)c[0] * 0xD2511F53u, product1 = (long_t)c[2] * 0xCD9E8D57u;
        c[0] = (word_t)(product1 >> 32) ^ c[1] ^ k0;
        c[1] = (word_t)product1;
        c[2] = (word_t)(product0 >> 32) ^ c[3] ^ k1;
        c[3] = (word_t)product0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

// x's element i has number start + i. A thread has one block of four numbers; the first and last may reach beyond x.
extern "C" __global__ void dropout(const real_t* x, real_t* y, index_t blocks, index_t elements, long_t start,
                                   long_t threshold, long_t seed, word_t step, word_t stream, sum_t scale) {
    EACH(i, blocks) {
        long_t block = start / 4 + (long_t)i;
        word_t c[4] = {(word_t)block, (word_t)(block >> 32), step, stream};
        philox(c, (word_t)seed, (word_t)(seed >> 32));
        for (int lane = 0; lane < 4; ++lane) {
            index_t at = 4 * i + lane - (index_t)(start % 4);
            if (at < 0 || at >= elements) continue;
            y[at] = down(up(x[at]) * (sum_t)(c[lane] < threshold) * scale);
        }
    }
}
