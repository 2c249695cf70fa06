// 16-bit reals as their bits: IEEE binary16 and bfloat16. Rounding is to nearest, ties to even, once, from float or
// double; subnormals and infinities are kept, a NaN stays a NaN.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels.h"

namespace lateforge::cpu::LF_ISA {

struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

inline float widen(float x) { return x; }
inline double widen(double x) { return x; }
inline float widen(BFloat16 x) { return std::bit_cast<float>(uint32_t{x.bits} << 16); }
inline float widen(Half x) {
  const uint32_t magnitude = x.bits & 0x7fffu, sign = (x.bits & 0x8000u) << 16;
  const uint32_t rebiased = (magnitude << 13) + (112u << 23);
  // Subnormal: as the fraction of a float with the smallest normal exponent, which is then taken off.
  const float small = std::bit_cast<float>((magnitude << 13) + (113u << 23)) - std::bit_cast<float>(113u << 23);
  const uint32_t value = magnitude >= 0x7c00u  ? (magnitude << 13) | 0x7f800000u
                         : magnitude >= 0x400u ? rebiased
                                               : std::bit_cast<uint32_t>(small);
  return std::bit_cast<float>(value | sign);
}

// A float that rounds to any 16-bit type as x does: exact, or else truncated with the last bit set ("to odd").
inline float roundToOdd(float x) { return x; }
inline float roundToOdd(double x) {
  const float nearest = static_cast<float>(x);
  if (static_cast<double>(nearest) == x || std::isnan(x)) return nearest;
  const uint32_t bits = std::bit_cast<uint32_t>(nearest) - (std::fabs(static_cast<double>(nearest)) > std::fabs(x));
  return std::bit_cast<float>(bits | 1u);
}

template <class To>
To narrow(float x);

template <>
inline BFloat16 narrow<BFloat16>(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return {static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? (bits >> 16) | 0x40u : rounded)};
}

template <>
inline Half narrow<Half>(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x), sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
  const uint32_t normal = (magnitude - (112u << 23) + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  // Below 2^-14: adding 1/2 lets the float addition round to multiples of 2^-24.
  const uint32_t small =
      std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - std::bit_cast<uint32_t>(0.5f);
  const uint32_t value = magnitude > 0x7f800000u   ? 0x7e00u
                         : magnitude >= 143u << 23 ? 0x7c00u
                         : magnitude >= 113u << 23 ? normal
                                                   : small;
  return {static_cast<uint16_t>(value | sign)};
}

template <class To, class From>
To convert(From x) {
  if constexpr (std::is_floating_point_v<To>)
    return static_cast<To>(widen(x));
  else
    return narrow<To>(roundToOdd(widen(x)));
}

}  // namespace lateforge::cpu::LF_ISA
