// Softmax cross-entropy: loss, gradient and count of right answers in one launch, a block a row of scores.
// XP_LABEL: int or long long.
typedef XP_LABEL label_t;

// A score and where it is; as numpy.argmax has it, the first of equals and the first NaN count as the largest.
struct Best {
    sum_t value;
    index_t at;
};
__device__ inline Best better(Best a, Best b) {
    bool same = a.value == b.value || (a.value != a.value && b.value != b.value);
    return same ? (b.at < a.at ? b : a) : beats(b.value, a.value) ? b : a;
}

__device__ inline Best row_best(const real_t* x, index_t K, Best* room) {
    unsigned t = threadIdx.x;
    Best best = {MINUS_INFINITY, K};
    for (index_t k = t; k < K; k += blockDim.x) best = better(best, {up(x[k]), k});
    room[t] = best;
    __syncthreads();
    for (unsigned width = blockDim.x / 2; width > 0; width /= 2) {
        if (t < width) room[t] = better(room[t], room[t + width]);
        __syncthreads();
    }
    best = room[0];
    __syncthreads();
    return best;
}

// x (N, K) scores, t (N,) labels. dx (or null): (softmax - target) * scale * *loss_scale (null: 1).
// losses (N,), hits (N,): room for each row's loss and whether it is right. The block that ends last adds their sums,
// taken in one fixed order, to loss_sum and right, and sets `done` back to 0. A label outside 0..K-1 makes its row NaN.
extern "C" __global__ void softmax_cross_entropy(const real_t* x, const label_t* t, real_t* dx, sum_t* losses,
                                                 unsigned char* hits, double* loss_sum, long long* right,
                                                 unsigned* done, const float* loss_scale, index_t K, sum_t scale,
                                                 sum_t smoothing) {
    __shared__ Best bests[XP_THREADS];
    __shared__ sum_t room[XP_THREADS];
    index_t row = blockIdx.x;
    x += row * K;
    label_t label = t[row];
    bool known = label >= 0 && label < (label_t)K;
    Best best = row_best(x, K, bests);
    sum_t exponentials = 0, shifted = 0;
    for (index_t k = threadIdx.x; k < K; k += blockDim.x) {
        sum_t v = up(x[k]) - best.value;
        exponentials += exponential(v);
        if (smoothing != 0) shifted += v;
    }
    sum_t log_sum = logarithm(block_sum(exponentials, room));
    shifted = block_sum(shifted, room);
    if (loss_scale) scale *= (sum_t)*loss_scale;
    if (!known) scale = MINUS_INFINITY - MINUS_INFINITY;
    if (dx)
        for (index_t k = threadIdx.x; k < K; k += blockDim.x) {
            sum_t d = exponential(up(x[k]) - best.value - log_sum);
            if (k == (index_t)label) d -= 1 - smoothing;
            dx[row * K + k] = down((d - smoothing / K) * scale);
        }

    __shared__ bool last;
    if (threadIdx.x == 0) {
        sum_t loss = known ? -(up(x[label]) - best.value - log_sum) : scale;
        if (smoothing != 0) loss = loss * (1 - smoothing) - (shifted / K - log_sum) * smoothing;
        losses[row] = loss;
        hits[row] = known && best.at == (index_t)label && best.value == best.value;  // NaN is never right
        __threadfence();  // the row must be seen before the count is
        last = atomicAdd(done, 1u) == gridDim.x - 1;
    }
    __syncthreads();
    if (!last) return;
    __threadfence();
    __shared__ double sums[XP_THREADS];
    __shared__ long long counts[XP_THREADS];
    double sum = 0;
    long long count = 0;
    for (index_t n = threadIdx.x; n < (index_t)gridDim.x; n += blockDim.x) {
        sum += ((const volatile sum_t*)losses)[n];  // volatile: written by other multiprocessors
        count += ((const volatile unsigned char*)hits)[n];
    }
    sum = block_sum(sum, sums);
    count = block_sum(count, counts);
    if (threadIdx.x == 0) {
        *loss_sum += sum;
        *right += count;
        *done = 0;
    }
}

// One thread ends a step: its sum of losses and its right answers join the epoch's, and the sum becomes the mean.
extern "C" __global__ void count_batch(double* loss, const long long* right, double* loss_sum, long long* right_sum,
                                       double samples) {
    *loss_sum += *loss;
    *right_sum += *right;
    *loss /= samples;
}
