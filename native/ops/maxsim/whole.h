// MaxSim of int8 documents in whole numbers: rows of queries are made int16 with a scale each, which is exact to 2^-16
// of a row's largest number, and one instruction multiplies twice as many of these as of floats. Sums are exact int32,
// so no result depends on tiles.
//
// A panel of query rows has pairs of neighbouring features [dim / 2][Vectors · lanes], then the rows' scales
// [Vectors · lanes]: no more room than its floats take. Documents are widened to int16 as they are read.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>

#include "../../cpu/pairs.h"
#include "scan.h"

namespace lateforge::cpu::LF_ISA {

// Whether there is that instruction.
#if defined(__SSE2__)
constexpr bool kWholeIsFast = true;
#else
constexpr bool kWholeIsFast = false;
#endif

// The largest int16 of a query row: sums of `dim` products with int8 are to be int32.
inline int32_t largestFor(int64_t dim) {
  return static_cast<int32_t>(std::min<int64_t>(32767, std::numeric_limits<int32_t>::max() / (128 * dim)));
}

// Rows x [rows, dim] to a panel `width` rows wide, zeros past the last. What is not finite makes its row's scale NaN; a
// row of next to nothing is zeros.
inline void packWhole(const float* x, int64_t rows, int64_t dim, int64_t width, float* panel) {
  int32_t* const pairs = reinterpret_cast<int32_t*>(panel);
  float* const scales = panel + dim / 2 * width;
  const float most = static_cast<float>(largestFor(dim));
  for (int64_t r = 0; r < width; ++r) {
    const float* row = x + r * dim;
    float largest = 0;
    bool finite = true;
    for (int64_t k = 0; k < dim && r < rows; ++k) {
      finite = finite && std::isfinite(row[k]);
      largest = std::max(largest, std::fabs(row[k]));
    }
    const float by = finite && largest > 1e-30f ? most / largest : 0;
    scales[r] = by > 0 ? largest / most : finite ? 0 : std::numeric_limits<float>::quiet_NaN();
    const auto whole = [&](int64_t k) -> uint32_t {
      return by > 0 ? static_cast<uint16_t>(static_cast<int16_t>(std::nearbyint(row[k] * by))) : 0;
    };
    for (int64_t k = 0; k < dim / 2; ++k)
      pairs[k * width + r] = static_cast<int32_t>(whole(2 * k) | whole(2 * k + 1) << 16);
  }
}

// use(token, vector, sums): products of Tokens rows d [Tokens, dim / 2 pairs] with a panel [dim / 2, Vectors · lanes].
// Meanwhile as many bytes as the rows have stored are asked for from `ahead` on, a few at a time: all at once, and the
// first products would wait for them.
template <bool Fused, int Tokens, int Vectors, class F>
inline void multiplyWhole(int64_t words, const int32_t* d, const int32_t* panel, const int8_t* ahead, F use) {
  constexpr int64_t L = kLanes<float>;
  constexpr int bases = (Tokens + 2) / 3;  // as in cpu/tile.h
  const int32_t* base[bases];
#pragma GCC unroll 5
  for (int i = 0; i < bases; ++i) base[i] = d + 3 * i * words;
  Ints sums[Tokens][Vectors] = {};
  for (int64_t k = 0; k < words; ++k, panel += Vectors * L) {
    __builtin_prefetch(ahead + 2 * Tokens * k);
    Shorts right[Vectors];
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v)
      right[v] = reinterpret_cast<Shorts>(load(reinterpret_cast<const float*>(panel) + v * L));
#pragma GCC unroll 16
    for (int t = 0; t < Tokens; ++t) {
      const Shorts left = reinterpret_cast<Shorts>(Ints{} + base[t / 3][t % 3 * words]);
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) addPairsTo<Fused>(sums[t][v], left, right[v]);
    }
#pragma GCC unroll 5
    for (int i = 0; i < bases; ++i) {
      const int32_t* next = base[i] + 1;
      asm("" : "+r"(next));
      base[i] = next;
    }
  }
#pragma GCC unroll 16
  for (int t = 0; t < Tokens; ++t)
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) use(t, v, sums[t][v]);
}

// The same as floats, of a panel of packWhole and of d [Tokens, dim] with scales; but for the scales of the panel's
// rows.
template <bool Fused, int Vectors, int Tokens, class F>
inline void similaritiesWhole(const float* panel, const int16_t* d, const float* scales, int64_t dim,
                              const int8_t* ahead, F use) {
  multiplyWhole<Fused, Tokens, Vectors>(
      dim / 2, reinterpret_cast<const int32_t*>(d), reinterpret_cast<const int32_t*>(panel), ahead,
      [&](int t, int v, const Ints& sums)
          __attribute__((always_inline)) { use(t, v, __builtin_convertvector(sums, Vec<float>) * scales[t]); });
}

template <bool Fused, int Vectors, int Tokens>
void scanWhole(const float* panel, const int16_t* d, const float* scales, int64_t dim, const int8_t* ahead,
               Best<float>& best) {
  Vec<float> value[Vectors], sum[Vectors];
  std::copy_n(best.value, Vectors, value);
  std::copy_n(best.sum, Vectors, sum);
  similaritiesWhole<Fused, Vectors, Tokens>(panel, d, scales, dim, ahead,
                                            [&](int, int v, Vec<float> sim) __attribute__((always_inline)) {
                                              sum[v] += sim;
                                              value[v] = sim > value[v] ? sim : value[v];
                                            });
  std::copy_n(value, Vectors, best.value);
  std::copy_n(sum, Vectors, best.sum);
}

template <bool Fused, int Vectors, int Tokens>
void storeWhole(const float* panel, const int16_t* d, const float* scales, int64_t dim, float* to, int64_t stride) {
  const float* factors = panel + dim / 2 * Vectors * kLanes<float>;
  similaritiesWhole<Fused, Vectors, Tokens>(panel, d, scales, dim, reinterpret_cast<const int8_t*>(d),
                                            [&](int t, int v, Vec<float> sim) __attribute__((always_inline)) {
                                              store(to + t * stride + v * kLanes<float>,
                                                    sim * load(factors + v * kLanes<float>));
                                            });
}

// These for 1 to kTile tokens.
template <bool Fused, int Vectors, int... Tokens>
constexpr auto scansWhole(std::integer_sequence<int, Tokens...>) {
  return std::array{&scanWhole<Fused, Vectors, Tokens + 1>...};
}
template <bool Fused, int Vectors, int... Tokens>
constexpr auto storesWhole(std::integer_sequence<int, Tokens...>) {
  return std::array{&storeWhole<Fused, Vectors, Tokens + 1>...};
}

// As Document, of int8 times a scale a token.
struct WholeDocument {
  const int8_t* stored;   // [tokens, dim]
  const int16_t* tokens;  // the same
  const float* scales;    // [tokens]
  const int8_t* ahead;    // those that are likely next: asked for as these are scanned

  template <int Vectors, bool Argmax>
  void scan(const float* panel, int64_t dim, int64_t count, Best<float>& best) const {
    static_assert(!Argmax);
    static constexpr auto tile = std::make_integer_sequence<int, kTile>{};
    static const auto scans = fusesPairs() ? scansWhole<true, Vectors>(tile) : scansWhole<false, Vectors>(tile);
    startOf(best);
    forTiles(count, [&](int64_t first, int64_t n) {
      scans[n - 1](panel, tokens + first * dim, scales + first, dim, ahead + first * dim, best);
    });
    const float* factors = panel + dim / 2 * Vectors * kLanes<float>;
    for (int v = 0; v < Vectors; ++v) {
      best.value[v] *= load(factors + v * kLanes<float>);
      best.sum[v] *= load(factors + v * kLanes<float>);
    }
  }
  void similarities(const float* panel, int64_t dim, int64_t count, int64_t width, float* to, int64_t stride) const {
    static constexpr auto tile = std::make_integer_sequence<int, kTile>{};
    static const auto ones = fusesPairs() ? storesWhole<true, 1>(tile) : storesWhole<false, 1>(tile);
    static const auto twos = fusesPairs() ? storesWhole<true, 2>(tile) : storesWhole<false, 2>(tile);
    (width == kLanes<float> ? ones : twos)[count - 1](panel, tokens, scales, dim, to, stride);
  }
  float value(int64_t j, int64_t k, int64_t dim) const { return static_cast<float>(stored[j * dim + k]) * scales[j]; }
};

}  // namespace lateforge::cpu::LF_ISA
