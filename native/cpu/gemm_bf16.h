// How numbers are multiplied rounded to bfloat16, with sums in float32: AVX-512 with BF16. Products and sums are each
// rounded to nearest; what is below the normal range counts as zero (Intel's manual, volume 2, VDPBF16PS).
#pragma once

#include <bit>

#include "gemm_exact.h"
#include "half.h"

#define LF_BF16 __attribute__((target("avx512bf16")))

namespace lateforge::cpu::LF_ISA {

// An item is two neighbouring values of k, the first in the low half. An odd last one has a zero beside it.
struct Pairs {
  using Real = float;
  using Item = int32_t;
  static constexpr int64_t kEach = 2;
  static constexpr bool kReadsB = false;

  // As Exact's, [panels, items, kColumns].
  LF_BF16 static void packB(const Gemm<float>& g, int64_t task, int32_t* target) {
    constexpr int64_t width = kColumns<float>, lanes = kLanes<float>;
    const int64_t items = divideUp(g.k, kEach);
    if (g.form != Form::NT) {
      for (int64_t k = task * kPackedRows; k < std::min((task + 1) * kPackedRows, g.k); k += kEach)
        for (int64_t j = 0; j < g.n; j += width)
          for (int64_t h = 0; h < width; h += lanes) {
            const int64_t count = std::clamp<int64_t>(g.n - j - h, 0, lanes);
            const float* from = g.b + k * g.ldb + j + h;
            const Vec<float> low = loadPart(from, count), high = loadPart(from + g.ldb, k + 1 < g.k ? count : 0);
            _mm512_storeu_si512(target + j * items + k / kEach * width + h, interleaved(low, high));
          }
      return;
    }
    const int64_t first = task * width, count = std::min(width, g.n - first);
    target += first * items;
    for (int64_t k = 0; k < g.k; k += kEach * lanes)
      for (int64_t j = 0; j < width; j += lanes) {
        Vec<float> rows[lanes];
#pragma GCC unroll 16
        for (int r = 0; r < lanes; ++r)
          rows[r] = j + r < count ? neighbours(g.b + (first + j + r) * g.ldb + k, g.k - k) : Vec<float>{};
        transpose<float>(rows);
#pragma GCC unroll 16
        for (int r = 0; r < lanes; ++r)
          if (k / kEach + r < items) store(reinterpret_cast<float*>(target + (k / kEach + r) * width + j), rows[r]);
      }
  }

  // As Exact's, [m / kRows, items, kRows].
  LF_BF16 static void packA(const Gemm<float>& g, int32_t* target) {
    const int64_t items = divideUp(g.k, kEach);
    for (int64_t i = 0; i < g.m; i += kRows)
      for (int64_t k = 0; k < g.k; k += kEach) {
        const int64_t count = std::min<int64_t>(kRows, g.m - i);
        const float* from = g.a + k * g.lda + i;
        const __mmask16 here = static_cast<__mmask16>((1u << count) - 1);
        const __mmask16 next = k + 1 < g.k ? here : __mmask16{0};
        const Vec<float> low = _mm512_maskz_loadu_ps(here, from), high = _mm512_maskz_loadu_ps(next, from + g.lda);
        constexpr __mmask16 all = (1u << kRows) - 1;
        _mm512_mask_storeu_epi32(target + i * items + k / kEach * kRows, all, interleaved(low, high));
      }
  }

  // Rows of A, as pairs; rows past the last are zero.
  class Rows {
   public:
    const int32_t* items = pairs_;
    static constexpr int64_t apart = kDepth / kEach + 16;

    LF_BF16 void read(const Gemm<float>& g, int64_t i, int64_t k, int64_t rows, int64_t depth) {
      constexpr int64_t lanes = kLanes<float>;
      for (int64_t r = 0; r < kRows; ++r)
        for (int64_t p = 0; p < depth; p += kEach * lanes)
          store(reinterpret_cast<float*>(pairs_ + r * apart + p / kEach),
                r < rows ? neighbours(g.a + (i + r) * g.lda + k + p, depth - p) : Vec<float>{});
    }

   private:
    alignas(64) int32_t pairs_[kRows * apart];
  };

  // As Exact's; a [kRows, items], rows Rows::apart apart, or (across) as packA makes it.
  template <bool across>
  LF_BF16 static void wholeTile(int64_t items, const int32_t* a, int64_t, const int32_t* b, int64_t, float* c,
                                int64_t ldc, bool add, const float* bias) {
    constexpr int64_t lanes = kLanes<float>, row = across ? 1 : Rows::apart, along = across ? kRows : 1;
    Vec<float> sum[kRows][2];
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      __builtin_prefetch(c + r * ldc, 1), __builtin_prefetch(c + r * ldc + lanes, 1);
      sum[r][0] = sum[r][1] = Vec<float>{};
    }
    for (int64_t p = 0; p < items; ++p, a += along, b += kColumns<float>) {
      const __m512bh right[2] = {words(b), words(b + lanes)};
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const __m512bh left = reinterpret_cast<__m512bh>(_mm512_set1_epi32(a[r * row]));
        sum[r][0] = _mm512_dpbf16_ps(sum[r][0], left, right[0]);
        sum[r][1] = _mm512_dpbf16_ps(sum[r][1], left, right[1]);
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        float* to = c + r * ldc + h * lanes;
        Vec<float> v = sum[r][h];
        if (add) v += load(to);
        if (bias) v += load(bias + h * lanes);
        store(to, v);
      }
  }

 private:
  LF_BF16 static __m512bh words(const int32_t* p) { return reinterpret_cast<__m512bh>(_mm512_loadu_si512(p)); }

  // Pairs of a lane of each.
  LF_BF16 static __m512i interleaved(Vec<float> low, Vec<float> high) {
    return reinterpret_cast<__m512i>(rounded(low) | rounded(high) << 16);
  }
  LF_BF16 static Words rounded(Vec<float> v) {
    typedef uint16_t Narrow __attribute__((vector_size(LF_VECTOR_BYTES / 2)));
    return __builtin_convertvector(reinterpret_cast<Narrow>(_mm512_cvtneps_pbh(v)), Words);
  }

  // Pairs of neighbours among the first `count` of 32 numbers, the rest of which read as zero.
  LF_BF16 static Vec<float> neighbours(const float* p, int64_t count) {
    constexpr int64_t lanes = kLanes<float>;
    const Vec<float> low = loadPart(p, std::min(count, lanes));
    const Vec<float> high = loadPart(p + lanes, std::clamp<int64_t>(count - lanes, 0, lanes));
    return reinterpret_cast<Vec<float>>(_mm512_cvtne2ps_pbh(high, low));
  }
};

}  // namespace lateforge::cpu::LF_ISA
