// What looks at all gradients, side by side in one array, before an update.

// *bad = 1 where a gradient is infinite or NaN.
extern "C" __global__ void find_bad(const real_t* grads, int* bad, index_t elements) {
    EACH(i, elements) {
        sum_t g = up(grads[i]);
        if (g - g != 0) *bad = 1;  // whoever writes, writes the same
    }
}

// Dynamic loss scaling (Micikevicius et al. 2018, section 3.2), by one thread after the update: a bad step halves the
// scale, `interval` good ones in a row double it. Counts the steps that counted, and clears *bad.
extern "C" __global__ void adjust_scale(float* scale, int* bad, int* good, long long* step, int interval, float least,
                                        float most) {
    if (*bad) {
        *scale = fmaxf(*scale / 2, least);
        *good = 0;
    } else {
        *step += 1;
        *good += 1;
        if (*good == interval) {
            *scale = fminf(*scale * 2, most);
            *good = 0;
        }
    }
    *bad = 0;
}

// Each block's sum of squares of the unscaled and limited gradients.
extern "C" __global__ void square_sums(const real_t* grads, double* sums, index_t elements, const float* loss_scale,
                                       sum_t limit) {
    __shared__ double room[XP_THREADS];
    double total = 0;
    EACH(i, elements) {
        sum_t g = up(grads[i]);
        if (loss_scale) g /= (sum_t)*loss_scale;
        g = g < -limit ? -limit : g > limit ? limit : g;
        total += g * g;
    }
    total = block_sum(total, room);
    if (threadIdx.x == 0) sums[blockIdx.x] = total;
}

// *factor = most / max(norm, most), by one block; NaN where the norm is.
extern "C" __global__ void clip_factor(const double* sums, double* factor, index_t blocks, double most) {
    __shared__ double room[XP_THREADS];
    double total = 0;
    for (index_t k = threadIdx.x; k < blocks; k += blockDim.x) total += sums[k];
    double norm = sqrt(block_sum(total, room));
    if (threadIdx.x == 0) *factor = most / (norm <= most ? most : norm);
}
