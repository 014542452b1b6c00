// Batch normalisation (Ioffe & Szegedy 2015) of (N, C, P), P = 1 for rows (N, C): statistics over N and P, a channel
// shared out among `parts` blocks. Statistics, gamma and beta are in sum_t. relu: ReLU behind it, in the same pass.

// Each part's mean and sum of squared distances from it: two looks at numbers that the second finds in the cache.
extern "C" __global__ void bn_statistics(const real_t* x, sum_t* means, sum_t* squares, index_t count, index_t C,
                                         index_t P, index_t parts) {
    __shared__ sum_t room[XP_THREADS];
    Part part = my_part(count, parts);
    sum_t total = 0;
    for (index_t j = part.from + threadIdx.x; j < part.to; j += blockDim.x)
        total += up(x[(j / P * C + part.c) * P + j % P]);
    sum_t mean = block_sum(total, room) / (sum_t)max(part.to - part.from, (index_t)1);
    total = 0;
    for (index_t j = part.from + threadIdx.x; j < part.to; j += blockDim.x) {
        sum_t distance = up(x[(j / P * C + part.c) * P + j % P]) - mean;
        total += distance * distance;
    }
    total = block_sum(total, room);
    if (threadIdx.x == 0) {
        means[blockIdx.x] = mean;
        squares[blockIdx.x] = total;
    }
}

// One more set of numbers joins those that were seen (Chan, Golub & LeVeque 1983).
struct Joined {
    sum_t seen, centre, square;
    __device__ void take(sum_t more, sum_t mean, sum_t squares) {
        sum_t share = more / (seen + more), distance = mean - centre;
        centre += distance * share;
        square += squares + distance * distance * seen * share;
        seen += more;
    }
};

// The channel's mean and variance from those of its parts.
__device__ inline void join_parts(const sum_t* means, const sum_t* squares, index_t c, index_t count, index_t parts,
                                  sum_t* mean, sum_t* variance) {
    index_t length = part_length(count, parts);
    Joined all = {0, 0, 0};
    for (index_t part = 0; part < parts && part * length < count; ++part)
        all.take((sum_t)min(length, count - part * length), means[c * parts + part], squares[c * parts + part]);
    *mean = all.centre;
    *variance = all.square / all.seen;
}

__device__ inline void normalise(const real_t* x, real_t* y, Part part, index_t C, index_t P, sum_t mean,
                                 sum_t inverse_std, sum_t gamma, sum_t beta, index_t relu) {
    for (index_t j = part.from + threadIdx.x; j < part.to; j += blockDim.x) {
        index_t at = (j / P * C + part.c) * P + j % P;
        sum_t v = (up(x[at]) - mean) * inverse_std * gamma + beta;
        y[at] = down(relu ? rectified(v) : v);
    }
}

// NaN where the variance is infinite: the 0 would turn every number of the channel into beta.
__device__ inline sum_t inverse_deviation(sum_t variance, sum_t eps) { return 1 / root(variance + eps) + variance * 0; }

// Training: running = running * keep + batch's * follow; the block with a channel's first part writes it down.
extern "C" __global__ void bn_train(const real_t* x, const sum_t* gamma, const sum_t* beta, const sum_t* means,
                                    const sum_t* squares, sum_t* running_mean, sum_t* running_var, sum_t* mean_out,
                                    sum_t* inverse_std_out, real_t* y, index_t count, index_t C, index_t P,
                                    index_t parts, sum_t eps, sum_t keep, sum_t follow, index_t relu) {
    __shared__ sum_t statistics[2];
    Part part = my_part(count, parts);
    if (threadIdx.x == 0) {
        sum_t mean, variance;
        join_parts(means, squares, part.c, count, parts, &mean, &variance);
        statistics[0] = mean;
        statistics[1] = inverse_deviation(variance, eps);
        if (part.from == 0) {
            mean_out[part.c] = mean;
            inverse_std_out[part.c] = statistics[1];
            running_mean[part.c] = running_mean[part.c] * keep + mean * follow;
            running_var[part.c] = running_var[part.c] * keep + variance * follow;
        }
    }
    __syncthreads();
    normalise(x, y, part, C, P, statistics[0], statistics[1], gamma[part.c], beta[part.c], relu);
}

// Test time, by the running statistics.
extern "C" __global__ void bn_test(const real_t* x, const sum_t* gamma, const sum_t* beta, const sum_t* running_mean,
                                   const sum_t* running_var, real_t* y, index_t count, index_t C, index_t P,
                                   index_t parts, sum_t eps, index_t relu) {
    Part part = my_part(count, parts);
    sum_t inverse_std = inverse_deviation(running_var[part.c], eps);
    normalise(x, y, part, C, P, running_mean[part.c], inverse_std, gamma[part.c], beta[part.c], relu);
}

// Each part's sums of dout and of dout * x_hat. y: forward's output where ReLU was behind it, else null.
extern "C" __global__ void bn_backward_sums(const real_t* dout, const real_t* x, const real_t* y, const sum_t* mean,
                                            const sum_t* inverse_std, sum_t* sums, sum_t* products, index_t count,
                                            index_t C, index_t P, index_t parts) {
    __shared__ sum_t room[XP_THREADS];
    Part part = my_part(count, parts);
    sum_t total = 0, product = 0;
    for (index_t j = part.from + threadIdx.x; j < part.to; j += blockDim.x) {
        index_t at = (j / P * C + part.c) * P + j % P;
        sum_t d = up(dout[at]);
        if (y) d *= (sum_t)(up(y[at]) > 0);
        total += d;
        product += d * ((up(x[at]) - mean[part.c]) * inverse_std[part.c]);
    }
    total = block_sum(total, room);
    product = block_sum(product, room);
    if (threadIdx.x == 0) {
        sums[blockIdx.x] = total;
        products[blockIdx.x] = product;
    }
}

// mean_d, mean_product: of dout and of dout * x_hat over all that the statistics are of; 0 where they are not x's own.
__device__ inline void input_gradient(const real_t* dout, const real_t* x, const real_t* y, real_t* dx, Part part,
                                      index_t C, index_t P, sum_t mean, sum_t inverse_std, sum_t gamma, sum_t mean_d,
                                      sum_t mean_product) {
    for (index_t j = part.from + threadIdx.x; j < part.to; j += blockDim.x) {
        index_t at = (j / P * C + part.c) * P + j % P;
        sum_t d = up(dout[at]), x_hat = (up(x[at]) - mean) * inverse_std;
        if (y) d *= (sum_t)(up(y[at]) > 0);
        dx[at] = down((d - mean_d - x_hat * mean_product) * (gamma * inverse_std));
    }
}

// batch: whether forward took its statistics from x itself (training time).
extern "C" __global__ void bn_backward(const real_t* dout, const real_t* x, const real_t* y, const sum_t* mean,
                                       const sum_t* inverse_std, const sum_t* gamma, const sum_t* sums,
                                       const sum_t* products, real_t* dx, real_t* dgamma, real_t* dbeta, index_t count,
                                       index_t C, index_t P, index_t parts, index_t batch) {
    Part part = my_part(count, parts);
    index_t c = part.c;
    sum_t total = 0, product = 0;
    for (index_t k = 0; k < parts; ++k) {
        total += sums[c * parts + k];
        product += products[c * parts + k];
    }
    if (part.from == 0 && threadIdx.x == 0) {
        dgamma[c] = down(product);
        dbeta[c] = down(total);
    }
    sum_t mean_d = batch ? total / (sum_t)count : (sum_t)0, mean_product = batch ? product / (sum_t)count : (sum_t)0;
    input_gradient(dout, x, y, dx, part, C, P, mean[c], inverse_std[c], gamma[c], mean_d, mean_product);
}

// Several processes, each with a part of the batch. rows (size, 2 * C + 1), one a process: its means, its sums of squared
// distances and its count. Only this process's is written, the others are 0: added up over all processes, they are there.
extern "C" __global__ void bn_own_row(const sum_t* means, const sum_t* squares, sum_t* rows, index_t count, index_t C,
                                      index_t parts, index_t rank, index_t size) {
    index_t width = 2 * C + 1;
    for (index_t j = blockIdx.x * blockDim.x + threadIdx.x; j < size * width; j += gridDim.x * blockDim.x) {
        index_t k = j % width;
        sum_t v = 0;
        if (j / width == rank && k == 2 * C) {
            v = (sum_t)count;
        } else if (j / width == rank && count > 0) {
            sum_t mean, variance;
            join_parts(means, squares, k % C, count, parts, &mean, &variance);
            v = k < C ? mean : variance * (sum_t)count;
        }
        rows[j] = v;
    }
}

// The batch's statistics from all processes' rows, in the order of the processes; moves the running ones as bn_train.
extern "C" __global__ void bn_of_rows(const sum_t* rows, sum_t* running_mean, sum_t* running_var, sum_t* mean_out,
                                      sum_t* variance_out, sum_t* inverse_std_out, index_t C, index_t size, sum_t eps,
                                      sum_t keep, sum_t follow) {
    index_t width = 2 * C + 1;
    for (index_t c = blockIdx.x * blockDim.x + threadIdx.x; c < C; c += gridDim.x * blockDim.x) {
        Joined all = {0, 0, 0};
        for (index_t r = 0; r < size; ++r) {
            const sum_t* row = rows + r * width;
            if (row[2 * C] > 0) all.take(row[2 * C], row[c], row[C + c]);
        }
        sum_t variance = all.square / all.seen;
        mean_out[c] = all.centre;
        variance_out[c] = variance;
        inverse_std_out[c] = inverse_deviation(variance, eps);
        running_mean[c] = running_mean[c] * keep + all.centre * follow;
        running_var[c] = running_var[c] * keep + variance * follow;
    }
}

// This process's dgamma and dbeta from its parts' sums, and totals (2, C), the same to be added up over all processes.
extern "C" __global__ void bn_own_sums(const sum_t* sums, const sum_t* products, real_t* dgamma, real_t* dbeta,
                                       sum_t* totals, index_t C, index_t parts) {
    for (index_t c = blockIdx.x * blockDim.x + threadIdx.x; c < C; c += gridDim.x * blockDim.x) {
        sum_t total = 0, product = 0;
        for (index_t k = 0; k < parts; ++k) {
            total += sums[c * parts + k];
            product += products[c * parts + k];
        }
        dbeta[c] = down(total);
        dgamma[c] = down(product);
        totals[c] = total;
        totals[C + c] = product;
    }
}

// Gradient of this process's part of x. whole: elements of a channel over all processes.
extern "C" __global__ void bn_backward_part(const real_t* dout, const real_t* x, const real_t* y, const sum_t* mean,
                                            const sum_t* inverse_std, const sum_t* gamma, const sum_t* totals,
                                            real_t* dx, index_t count, index_t C, index_t P, index_t parts,
                                            sum_t whole) {
    Part part = my_part(count, parts);
    index_t c = part.c;
    input_gradient(dout, x, y, dx, part, C, P, mean[c], inverse_std[c], gamma[c], totals[c] / whole,
                   totals[C + c] / whole);
}
