// Vectors of LF_VECTOR_BYTES and the functions that kernels apply to them. Everything lives in the namespace of the
// instruction set, so that the linker never merges code compiled with different flags.
//
// exp, Φ and tanh for float are range reduction plus minimax polynomials fitted for this file (relative error of the
// fit < 6e-8); double, which only tests run, goes through libm lane by lane.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#ifndef LF_ISA
#error "LF_ISA names the instruction set this file is compiled for"
#endif

namespace lateforge::cpu::LF_ISA {

template <class T>
struct LanesOf {
  typedef T type __attribute__((vector_size(LF_VECTOR_BYTES)));
};
template <class T>
using Vec = typename LanesOf<T>::type;
template <class T>
using IntOf = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
template <class T>
constexpr int kLanes = LF_VECTOR_BYTES / static_cast<int>(sizeof(T));

template <class T>
inline Vec<T> load(const T* p) {
  Vec<T> v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
template <class T>
inline void store(T* p, Vec<T> v) {
  __builtin_memcpy(p, &v, sizeof v);
}
// The first n lanes (n ≤ kLanes); the rest read as zero and are not written.
template <class T>
inline Vec<T> loadPart(const T* p, int64_t n) {
  if (n == kLanes<T>) return load(p);
  T lanes[kLanes<T>] = {};
  for (int64_t i = 0; i < n; ++i) lanes[i] = p[i];
  return load(lanes);
}
template <class T>
inline void storePart(T* p, Vec<T> v, int64_t n) {
  if (n == kLanes<T>) return store(p, v);
  T lanes[kLanes<T>];
  store(lanes, v);
  for (int64_t i = 0; i < n; ++i) p[i] = lanes[i];
}
template <class T>
inline Vec<T> fill(T x) {
  return x - Vec<T>{};
}
template <class T>
inline Vec<T> iota() {
  Vec<T> v{};
  for (int i = 0; i < kLanes<T>; ++i) v[i] = static_cast<T>(i);
  return v;
}
template <class T>
inline T addLanes(Vec<T> v) {
  T lanes[kLanes<T>];
  store(lanes, v);
  for (int half = kLanes<T> / 2; half; half /= 2)
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}
template <class V>
inline V larger(V a, V b) {
  return a > b ? a : b;
}
template <class V>
inline V smaller(V a, V b) {
  return a < b ? a : b;
}

inline Vec<float> squareRoot(Vec<float> v) {
#if LF_VECTOR_BYTES == 64 && defined(__AVX512F__)
  return _mm512_sqrt_ps(v);
#elif LF_VECTOR_BYTES == 32 && defined(__AVX__)
  return _mm256_sqrt_ps(v);
#elif LF_VECTOR_BYTES == 16 && defined(__SSE2__)
  return _mm_sqrt_ps(v);
#else
  for (int i = 0; i < kLanes<float>; ++i) v[i] = std::sqrt(v[i]);
  return v;
#endif
}
inline Vec<double> squareRoot(Vec<double> v) {
  for (int i = 0; i < kLanes<double>; ++i) v[i] = std::sqrt(v[i]);
  return v;
}

// e^x = 2^k e^r, |r| ≤ ln2 / 2. Results below the normal range are 0, above it infinity; NaN stays.
inline Vec<float> exponential(Vec<float> x) {
  using V = Vec<float>;
  const V magic = fill(12582912.0f);  // 1.5 · 2^23: adding it rounds to an integer
  const V clamped = larger(smaller(x, fill(88.8f)), fill(-88.0f));
  const V k = (clamped * 1.44269504f + magic) - magic;
  const V r = (clamped - k * 0.693359375f) + k * 2.12194440e-4f;
  V p = fill(0.00139017827f);
  p = p * r + 0.00836315439f;
  p = p * r + 0.0416668491f;
  p = p * r + 0.166665772f;
  p = p * r + 0.499999996f;
  const V y = p * (r * r) + r + 1.0f;
  typedef int32_t I __attribute__((vector_size(LF_VECTOR_BYTES)));
  const I e = __builtin_convertvector(k, I);
  // 2^k in two factors, for k = 128 is no float.
  const I h = e >> 1;
  const V result = y * reinterpret_cast<V>((h + 127) << 23) * reinterpret_cast<V>((e - h + 127) << 23);
  const V low = x < -87.3f ? V{} : result;
  const V high = x > 88.73f ? fill(std::numeric_limits<float>::infinity()) : low;
  return x == x ? high : x;
}
inline Vec<double> exponential(Vec<double> x) {
  for (int i = 0; i < kLanes<double>; ++i) x[i] = std::exp(x[i]);
  return x;
}

template <class T>
inline Vec<T> sigmoid(Vec<T> x) {
  return T{1} / (T{1} + exponential(-x));
}

// Near 0 an odd polynomial, else 1 − 2 / (e^{2|x|} + 1).
inline Vec<float> hyperbolicTangent(Vec<float> x) {
  using V = Vec<float>;
  const V a = x < 0.0f ? -x : x;
  const V s = x * x;
  V p = fill(-0.00609692769f);
  p = p * s + 0.0209973458f;
  p = p * s - 0.0538509502f;
  p = p * s + 0.133327701f;
  p = p * s - 0.333333289f;
  const V near = x + x * s * p;
  const V far = 1.0f - 2.0f / (exponential(a + a) + 1.0f);
  return a < 0.625f ? near : (x < 0.0f ? -far : far);
}
inline Vec<double> hyperbolicTangent(Vec<double> x) {
  for (int i = 0; i < kLanes<double>; ++i) x[i] = std::tanh(x[i]);
  return x;
}

// The normal distribution: cdf Φ(x) = (1 + erf(x/√2)) / 2 and density φ(x), which share an exponential:
// Φ(−|x|) = e^{−x²/2} P(t), t = 1 / (1 + 0.3 |x|), fitted on |x| ≤ 14.
template <class T>
struct Normal {
  Vec<T> cdf, density;
};
inline Normal<float> normal(Vec<float> x) {
  using V = Vec<float>;
  const V a = x < 0.0f ? -x : x;
  const V e = exponential(-0.5f * x * x);
  const V t = 1.0f / (1.0f + 0.3f * a);
  V p = fill(0.0383784033f);
  p = p * t - 0.169166635f;
  p = p * t + 0.228661096f;
  p = p * t - 0.0765075563f;
  p = p * t + 0.142536209f;
  p = p * t + 0.0946832586f;
  p = p * t + 0.121920403f;
  p = p * t + 0.119487682f;
  p = p * t + 7.16925363e-6f;
  const V tail = e * p;
  return {x < 0.0f ? tail : 1.0f - tail, e * 0.398942280f};
}
inline Normal<double> normal(Vec<double> x) {
  Normal<double> n{};
  for (int i = 0; i < kLanes<double>; ++i) {
    n.cdf[i] = 0.5 * std::erfc(-x[i] * 0.70710678118654752440);
    n.density[i] = 0.39894228040143267794 * std::exp(-0.5 * x[i] * x[i]);
  }
  return n;
}

// Philox4x32-10 (../core/philox.h) on N counters at once: c0 + i · step0 and c1 + i · step1.
template <int N>
struct PhiloxBlock {
  uint32_t word[4][N];
};
template <int N>
inline PhiloxBlock<N> philoxLanes(const uint32_t* key, uint32_t c0, uint32_t step0, uint32_t c1, uint32_t step1,
                                  uint32_t c2, uint32_t c3) {
  PhiloxBlock<N> b;
  for (uint32_t i = 0; i < N; ++i) {
    b.word[0][i] = c0 + i * step0;
    b.word[1][i] = c1 + i * step1;
    b.word[2][i] = c2;
    b.word[3][i] = c3;
  }
  uint32_t key0 = key[0], key1 = key[1];
  for (int round = 0; round < 10; ++round) {
    for (int i = 0; i < N; ++i) {
      const uint64_t p0 = uint64_t{0xD2511F53u} * b.word[0][i];
      const uint64_t p1 = uint64_t{0xCD9E8D57u} * b.word[2][i];
      b.word[0][i] = static_cast<uint32_t>(p1 >> 32) ^ b.word[1][i] ^ key0;
      b.word[2][i] = static_cast<uint32_t>(p0 >> 32) ^ b.word[3][i] ^ key1;
      b.word[1][i] = static_cast<uint32_t>(p1);
      b.word[3][i] = static_cast<uint32_t>(p0);
    }
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return b;
}

}  // namespace lateforge::cpu::LF_ISA
