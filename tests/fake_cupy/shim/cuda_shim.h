// What NVRTC gives a kernel without an #include, said for g++. Put before the text of a .cu file.
#pragma once
#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <type_traits>

#include "threads.h"
#include "vectors.h"

#ifndef FAKE_ONLY_NAMES  // the pass that looks for kernels keeps these words
#define __global__ __attribute__((used))
#define __launch_bounds__(...)
#endif
#define __device__
#define __host__
#define __constant__ static
#if defined(__SANITIZE_ADDRESS__)
#define __shared__ static  // AddressSanitizer guards what lies in the usual sections only
#else
#define __shared__ static __attribute__((section("fake_shared")))
#endif
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(n) __attribute__((aligned(n)))
#define __CUDACC__ 1
#define __CUDACC_RTC__ 1
#define __CUDA_ARCH__ 900
#undef assert
#define assert(condition) \
    ((condition) ? (void)0 : fake::fail("assertion failed at line " + std::to_string(__LINE__) + ": " #condition))

// ------------------------------------------------------------------------------------------------------- waiting
#define __syncthreads() fake::barrier(__LINE__)
#define __syncthreads_count(vote) (fake::barrier(__LINE__, (vote) != 0), fake::votes[0])
#define __syncthreads_and(vote) (fake::barrier(__LINE__, (vote) != 0), fake::votes[1])
#define __syncthreads_or(vote) (fake::barrier(__LINE__, (vote) != 0), fake::votes[2])
#define __syncwarp(...) ((void)fake::exchange(fake::mask_of(__VA_ARGS__), 0, __LINE__))
#define __shfl_sync(mask, ...) fake::shuffle(fake::INDEX, mask, __LINE__, __VA_ARGS__)
#define __shfl_up_sync(mask, ...) fake::shuffle(fake::UP, mask, __LINE__, __VA_ARGS__)
#define __shfl_down_sync(mask, ...) fake::shuffle(fake::DOWN, mask, __LINE__, __VA_ARGS__)
#define __shfl_xor_sync(mask, ...) fake::shuffle(fake::XOR, mask, __LINE__, __VA_ARGS__)
#define __ballot_sync(mask, vote) fake::ballot(mask, (vote) != 0, __LINE__).first
#define __any_sync(mask, vote) (fake::ballot(mask, (vote) != 0, __LINE__).first != 0)
#define __all_sync(mask, vote) fake::all_of(fake::ballot(mask, (vote) != 0, __LINE__))
#define __reduce_add_sync(mask, value) fake::reduce_add(mask, value, __LINE__)
static inline void __threadfence() {}
static inline void __threadfence_block() {}

namespace fake {
static inline unsigned mask_of(unsigned mask = 0xffffffffu) { return mask; }

enum Way { INDEX, UP, DOWN, XOR };

template <class T>
static T shuffle(Way way, unsigned mask, int line, T value, int by, int width = 32) {
    static_assert(sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 2, 4 or 8 bytes");
    unsigned long long bits = 0;
    memcpy(&bits, &value, sizeof value);
    int lane = my_number() % 32, first = lane / width * width, from = lane;
    if (way == INDEX) from = first + ((by % width) + width) % width;
    if (way == UP) from = lane - by < first ? lane : lane - by;
    if (way == DOWN) from = lane + by >= first + width ? lane : lane + by;
    if (way == XOR) from = (lane ^ by) >= first + width ? lane : lane ^ by;
    bits = exchange(mask, bits, line).seen[from];
    memcpy(&value, &bits, sizeof value);
    return value;
}
struct Ballot {
    unsigned first, present;
};
static inline Ballot ballot(unsigned mask, bool vote, int line) {
    Thread& seen = exchange(mask, vote, line);
    unsigned yes = 0;
    for (int lane = 0; lane < 32; ++lane)
        if (seen.present >> lane & 1 && seen.seen[lane]) yes |= 1u << lane;
    return {yes, seen.present};
}
static inline bool all_of(Ballot ballot) { return ballot.first == ballot.present; }
template <class T>
static T reduce_add(unsigned mask, T value, int line) {
    Thread& seen = exchange(mask, static_cast<unsigned>(value), line);
    T sum = 0;
    for (int lane = 0; lane < 32; ++lane)
        if (seen.present >> lane & 1) sum += static_cast<T>(seen.seen[lane]);
    return sum;
}
}  // namespace fake

// ------------------------------------------------------------------------------------------------------- memory
template <class T> static inline T __ldg(const T* at) { return *at; }
template <class T> static inline T __ldcs(const T* at) { return *at; }
template <class T> static inline T __ldcg(const T* at) { return *at; }
template <class T> static inline void __stcs(T* at, std::common_type_t<T> value) { *at = value; }
template <class T> static inline void __stcg(T* at, std::common_type_t<T> value) { *at = value; }
template <class T> static inline T atomicAdd(T* at, std::common_type_t<T> value) { T old = *at; *at = old + value; return old; }
template <class T> static inline T atomicSub(T* at, std::common_type_t<T> value) { T old = *at; *at = old - value; return old; }
template <class T> static inline T atomicMax(T* at, std::common_type_t<T> value) { T old = *at; if (value > old) *at = value; return old; }
template <class T> static inline T atomicMin(T* at, std::common_type_t<T> value) { T old = *at; if (value < old) *at = value; return old; }
template <class T> static inline T atomicOr(T* at, std::common_type_t<T> value) { T old = *at; *at = old | value; return old; }
template <class T> static inline T atomicAnd(T* at, std::common_type_t<T> value) { T old = *at; *at = old & value; return old; }
template <class T> static inline T atomicExch(T* at, std::common_type_t<T> value) { T old = *at; *at = value; return old; }
template <class T> static inline T atomicCAS(T* at, std::common_type_t<T> was, std::common_type_t<T> value) {
    T old = *at;
    if (old == was) *at = value;
    return old;
}

// ------------------------------------------------------------------------------------------------------ numbers
template <class A, class B> static constexpr std::common_type_t<A, B> min(A a, B b) {
    using T = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<T>) return sizeof(T) == 4 ? fminf(a, b) : fmin(a, b);
    else return T(b) < T(a) ? T(b) : T(a);
}
template <class A, class B> static constexpr std::common_type_t<A, B> max(A a, B b) {
    using T = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<T>) return sizeof(T) == 4 ? fmaxf(a, b) : fmax(a, b);
    else return T(a) < T(b) ? T(b) : T(a);
}
template <class To, class From> static inline To fake_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "the same bits");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
static inline int __float_as_int(float a) { return fake_bits<int>(a); }
static inline unsigned __float_as_uint(float a) { return fake_bits<unsigned>(a); }
static inline float __int_as_float(int a) { return fake_bits<float>(a); }
static inline float __uint_as_float(unsigned a) { return fake_bits<float>(a); }
static inline long long __double_as_longlong(double a) { return fake_bits<long long>(a); }
static inline double __longlong_as_double(long long a) { return fake_bits<double>(a); }
static inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned long long>(a) * b >> 32; }
static inline int __mulhi(int a, int b) { return static_cast<int>(static_cast<long long>(a) * b >> 32); }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}
static inline int __popc(unsigned a) { return __builtin_popcount(a); }
static inline int __popcll(unsigned long long a) { return __builtin_popcountll(a); }
static inline int __clz(int a) { return a == 0 ? 32 : __builtin_clz(static_cast<unsigned>(a)); }
static inline int __ffs(int a) { return __builtin_ffs(a); }
static inline float rsqrtf(float a) { return static_cast<float>(1.0 / sqrt(static_cast<double>(a))); }
static inline double rsqrt(double a) { return 1.0 / sqrt(a); }
#define __expf(a) expf(a)  // macros: glibc has functions of these names
#define __logf(a) logf(a)
#define __powf(a, b) powf(a, b)
static inline float __fdividef(float a, float b) { return a / b; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fsqrt_rn(float a) { return sqrtf(a); }
static inline float __frcp_rn(float a) { return 1.0f / a; }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline float __saturatef(float a) { return fminf(fmaxf(a, 0.0f), 1.0f); }
static inline float __uint2float_rn(unsigned a) { return static_cast<float>(a); }
static inline float __int2float_rn(int a) { return static_cast<float>(a); }
static inline int __float2int_rn(float a) { return static_cast<int>(rintf(a)); }
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __dmul_rn(double a, double b) { return a * b; }
