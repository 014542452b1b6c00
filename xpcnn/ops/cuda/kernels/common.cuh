// Put before every kernel file by module.py, whose options say what the numbers are:
//   XP_REAL     what arrays hold: float, double or __half (then XP_HALF is defined too)
//   XP_SUM      what is calculated in: float for float and __half, double for double
//   XP_THREADS  the most threads a block may have
//   XP_INDEX    int, or long long where an array has more than 2**30 elements (64-bit divisions are slow)
#ifdef XP_HALF
#include <cuda_fp16.h>
#endif

typedef XP_REAL real_t;
typedef XP_SUM sum_t;
typedef XP_INDEX index_t;

#ifdef XP_HALF
__device__ inline sum_t up(real_t v) { return __half2float(v); }
__device__ inline real_t down(sum_t v) { return __float2half_rn(v); }
#else
__device__ inline sum_t up(real_t v) { return v; }
__device__ inline real_t down(sum_t v) { return v; }
#endif

// NVRTC knows no INFINITY.
#define MINUS_INFINITY ((sum_t)__int_as_float((int)0xff800000u))

// A loop over i = 0 .. count - 1, shared out among all threads of a 1-D grid of any size.
#define EACH(i, count)                                                                            \
    for (index_t i = (index_t)blockIdx.x * blockDim.x + threadIdx.x, count_ = (count); i < count_; \
         i += (index_t)gridDim.x * blockDim.x)

// Overloads, so that float is not calculated as double.
__device__ inline float exponential(float v) { return expf(v); }
__device__ inline double exponential(double v) { return exp(v); }
__device__ inline float logarithm(float v) { return logf(v); }
__device__ inline double logarithm(double v) { return log(v); }
__device__ inline float root(float v) { return sqrtf(v); }
__device__ inline double root(double v) { return sqrt(v); }
__device__ inline float power(float v, float e) { return powf(v, e); }
__device__ inline double power(double v, double e) { return pow(v, e); }

// Whether v takes the place of `best`: the first of equals stays, a NaN beats everything and is never beaten.
__device__ inline bool beats(sum_t v, sum_t best) { return v > best || (v != v && best == best); }

// max(v, 0), where NaN stays NaN.
__device__ inline sum_t rectified(sum_t v) { return v <= 0 ? (sum_t)0 : v; }

// The sum over a block's threads, handed to each of them, in one fixed order. blockDim.x: a power of two; room: as
// many numbers in shared memory, free again afterwards.
template <class number>
__device__ inline number block_sum(number value, number* room) {
    unsigned t = threadIdx.x;
    room[t] = value;
    __syncthreads();
    for (unsigned width = blockDim.x / 2; width > 0; width /= 2) {
        if (t < width) room[t] += room[t + width];
        __syncthreads();
    }
    value = room[0];
    __syncthreads();
    return value;
}

// Blocks number c * parts + part share out a channel c: `part` has the elements from .. to - 1 of the channel's count.
struct Part {
    index_t c, from, to;
};
__device__ inline index_t part_length(index_t count, index_t parts) { return (count + parts - 1) / parts; }
__device__ inline Part my_part(index_t count, index_t parts) {
    index_t length = part_length(count, parts), from = (index_t)blockIdx.x % parts * length;
    return {(index_t)blockIdx.x / parts, from, from + length < count ? from + length : count};
}
