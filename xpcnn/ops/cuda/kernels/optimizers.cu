// Every optimizer's update of all parameters at once, in the arithmetic of xpcnn.optimizers, operation by operation
// (so it is compiled without fused multiply-adds). Parameters p and state are sum_t, gradients g real_t.
// All kernels share what is in RULES:
//   skip        int32, or null: where it is not 0, nothing happens
//   loss_scale  float, or null: gradients are divided by it first
//   limit       then limited to -limit .. limit
//   clip        double, or null: then multiplied by it
//   decay       then decay * p is added
#define RULES const int *skip, const float *loss_scale, sum_t limit, const double *clip, sum_t decay

__device__ inline sum_t gradient(real_t raw, sum_t p, const float* loss_scale, sum_t limit, const double* clip,
                                 sum_t decay) {
    sum_t g = up(raw);
    if (loss_scale) g /= (sum_t)*loss_scale;
    g = g < -limit ? -limit : g > limit ? limit : g;
    if (clip) g *= (sum_t)*clip;
    if (decay != 0) g += p * decay;
    return g;
}
#define GRADIENT(i) gradient(g_raw[i], p[i], loss_scale, limit, clip, decay)

extern "C" __global__ void sgd(sum_t* p, const real_t* g_raw, index_t elements, RULES, sum_t lr) {
    if (skip && *skip) return;
    EACH(i, elements) p[i] = p[i] - GRADIENT(i) * lr;
}

extern "C" __global__ void momentum(sum_t* p, const real_t* g_raw, sum_t* v, index_t elements, RULES, sum_t lr,
                                    sum_t keep) {
    if (skip && *skip) return;
    EACH(i, elements) {
        v[i] = v[i] * keep - GRADIENT(i) * lr;
        p[i] = p[i] + v[i];
    }
}

extern "C" __global__ void nesterov(sum_t* p, const real_t* g_raw, sum_t* v, index_t elements, RULES, sum_t lr,
                                    sum_t keep) {
    if (skip && *skip) return;
    EACH(i, elements) {
        sum_t step = GRADIENT(i) * lr;
        v[i] = v[i] * keep - step;
        p[i] = p[i] - step + v[i] * keep;
    }
}

extern "C" __global__ void adagrad(sum_t* p, const real_t* g_raw, sum_t* h, index_t elements, RULES, sum_t lr,
                                   sum_t eps) {
    if (skip && *skip) return;
    EACH(i, elements) {
        sum_t g = GRADIENT(i);
        h[i] += g * g;
        p[i] = p[i] - g / (root(h[i]) + eps) * lr;
    }
}

extern "C" __global__ void rmsprop(sum_t* p, const real_t* g_raw, sum_t* h, index_t elements, RULES, sum_t lr,
                                   sum_t eps, sum_t keep, sum_t follow) {
    if (skip && *skip) return;
    EACH(i, elements) {
        sum_t g = GRADIENT(i);
        h[i] = h[i] * keep + g * g * follow;
        p[i] = p[i] - g / (root(h[i]) + eps) * lr;
    }
}

// Adam, and AdamW with decoupled = 1 - lr * weight_decay (1 for Adam). The number t of this update, on which the
// corrections depend, is *done + 1 where steps are counted on the device (some are skipped there), else `t`.
extern "C" __global__ void adam(sum_t* p, const real_t* g_raw, sum_t* m, sum_t* v, index_t elements, RULES,
                                const long long* done, long long t, double lr, double beta1, double beta2, sum_t keep1,
                                sum_t follow1, sum_t keep2, sum_t follow2, sum_t eps, sum_t decoupled) {
    if (skip && *skip) return;
    __shared__ sum_t corrections[2];
    if (threadIdx.x == 0) {
        double update = (double)(done ? *done + 1 : t);
        corrections[0] = (sum_t)(lr / (1 - pow(beta1, update)));
        corrections[1] = (sum_t)(1 / sqrt(1 - pow(beta2, update)));
    }
    __syncthreads();
    EACH(i, elements) {
        sum_t g = GRADIENT(i), w = p[i] * decoupled;
        m[i] = m[i] * keep1 + g * follow1;
        v[i] = v[i] * keep2 + g * g * follow2;
        p[i] = w - m[i] / (root(v[i]) * corrections[1] + eps) * corrections[0];
    }
}
