// The matrix micro-kernel: a block of C in registers, scalars of A broadcast against vectors of B. Sums run over k in
// order for every element, whatever the block.
//
// A is [m, k], rows lda apart, or (`across`) [k, m], values of k lda apart.
#pragma once

#include "lanes.h"

namespace lateforge::cpu::LF_ISA {

// Rows and vectors of a full block.
constexpr int kTileRows = kManyRegisters ? 12 : 6;
constexpr int kTileVectors = 2;
template <class T>
constexpr int kTileColumns = kTileVectors * kLanes<T>;

// sum[M][N vectors] += A · B, B[p] at b + p · ldb; before(p) runs before steps p and p + 1. Two at a time: where two
// threads share a core, its front end is what is scarce.
// Every third row has a pointer, the two after it are one and two strides away: an address the processor computes for
// free. The empty asm keeps the compiler from making a pointer of every row, for which registers would not suffice.
// A step that is not inlined has its sums in memory, which takes 2.5 times as long: GCC decides so where callers
// differ.
template <class T, int M, int N, bool across = false, class F>
inline void addProducts(int64_t k, const T* a, int64_t lda, const T* b, int64_t ldb, Vec<T> (&sum)[M][N], F before) {
  constexpr int bases = across ? 1 : (M + 2) / 3;
  const T* base[bases];
#pragma GCC unroll 5
  for (int i = 0; i < bases; ++i) base[i] = a + 3 * i * lda;
  const auto step = [&](int64_t p) __attribute__((always_inline)) {
    Vec<T> right[N];
#pragma GCC unroll 4
    for (int j = 0; j < N; ++j) right[j] = load(b + p * ldb + j * kLanes<T>);
#pragma GCC unroll 16
    for (int i = 0; i < M; ++i) {
      const Vec<T> left = fill(across ? base[0][p * lda + i] : base[i / 3][i % 3 * lda + p]);
#pragma GCC unroll 4
      for (int j = 0; j < N; ++j) sum[i][j] += left * right[j];
    }
  };
  int64_t p = 0;
  for (; p + 2 <= k; p += 2) {
    before(p);
    step(0), step(1);
    b += 2 * ldb;
#pragma GCC unroll 5
    for (int i = 0; i < bases; ++i) {
      const T* next = base[i] + 2 * (across ? lda : 1);
      asm("" : "+r"(next));
      base[i] = next;
    }
  }
  if (p < k) step(0);
}

// C[M][N vectors] = (accumulate ? C : 0) + A · B. `dense`: ldc is what N vectors hold.
template <class T, int M, int N, bool across, bool dense = false>
void tile(int64_t k, const T* a, int64_t lda, const T* b, int64_t ldb, T* c, int64_t ldc, bool accumulate) {
  if constexpr (dense) ldc = N * kLanes<T>;
  Vec<T> sum[M][N];
#pragma GCC unroll 16
  for (int i = 0; i < M; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < N; ++j) sum[i][j] = accumulate ? load(c + i * ldc + j * kLanes<T>) : Vec<T>{};
  addProducts<T, M, N, across>(k, a, lda, b, ldb, sum, [](int64_t) {});
#pragma GCC unroll 16
  for (int i = 0; i < M; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < N; ++j) store(c + i * ldc + j * kLanes<T>, sum[i][j]);
}

// A full tile, by how C lies.
template <class T, int N, bool across>
inline void fullTile(int64_t k, const T* a, int64_t lda, const T* b, int64_t ldb, T* c, int64_t ldc, bool accumulate) {
  if (ldc == N * kLanes<T>) return tile<T, kTileRows, N, across, true>(k, a, lda, b, ldb, c, ldc, accumulate);
  tile<T, kTileRows, N, across>(k, a, lda, b, ldb, c, ldc, accumulate);
}

template <class T, int N, bool across, int M>
inline void tileOf(int64_t m, int64_t k, const T* a, int64_t lda, const T* b, int64_t ldb, T* c, int64_t ldc,
                   bool accumulate) {
  if (m == M) return tile<T, M, N, across>(k, a, lda, b, ldb, c, ldc, accumulate);
  if constexpr (M > 1) tileOf<T, N, across, M - 1>(m, k, a, lda, b, ldb, c, ldc, accumulate);
}

// C[m][n] for m ≤ kTileRows, n ≤ kTileColumns. B is read up to whole vectors; only n columns of C are touched.
template <class T, bool across>
inline void block(int64_t m, int64_t n, int64_t k, const T* a, int64_t lda, const T* b, int64_t ldb, T* c, int64_t ldc,
                  bool accumulate) {
  constexpr int64_t L = kLanes<T>;
  if (n % L == 0) {
    if (m == kTileRows && n == L) return fullTile<T, 1, across>(k, a, lda, b, ldb, c, ldc, accumulate);
    if (m == kTileRows) return fullTile<T, 2, across>(k, a, lda, b, ldb, c, ldc, accumulate);
    if (n == L) return tileOf<T, 1, across, kTileRows - 1>(m, k, a, lda, b, ldb, c, ldc, accumulate);
    return tileOf<T, 2, across, kTileRows - 1>(m, k, a, lda, b, ldb, c, ldc, accumulate);
  }
  T whole[kTileRows * kTileColumns<T>];
  const int64_t width = n < L ? L : 2 * L;
  if (accumulate)
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < width; ++j) whole[i * width + j] = j < n ? c[i * ldc + j] : T{0};
  block<T, across>(m, width, k, a, lda, b, ldb, whole, width, accumulate);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) c[i * ldc + j] = whole[i * width + j];
}

// The same for any m and n; between() runs before each block.
template <bool across = false, class T, class F>
inline void multiply(int64_t m, int64_t n, int64_t k, const T* a, int64_t lda, const T* b, int64_t ldb, T* c,
                     int64_t ldc, bool accumulate, F&& between) {
  for (int64_t j = 0; j < n; j += kTileColumns<T>)
    for (int64_t i = 0; i < m; i += kTileRows) {
      between();
      block<T, across>(m - i < kTileRows ? m - i : kTileRows, n - j < kTileColumns<T> ? n - j : kTileColumns<T>, k,
                       a + (across ? i : i * lda), lda, b + j, ldb, c + i * ldc + j, ldc, accumulate);
    }
}

}  // namespace lateforge::cpu::LF_ISA
