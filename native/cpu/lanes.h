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
#include <utility>
#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
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

// Vector registers: 32 with AVX-512 and NEON, else 16.
#if LF_VECTOR_BYTES == 64 || defined(__aarch64__)
constexpr bool kManyRegisters = true;
#else
constexpr bool kManyRegisters = false;
#endif

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

// A bit for each lane of a that is not smaller than b's.
template <class T>
inline uint32_t lanesFrom(Vec<T> a, Vec<T> b) {
#if LF_VECTOR_BYTES == 64 && defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ);
#elif LF_VECTOR_BYTES == 32 && defined(__AVX__)
  if constexpr (sizeof(T) == 4) return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GE_OQ)));
#endif
  uint32_t bits = 0;
  for (int i = 0; i < kLanes<T>; ++i) bits |= static_cast<uint32_t>(a[i] >= b[i]) << i;
  return bits;
}

inline Vec<float> squareRoot(Vec<float> v) {
#if LF_VECTOR_BYTES == 64 && defined(__AVX512F__)
  return _mm512_maskz_sqrt_ps(0xffff, v);  // GCC 12 warns of the plain one's undefined operand
#elif LF_VECTOR_BYTES == 32 && defined(__AVX__)
  return _mm256_sqrt_ps(v);
#elif LF_VECTOR_BYTES == 16 && defined(__SSE2__)
  return _mm_sqrt_ps(v);
#elif LF_VECTOR_BYTES == 16 && defined(__aarch64__)
  return vsqrtq_f32(v);
#else
  for (int i = 0; i < kLanes<float>; ++i) v[i] = std::sqrt(v[i]);
  return v;
#endif
}
inline Vec<double> squareRoot(Vec<double> v) {
  for (int i = 0; i < kLanes<double>; ++i) v[i] = std::sqrt(v[i]);
  return v;
}

// e^x = 2^k e^r, |r| ≤ ln2 / 2, for x in the range where 2^k is a normal float.
struct SplitExponential {
  Vec<float> mantissa;                                          // e^r
  int32_t power __attribute__((vector_size(LF_VECTOR_BYTES)));  // k
};
inline SplitExponential splitExponential(Vec<float> x) {
  const Vec<float> magic = fill(12582912.0f);  // 1.5 · 2^23: adding it rounds to an integer
  const Vec<float> k = (x * 1.44269504f + magic) - magic;
  const Vec<float> r = (x - k * 0.693359375f) + k * 2.12194440e-4f;
  Vec<float> p = fill(0.00139017827f);
  p = p * r + 0.00836315439f;
  p = p * r + 0.0416668491f;
  p = p * r + 0.166665772f;
  p = p * r + 0.499999996f;
  typedef int32_t I __attribute__((vector_size(LF_VECTOR_BYTES)));
  return {p * (r * r) + r + 1.0f, __builtin_convertvector(k, I)};
}

// Results below the normal range are 0, above it infinity; NaN stays.
inline Vec<float> exponential(Vec<float> x) {
  using V = Vec<float>;
  const V high = x > 88.73f ? fill(88.73f) : x;
  const auto s = splitExponential(high < -87.33f ? fill(-87.33f) : high);
  // 2^k in two factors, for k = 128 is no float.
  const auto half = s.power >> 1;
  const V y = s.mantissa * reinterpret_cast<V>((half + 127) << 23) * reinterpret_cast<V>((s.power - half + 127) << 23);
  const V low = x < -87.33f ? V{} : y;
  return x > 88.73f ? fill(std::numeric_limits<float>::infinity()) : low;
}
// The same for x up to some more than 0, quicker: of −88.03 the power is −127, whose bits are those of 0. NaN stays.
inline Vec<float> exponentialDown(Vec<float> x) {
  const auto s = splitExponential(larger(fill(-88.03f), x));
  return s.mantissa * reinterpret_cast<Vec<float>>((s.power + 127) << 23);
}
inline Vec<double> exponential(Vec<double> x) {
  for (int i = 0; i < kLanes<double>; ++i) x[i] = std::exp(x[i]);
  return x;
}

inline Vec<double> exponentialDown(Vec<double> x) { return exponential(x); }

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
  const V e = exponentialDown(-0.5f * x * x);
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

// to[c · ld + r] = from[r · ld + c] for kLanes rows and columns: log2(kLanes) rounds that interleave row i with row
// i + kLanes / 2.
template <class T, size_t... i>
inline void interleave(Vec<T> a, Vec<T> b, Vec<T>& low, Vec<T>& high, std::index_sequence<i...>) {
  constexpr size_t L = sizeof...(i);
  low = __builtin_shufflevector(a, b, (i / 2 + i % 2 * L)...);
  high = __builtin_shufflevector(a, b, (i / 2 + L / 2 + i % 2 * L)...);
}
template <class T>
inline void transpose(Vec<T> (&rows)[kLanes<T>]) {
  constexpr int L = kLanes<T>;
  Vec<T> other[L];
#pragma GCC unroll 4
  for (int round = L; round > 1; round /= 2) {
#pragma GCC unroll 16
    for (int i = 0; i < L / 2; ++i)
      interleave<T>(rows[i], rows[i + L / 2], other[2 * i], other[2 * i + 1], std::make_index_sequence<L>());
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) rows[i] = other[i];
  }
}

// Philox4x32-10 (../core/philox.h) on kWords counters at once: c0 + i · step0 and c1 + i · step1.
constexpr int kWords = LF_VECTOR_BYTES / 4;
typedef uint32_t Words __attribute__((vector_size(LF_VECTOR_BYTES)));
typedef uint64_t LongWords __attribute__((vector_size(LF_VECTOR_BYTES)));
struct PhiloxBlock {
  Words word[4];
};

// 64-bit products of the even lanes of a with b.
inline LongWords multiplyEven(LongWords a, uint32_t b) {
#if LF_VECTOR_BYTES == 64 && defined(__AVX512F__)
  return reinterpret_cast<LongWords>(_mm512_maskz_mul_epu32(0xff, reinterpret_cast<__m512i>(a), _mm512_set1_epi64(b)));
#elif LF_VECTOR_BYTES == 32 && defined(__AVX2__)
  return reinterpret_cast<LongWords>(_mm256_mul_epu32(reinterpret_cast<__m256i>(a), _mm256_set1_epi64x(b)));
#elif LF_VECTOR_BYTES == 16 && defined(__SSE2__)
  return reinterpret_cast<LongWords>(_mm_mul_epu32(reinterpret_cast<__m128i>(a), _mm_set1_epi64x(b)));
#elif LF_VECTOR_BYTES == 16 && defined(__aarch64__)
  return reinterpret_cast<LongWords>(vmull_u32(vmovn_u64(reinterpret_cast<uint64x2_t>(a)), vdup_n_u32(b)));
#else
  return (a & 0xffffffffu) * b;
#endif
}
inline void multiplyWide(Words a, uint32_t b, Words& high, Words& low) {
  const LongWords even = multiplyEven(reinterpret_cast<LongWords>(a), b);
  const LongWords odd = multiplyEven(reinterpret_cast<LongWords>(a) >> 32, b);
  constexpr uint64_t kUpper = 0xffffffff00000000u;
  high = reinterpret_cast<Words>(even >> 32 | (odd & kUpper));
  low = reinterpret_cast<Words>((even & ~kUpper) | odd << 32);
}
inline PhiloxBlock philoxBlock(const uint32_t* key, uint32_t c0, uint32_t step0, uint32_t c1, uint32_t step1,
                               uint32_t c2, uint32_t c3) {
  Words lane{};
  for (uint32_t i = 0; i < kWords; ++i) lane[i] = i;
  Words w0 = lane * step0 + c0, w1 = lane * step1 + c1, w2 = Words{} + c2, w3 = Words{} + c3;
  uint32_t key0 = key[0], key1 = key[1];
  for (int round = 0; round < 10; ++round) {
    Words high0, low0, high1, low1;
    multiplyWide(w0, 0xD2511F53u, high0, low0);
    multiplyWide(w2, 0xCD9E8D57u, high1, low1);
    w0 = high1 ^ w1 ^ key0;
    w2 = high0 ^ w3 ^ key1;
    w1 = low1;
    w3 = low0;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return {{w0, w1, w2, w3}};
}

// factor[i] = words[i] kept ? keep : 0 for the first n of kWords.
template <class T>
inline void storeKept(T* factor, Words words, uint32_t threshold, T keep, int64_t n) {
  if constexpr (sizeof(T) == 4) {
    if (n == kWords) return store(factor, words >= threshold ? fill(keep) : Vec<T>{});
  }
  for (int64_t i = 0; i < n; ++i) factor[i] = words[i] >= threshold ? keep : T{0};
}

}  // namespace lateforge::cpu::LF_ISA
