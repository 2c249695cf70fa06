// How numbers are multiplied as they are: what gemm.cc packs, and its micro-kernel.
#pragma once

#include <algorithm>

#include "gemm.h"
#include "loops.h"
#include "tile.h"

namespace lateforge::cpu::LF_ISA {

// Two vectors of columns; as many rows as leave registers for the two of B.
constexpr int kRows = kManyRegisters ? 14 : 6;
template <class T>
constexpr int kColumns = 2 * kLanes<T>;
constexpr int64_t kDepth = 256;  // k at a time
// Values of k that a task of packing reads, where k does not lie along memory.
constexpr int64_t kPackedRows = 32;

// Items are the numbers themselves.
template <class T>
struct Exact {
  using Real = T;
  using Item = T;
  static constexpr int64_t kEach = 1;    // values of k in an item
  static constexpr bool kReadsB = true;  // of TN, where it is

  // B, [n, k] (NT) or [k, n], to target [panels, k, kColumns], zeros past the last column, by tasks that each read
  // memory in order: a panel where k is contiguous, else kPackedRows values of k.
  static void packB(const Gemm<T>& g, int64_t task, T* target) {
    constexpr int64_t width = kColumns<T>, lanes = kLanes<T>;
    if (g.form != Form::NT) {
      for (int64_t k = task * kPackedRows; k < std::min((task + 1) * kPackedRows, g.k); ++k)
        for (int64_t j = 0; j < g.n; j += width)
          for (int64_t h = 0; h < width; h += lanes)
            store(target + j * g.k + k * width + h,
                  loadPart(g.b + k * g.ldb + j + h, std::clamp<int64_t>(g.n - j - h, 0, lanes)));
      return;
    }
    const int64_t first = task * width, count = std::min(width, g.n - first);
    const T* source = g.b + first * g.ldb;
    target += first * g.k;
    int64_t k = 0;
    for (; k + lanes <= g.k; k += lanes)
      for (int64_t j = 0; j < width; j += lanes) {
        Vec<T> rows[kLanes<T>];
#pragma GCC unroll 16
        for (int r = 0; r < lanes; ++r) rows[r] = j + r < count ? load(source + (j + r) * g.ldb + k) : Vec<T>{};
        transpose<T>(rows);
#pragma GCC unroll 16
        for (int r = 0; r < lanes; ++r) store(target + (k + r) * width + j, rows[r]);
      }
    for (; k < g.k; ++k)
      for (int64_t j = 0; j < width; ++j) target[k * width + j] = j < count ? source[j * g.ldb + k] : T{0};
  }

  // A transposed (TN), [k, m], to target [m / kRows, k, kRows], zeros past the last row. Some values of k at a time, so
  // that runs of whole cache lines are written; the next ones are asked for, since memory is read in strides.
  static void packA(const Gemm<T>& g, T* target) {
    constexpr int64_t together = 8, line = 64 / static_cast<int64_t>(sizeof(T));
    for (int64_t begin = 0; begin < g.k; begin += together) {
      const int64_t end = std::min(begin + together, g.k);
      for (int64_t k = end; k < std::min(end + together, g.k); ++k)
        for (int64_t i = 0; i < g.m; i += line) __builtin_prefetch(g.a + k * g.lda + i);
      for (int64_t i = 0; i < g.m; i += kRows)
        for (int64_t k = begin; k < end; ++k) {
          T* to = target + i * g.k + k * kRows;
          const T* from = g.a + k * g.lda + i;
          if (i + kRows <= g.m)
            __builtin_memcpy(to, from, kRows * sizeof(T));
          else
            for (int64_t r = 0; r < kRows; ++r) to[r] = i + r < g.m ? from[r] : T{0};
        }
    }
  }

  // Rows of A where they are, or a copy: rows past the last read as zero, and rows about a page apart share sets of the
  // first-level cache.
  class Rows {
   public:
    const T* items = nullptr;
    int64_t apart = 0;

    // `rows` rows of g.a from row i on, `depth` values from k on.
    void read(const Gemm<T>& g, int64_t i, int64_t k, int64_t rows, int64_t depth) {
      items = g.a + i * g.lda + k;
      apart = g.lda;
      if (!mustCopy(g.lda, rows)) return;
      for (int64_t r = 0; r < kRows; ++r)
        for (int64_t p = 0; p < depth; ++p) copy_[r * kStride + p] = r < rows ? items[r * g.lda + p] : T{0};
      items = copy_;
      apart = kStride;
    }

   private:
    static constexpr int64_t kStride = kDepth + 16;
    alignas(64) T copy_[kRows * kStride];

    static bool mustCopy(int64_t lda, int64_t rows) {
      const int64_t bytes = lda * static_cast<int64_t>(sizeof(T));
      return rows < kRows || (bytes >= 3584 && (bytes + 512) % 4096 < 1024);
    }
  };

  // One tile: c [kRows, kColumns], rows ldc apart, = (add ? c : 0) + a · b + bias [kColumns], null for none. b [depth,
  // kColumns], packed as above, or (across) rows ldb apart; a [kRows, depth], rows `lda` apart, or (across) as packA
  // makes it. Never inlined: beside what a caller keeps in registers there are too few for the sums.
  template <bool across>
  [[gnu::noinline]] static void wholeTile(int64_t depth, const T* a, int64_t lda, const T* b, int64_t ldb, T* c,
                                          int64_t ldc, bool add, const T* bias) {
    constexpr int lanes = kLanes<T>;
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) __builtin_prefetch(c + r * ldc, 1), __builtin_prefetch(c + r * ldc + lanes, 1);
    Vec<T> sum[kRows][2];
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) sum[r][0] = sum[r][1] = Vec<T>{};
    // Rows of b that are far apart are no stream that a processor foresees.
    constexpr int64_t ahead = kManyRegisters ? 16 : 8;
    addProducts<T, kRows, 2, across>(depth, a, across ? kRows : lda, b, across ? ldb : kColumns<T>, sum,
                                     [=](int64_t p) {
                                       if constexpr (across)
                                         for (int64_t row = p + ahead; row < p + ahead + 2; ++row) {
                                           __builtin_prefetch(b + row * ldb);
                                           if (sizeof(Vec<T>) == 64) __builtin_prefetch(b + row * ldb + lanes);
                                         }
                                     });
    const auto each = [&](auto f) {
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) f(sum[r][0], r, 0), f(sum[r][1], r, lanes);
    };
    if (add) each([&](Vec<T>& v, int r, int j) { v += load(c + r * ldc + j); });
    if (bias) each([&](Vec<T>& v, int, int j) { v += load(bias + j); });
    each([&](Vec<T>& v, int r, int j) { store(c + r * ldc + j, v); });
  }
};

}  // namespace lateforge::cpu::LF_ISA
