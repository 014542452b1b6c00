// CUDA's short vectors, aligned as on the device.
#pragma once

#define FAKE_VECTOR_2(name, type)                                       \
    struct alignas(2 * sizeof(type)) name { type x, y; };               \
    static inline name make_##name(type x, type y) { return {x, y}; }
#define FAKE_VECTOR_4(name, type)                                       \
    struct alignas(4 * sizeof(type) > 16 ? 16 : 4 * sizeof(type)) name { type x, y, z, w; }; \
    static inline name make_##name(type x, type y, type z, type w) { return {x, y, z, w}; }

FAKE_VECTOR_2(char2, signed char)
FAKE_VECTOR_4(char4, signed char)
FAKE_VECTOR_2(uchar2, unsigned char)
FAKE_VECTOR_4(uchar4, unsigned char)
FAKE_VECTOR_2(short2, short)
FAKE_VECTOR_4(short4, short)
FAKE_VECTOR_2(ushort2, unsigned short)
FAKE_VECTOR_4(ushort4, unsigned short)
FAKE_VECTOR_2(int2, int)
FAKE_VECTOR_4(int4, int)
FAKE_VECTOR_2(uint2, unsigned)
FAKE_VECTOR_4(uint4, unsigned)
FAKE_VECTOR_2(longlong2, long long)
FAKE_VECTOR_2(ulonglong2, unsigned long long)
FAKE_VECTOR_2(float2, float)
FAKE_VECTOR_4(float4, float)
FAKE_VECTOR_2(double2, double)
FAKE_VECTOR_4(double4, double)
struct float3 { float x, y, z; };
struct int3 { int x, y, z; };
static inline float3 make_float3(float x, float y, float z) { return {x, y, z}; }
static inline int3 make_int3(int x, int y, int z) { return {x, y, z}; }
static inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
