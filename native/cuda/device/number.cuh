// bfloat16 and float16 as storage: arithmetic is always done in float. Narrowing rounds to nearest, ties to even, with
// subnormals, overflow to infinity and NaN as the canonical 0x7fff, as the cvt instructions do.
#pragma once

#include "platform.cuh"

namespace lateforge::cuda {

struct Bf16 {
  uint16_t bits;
};
struct F16 {
  uint16_t bits;
};

#ifdef __CUDACC__
LF_DEVICE uint32_t bitsOf(float x) { return __float_as_uint(x); }
LF_DEVICE float floatOf(uint32_t bits) { return __uint_as_float(bits); }
#else
inline uint32_t bitsOf(float x) { return __builtin_bit_cast(uint32_t, x); }
inline float floatOf(uint32_t bits) { return __builtin_bit_cast(float, bits); }
#endif

LF_DEVICE float widen(float x) { return x; }
LF_DEVICE float widen(int8_t x) { return static_cast<float>(x); }
LF_DEVICE float widen(Bf16 x) { return floatOf(static_cast<uint32_t>(x.bits) << 16); }

#ifdef __CUDACC__

LF_DEVICE float widen(F16 x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
}
template <class T>
LF_DEVICE T narrow(float x);
template <>
LF_DEVICE float narrow<float>(float x) {
  return x;
}
template <>
LF_DEVICE Bf16 narrow<Bf16>(float x) {
  Bf16 y;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}
template <>
LF_DEVICE F16 narrow<F16>(float x) {
  F16 y;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}

#else

inline float widen(F16 x) {
  const uint32_t sign = (x.bits & 0x8000u) << 16, exponent = x.bits >> 10 & 31, fraction = x.bits & 0x3ffu;
  if (exponent == 31) return floatOf(sign | 0x7f800000u | fraction << 13);
  if (exponent == 0) return floatOf(sign | bitsOf(static_cast<float>(fraction) * 0x1p-24f));
  return floatOf(sign | (exponent + 112) << 23 | fraction << 13);
}
template <class T>
T narrow(float x);
template <>
inline float narrow<float>(float x) {
  return x;
}
template <>
inline Bf16 narrow<Bf16>(float x) {
  if (x != x) return {0x7fff};
  const uint32_t bits = bitsOf(x);
  return {static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16)};
}
template <>
inline F16 narrow<F16>(float x) {
  if (x != x) return {0x7fff};
  const uint32_t sign = bitsOf(x) >> 16 & 0x8000u, magnitude = bitsOf(x) & 0x7fffffffu;
  if (magnitude >= 0x477ff000u) return {static_cast<uint16_t>(sign | 0x7c00u)};  // rounds to 2^16 or more
  if (magnitude < 0x38800000u)  // below 2^-14: adding 1/2 rounds to a multiple of 2^-24
    return {static_cast<uint16_t>(sign | (bitsOf(floatOf(magnitude) + 0.5f) - bitsOf(0.5f)))};
  const uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1);
  return {static_cast<uint16_t>(sign | (rounded - 0x38000000u) >> 13)};
}

#endif

// n elements as floats, and back.
template <int n, class T>
LF_DEVICE Pack<float, n> loadFloats(Dev<const T> p) {
  const Pack<T, n> from = loadPack<n>(p);
  Pack<float, n> to;
  for (int i = 0; i < n; ++i) to[i] = widen(from[i]);
  return to;
}
template <int n, class T>
LF_DEVICE void storeFloats(Dev<T> p, const Pack<float, n>& v) {
  Pack<T, n> to;
  for (int i = 0; i < n; ++i) to[i] = narrow<T>(v[i]);
  storePack<n>(p, to);
}

}  // namespace lateforge::cuda
