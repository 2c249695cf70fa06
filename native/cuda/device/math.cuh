// Functions of float and double. Nothing here is approximate but what says so: there are no fast-math flags, and this
// is the only file with approximate instructions.
#pragma once

#include <cmath>

#include "number.cuh"

namespace lateforge::cuda {

// The larger one; NaN stays.
template <class T>
LF_DEVICE T maximum(T a, T b) {
  return a > b || a != a ? a : b;
}
#ifdef __CUDACC__
LF_DEVICE float maximum(float a, float b) {
  float y;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(b));
  return y;
}
#endif
template <class T>
LF_DEVICE T minimum(T a, T b) {
  return a < b || a != a ? a : b;
}
// The larger one; a NaN is passed over. One instruction.
LF_DEVICE float larger(float a, float b) { return fmaxf(a, b); }
LF_DEVICE bool finite(float x) { return (bitsOf(x) & 0x7f800000u) != 0x7f800000u; }

LF_DEVICE float infinity() { return floatOf(0x7f800000u); }
LF_DEVICE float notANumber() { return floatOf(0x7fc00000u); }

#ifdef __CUDACC__

LF_DEVICE float exponential(float x) { return expf(x); }
LF_DEVICE double exponential(double x) { return exp(x); }
LF_DEVICE float logarithm(float x) { return logf(x); }
LF_DEVICE double logarithm(double x) { return log(x); }
LF_DEVICE float squareRoot(float x) { return sqrtf(x); }
LF_DEVICE double squareRoot(double x) { return sqrt(x); }
LF_DEVICE float hyperbolicTangent(float x) { return tanhf(x); }
// Φ(x) = erfc(−x/√2) / 2.
LF_DEVICE float normalCdf(float x) { return normcdff(x); }
// The product, rounded: never fused into a sum that follows.
LF_DEVICE float product(float a, float b) { return __fmul_rn(a, b); }
LF_DEVICE double product(double a, double b) { return __dmul_rn(a, b); }
LF_DEVICE float fusedMultiplyAdd(float a, float b, float c) { return __fmaf_rn(a, b, c); }
// 2^x with 2 units in the last place, results below the normal range as 0.
LF_DEVICE float exp2Approximate(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

#else

inline float exponential(float x) { return std::exp(x); }
inline double exponential(double x) { return std::exp(x); }
inline float logarithm(float x) { return std::log(x); }
inline double logarithm(double x) { return std::log(x); }
inline float squareRoot(float x) { return std::sqrt(x); }
inline double squareRoot(double x) { return std::sqrt(x); }
inline float hyperbolicTangent(float x) { return std::tanh(x); }
inline float normalCdf(float x) { return 0.5f * std::erfc(-x * 0.70710678118654752440f); }
inline float product(float a, float b) {
  const volatile float rounded = a * b;
  return rounded;
}
inline double product(double a, double b) {
  const volatile double rounded = a * b;
  return rounded;
}
inline float fusedMultiplyAdd(float a, float b, float c) { return std::fma(a, b, c); }
inline float exp2Approximate(float x) {
  const float y = std::exp2(x);
  return y < 0x1p-126f ? 0 : y;
}

#endif

LF_DEVICE float sigmoid(float x) { return 1 / (1 + exponential(-x)); }

}  // namespace lateforge::cuda
