// From a kernel's C++ type to its signature in words, and from an array of argument addresses to a call.
#pragma once
#include <utility>

#include "cuda_shim.h"

struct __half;
struct __half2;
extern "C" unsigned char __start_fake_shared[] __attribute__((weak, visibility("hidden")));
extern "C" unsigned char __stop_fake_shared[] __attribute__((weak, visibility("hidden")));

namespace fake {

// "f4" is float, "i8" long long, "u1" unsigned char, "b1" bool, "x" anything else; "@16" after it: aligned to 16.
template <class T> struct Word {
    static std::string say() {
        if constexpr (std::is_void_v<T>) return "v";
        else if constexpr (std::is_same_v<T, bool>) return "b1";
        else if constexpr (std::is_floating_point_v<T>) return "f" + std::to_string(sizeof(T));
        else if constexpr (std::is_integral_v<T>) return (std::is_signed_v<T> ? "i" : "u") + std::to_string(sizeof(T));
        else return "x";
    }
};
template <> struct Word<__half> { static std::string say() { return "f2"; } };
template <> struct Word<__half2> { static std::string say() { return "f2@4"; } };
#define FAKE_VECTOR_WORD(type, element) \
    template <> struct Word<type> { static std::string say() { return Word<element>::say() + "@" + std::to_string(alignof(type)); } };
FAKE_VECTOR_WORD(float2, float)
FAKE_VECTOR_WORD(float4, float)
FAKE_VECTOR_WORD(double2, double)
FAKE_VECTOR_WORD(int2, int)
FAKE_VECTOR_WORD(int4, int)
FAKE_VECTOR_WORD(uint2, unsigned)
FAKE_VECTOR_WORD(uint4, unsigned)
FAKE_VECTOR_WORD(uchar2, unsigned char)
FAKE_VECTOR_WORD(uchar4, unsigned char)

template <class P> std::string parameter() {
    using T = std::remove_cv_t<P>;
    if constexpr (std::is_pointer_v<T>) {
        using E = std::remove_pointer_t<T>;
        return std::string(std::is_const_v<E> ? "const*" : "*") + Word<std::remove_cv_t<E>>::say();
    } else
        return Word<T>::say() + "=" + std::to_string(sizeof(T));
}

template <class... P> const char* signature(void (*)(P...)) {
    static std::string words;
    words.clear();
    ((words += parameter<P>() + " "), ...);
    return words.c_str();
}

template <class... P> struct Call {
    void (*kernel)(P...);
    void** arguments;
    template <size_t... I> void go(std::index_sequence<I...>) {
        kernel(*static_cast<std::remove_cv_t<P>*>(arguments[I])...);
    }
    static void run(void* self) { static_cast<Call*>(self)->go(std::index_sequence_for<P...>{}); }
};

// Runs the whole grid; returns null, or what went wrong.
template <class... P>
const char* launch(void (*kernel)(P...), const unsigned* grid, const unsigned* block, size_t shared_bytes, void** arguments,
                   int fibers, int order) {
    Call<P...> call{kernel, arguments};
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    body = Call<P...>::run;
    body_data = &call;
    backwards = order != 0;
    failure.clear();
    unsigned long long blocks = 1ull * grid[0] * grid[1] * grid[2];
    unsigned count = block[0] * block[1] * block[2];
    // Exactly as large as asked for, so that AddressSanitizer sees a step beyond it.
    void* room = nullptr;
    if (posix_memalign(&room, 16, shared_bytes) != 0) return "no memory for shared memory";
    dynamic_shared = static_cast<unsigned char*>(room);
    for (unsigned long long k = 0; k < blocks && failure.empty(); ++k) {
        unsigned long long b = backwards ? blocks - 1 - k : k;
        blockIdx = {static_cast<unsigned>(b % grid[0]), static_cast<unsigned>(b / grid[0] % grid[1]),
                    static_cast<unsigned>(b / grid[0] / grid[1])};
        // Shared memory holds nothing at a block's start: NaN in floats, -1 in integers.
        memset(dynamic_shared, 0xff, shared_bytes);
        if (__start_fake_shared != nullptr) memset(__start_fake_shared, 0xff, __stop_fake_shared - __start_fake_shared);
        fibers ? run_block_in_fibers(count) : run_block_in_a_loop(count);
    }
    free(dynamic_shared);
    dynamic_shared = nullptr;
    return failure.empty() ? nullptr : failure.c_str();
}

}  // namespace fake

#define FAKE_KERNEL(symbol, ...)                                                                                      \
    extern "C" const char* fake_signature_##symbol() { return fake::signature(__VA_ARGS__); }                         \
    extern "C" const char* fake_run_##symbol(const unsigned* grid, const unsigned* block, size_t shared_bytes,        \
                                             void** arguments, int fibers, int order) {                               \
        return fake::launch(__VA_ARGS__, grid, block, shared_bytes, arguments, fibers, order);                        \
    }
