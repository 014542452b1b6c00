// __half in software: 16 bits, rounded to nearest even, computed as float (as the device's operators round).
#pragma once
#include <string.h>

#include "vectors.h"

struct __half {
    unsigned short bits;
    __half() = default;
    __half(float value);
    __half(double value) : __half(static_cast<float>(value)) {}
    __half(int value) : __half(static_cast<float>(value)) {}
    __half(unsigned value) : __half(static_cast<float>(value)) {}
    operator float() const;
};
typedef __half half;

static inline __half __ushort_as_half(unsigned short bits) {
    __half value;
    value.bits = bits;
    return value;
}
static inline unsigned short __half_as_ushort(__half value) { return value.bits; }

static inline __half __float2half_rn(float value) {
    unsigned bits;
    memcpy(&bits, &value, 4);
    unsigned sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return __ushort_as_half(0x7fffu);                  // the device's NaN
    if (magnitude >= 0x477ff000u) return __ushort_as_half(sign | 0x7c00u);          // 65520 and more round to infinity
    if (magnitude < 0x38800000u) {                                                  // subnormal: count units of 2^-24
        float absolute;
        memcpy(&absolute, &magnitude, 4);
        float units = absolute * 16777216.0f;
        unsigned whole = static_cast<unsigned>(units);
        float rest = units - static_cast<float>(whole);
        whole += rest > 0.5f || (rest == 0.5f && (whole & 1u));
        return __ushort_as_half(sign | whole);
    }
    unsigned rounded = magnitude - 0x38000000u + 0x0fffu + (magnitude >> 13 & 1u);
    return __ushort_as_half(sign | rounded >> 13);
}
static inline float __half2float(__half value) {
    unsigned sign = static_cast<unsigned>(value.bits & 0x8000u) << 16, magnitude = value.bits & 0x7fffu, bits;
    if (magnitude >= 0x7c00u)
        bits = sign | 0x7f800000u | (magnitude & 0x3ffu) << 13;
    else if (magnitude >= 0x400u)
        bits = sign | ((magnitude << 13) + 0x38000000u);
    else {
        float units = static_cast<float>(magnitude) / 16777216.0f;
        memcpy(&bits, &units, 4);
        bits |= sign;
    }
    float result;
    memcpy(&result, &bits, 4);
    return result;
}
inline __half::__half(float value) : bits(__float2half_rn(value).bits) {}
inline __half::operator float() const { return __half2float(*this); }

static inline __half __float2half(float value) { return __float2half_rn(value); }
static inline __half __int2half_rn(int value) { return __half(value); }
static inline __half __hadd(__half a, __half b) { return float(a) + float(b); }
static inline __half __hsub(__half a, __half b) { return float(a) - float(b); }
static inline __half __hmul(__half a, __half b) { return float(a) * float(b); }
static inline __half __hdiv(__half a, __half b) { return float(a) / float(b); }
static inline __half __hfma(__half a, __half b, __half c) { return double(float(a)) * double(float(b)) + double(float(c)); }
static inline __half __hneg(__half a) { return __ushort_as_half(a.bits ^ 0x8000u); }
static inline bool __hisnan(__half a) { return (a.bits & 0x7fffu) > 0x7c00u; }
static inline __half __hmax(__half a, __half b) { return __hisnan(a) || float(b) > float(a) ? b : a; }
static inline __half __hmin(__half a, __half b) { return __hisnan(a) || float(b) < float(a) ? b : a; }
static inline bool __hgt(__half a, __half b) { return float(a) > float(b); }
static inline bool __hge(__half a, __half b) { return float(a) >= float(b); }
static inline bool __hlt(__half a, __half b) { return float(a) < float(b); }
static inline bool __hle(__half a, __half b) { return float(a) <= float(b); }
static inline bool __heq(__half a, __half b) { return float(a) == float(b); }
static inline __half operator+(__half a, __half b) { return __hadd(a, b); }
static inline __half operator-(__half a, __half b) { return __hsub(a, b); }
static inline __half operator*(__half a, __half b) { return __hmul(a, b); }
static inline __half operator/(__half a, __half b) { return __hdiv(a, b); }
static inline __half operator-(__half a) { return __hneg(a); }
static inline __half& operator+=(__half& a, __half b) { return a = a + b; }
static inline __half& operator-=(__half& a, __half b) { return a = a - b; }
static inline __half& operator*=(__half& a, __half b) { return a = a * b; }
static inline bool operator>(__half a, __half b) { return __hgt(a, b); }
static inline bool operator>=(__half a, __half b) { return __hge(a, b); }
static inline bool operator<(__half a, __half b) { return __hlt(a, b); }
static inline bool operator<=(__half a, __half b) { return __hle(a, b); }
static inline bool operator==(__half a, __half b) { return __heq(a, b); }
static inline bool operator!=(__half a, __half b) { return !__heq(a, b); }

struct alignas(4) __half2 { __half x, y; };
typedef __half2 half2;
static inline __half2 __halves2half2(__half x, __half y) { return {x, y}; }
static inline __half2 make_half2(__half x, __half y) { return {x, y}; }
static inline __half2 __floats2half2_rn(float x, float y) { return {__half(x), __half(y)}; }
static inline __half2 __float22half2_rn(float2 a) { return {__half(a.x), __half(a.y)}; }
static inline __half2 __float2half2_rn(float a) { return {__half(a), __half(a)}; }
static inline __half2 __half2half2(__half a) { return {a, a}; }
static inline float2 __half22float2(__half2 a) { return {float(a.x), float(a.y)}; }
static inline __half __low2half(__half2 a) { return a.x; }
static inline __half __high2half(__half2 a) { return a.y; }
static inline float __low2float(__half2 a) { return a.x; }
static inline float __high2float(__half2 a) { return a.y; }
static inline __half2 __hadd2(__half2 a, __half2 b) { return {a.x + b.x, a.y + b.y}; }
static inline __half2 __hsub2(__half2 a, __half2 b) { return {a.x - b.x, a.y - b.y}; }
static inline __half2 __hmul2(__half2 a, __half2 b) { return {a.x * b.x, a.y * b.y}; }
static inline __half2 __hfma2(__half2 a, __half2 b, __half2 c) { return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)}; }
static inline __half2 __hmax2(__half2 a, __half2 b) { return {__hmax(a.x, b.x), __hmax(a.y, b.y)}; }
