// The matrix micro-kernel of attention and MaxSim: a block of C in registers, scalars of A broadcast against vectors of
// B. Sums run over k in order for every element, whatever the block. (GEMM, whose rows of A lie far apart, has its
// own.)
#pragma once

#include "lanes.h"

namespace lateforge::cpu::LF_ISA {

// Rows and vectors of a full block.
constexpr int kTileRows = kManyRegisters ? 12 : 6;
constexpr int kTileVectors = 2;
template <class T>
constexpr int kTileColumns = kTileVectors * kLanes<T>;

// sum[M][N vectors] += A · B, A[i][p] at a[i · rs + p · cs], B[p] at b + p · ldb; before(p) runs before step p.
// `together`: rs is 1. Every third row has a pointer, the two after it are one and two strides away, which the
// processor computes for free; the empty asm keeps the compiler from making a pointer of every row, for which registers
// would not suffice.
template <class T, int M, int N, bool together = false, class F>
inline void addProducts(int64_t k, const T* a, int64_t rs, int64_t cs, const T* b, int64_t ldb, Vec<T> (&sum)[M][N],
                        F before) {
  constexpr int bases = together ? 1 : (M + 2) / 3;
  const T* base[bases];
#pragma GCC unroll 5
  for (int i = 0; i < bases; ++i) base[i] = a + 3 * i * rs;
  for (int64_t p = 0; p < k; ++p) {
    before(p);
    Vec<T> right[N];
#pragma GCC unroll 4
    for (int j = 0; j < N; ++j) right[j] = load(b + p * ldb + j * kLanes<T>);
#pragma GCC unroll 5
    for (int i = 0; i < bases; ++i) asm("" : "+r"(base[i]));
#pragma GCC unroll 16
    for (int i = 0; i < M; ++i) {
      const Vec<T> left = fill(together ? base[0][i] : base[i / 3][i % 3 * rs]);
#pragma GCC unroll 4
      for (int j = 0; j < N; ++j) sum[i][j] += left * right[j];
    }
#pragma GCC unroll 5
    for (int i = 0; i < bases; ++i) base[i] += cs;
  }
}

// C[M][N vectors] = (accumulate ? C : 0) + A · B. `dense`: ldc is what N vectors hold.
template <class T, int M, int N, bool together = false, bool dense = false>
void tile(int64_t k, const T* a, int64_t rs, int64_t cs, const T* b, int64_t ldb, T* c, int64_t ldc, bool accumulate) {
  if constexpr (dense) ldc = N * kLanes<T>;
  Vec<T> sum[M][N];
#pragma GCC unroll 16
  for (int i = 0; i < M; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < N; ++j) sum[i][j] = accumulate ? load(c + i * ldc + j * kLanes<T>) : Vec<T>{};
  addProducts<T, M, N, together>(k, a, rs, cs, b, ldb, sum, [](int64_t) {});
#pragma GCC unroll 16
  for (int i = 0; i < M; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < N; ++j) store(c + i * ldc + j * kLanes<T>, sum[i][j]);
}

// A full tile, by how A and C lie.
template <class T, int N>
inline void fullTile(int64_t k, const T* a, int64_t rs, int64_t cs, const T* b, int64_t ldb, T* c, int64_t ldc,
                     bool accumulate) {
  const auto run = [&](auto together, auto dense) {
    tile<T, kTileRows, N, together, dense>(k, a, rs, cs, b, ldb, c, ldc, accumulate);
  };
  const auto lying = [&](auto together) {
    ldc == N* kLanes<T> ? run(together, std::true_type()) : run(together, std::false_type());
  };
  rs == 1 ? lying(std::true_type()) : lying(std::false_type());
}

template <class T, int N, int M>
inline void tileOf(int64_t m, int64_t k, const T* a, int64_t rs, int64_t cs, const T* b, int64_t ldb, T* c, int64_t ldc,
                   bool accumulate) {
  if (m == M) return tile<T, M, N>(k, a, rs, cs, b, ldb, c, ldc, accumulate);
  if constexpr (M > 1) tileOf<T, N, M - 1>(m, k, a, rs, cs, b, ldb, c, ldc, accumulate);
}

// C[m][n] for m ≤ kTileRows, n ≤ kTileColumns. B is read up to whole vectors; only n columns of C are touched.
template <class T>
inline void block(int64_t m, int64_t n, int64_t k, const T* a, int64_t rs, int64_t cs, const T* b, int64_t ldb, T* c,
                  int64_t ldc, bool accumulate) {
  constexpr int64_t L = kLanes<T>;
  if (n % L == 0) {
    if (m == kTileRows && n == L) return fullTile<T, 1>(k, a, rs, cs, b, ldb, c, ldc, accumulate);
    if (m == kTileRows) return fullTile<T, 2>(k, a, rs, cs, b, ldb, c, ldc, accumulate);
    if (n == L) return tileOf<T, 1, kTileRows - 1>(m, k, a, rs, cs, b, ldb, c, ldc, accumulate);
    return tileOf<T, 2, kTileRows - 1>(m, k, a, rs, cs, b, ldb, c, ldc, accumulate);
  }
  T whole[kTileRows * kTileColumns<T>];
  const int64_t width = n < L ? L : 2 * L;
  if (accumulate)
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < width; ++j) whole[i * width + j] = j < n ? c[i * ldc + j] : T{0};
  block(m, width, k, a, rs, cs, b, ldb, whole, width, accumulate);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) c[i * ldc + j] = whole[i * width + j];
}

// The same for any m and n.
template <class T>
inline void multiply(int64_t m, int64_t n, int64_t k, const T* a, int64_t rs, int64_t cs, const T* b, int64_t ldb, T* c,
                     int64_t ldc, bool accumulate) {
  for (int64_t j = 0; j < n; j += kTileColumns<T>)
    for (int64_t i = 0; i < m; i += kTileRows)
      block(m - i < kTileRows ? m - i : kTileRows, n - j < kTileColumns<T> ? n - j : kTileColumns<T>, k, a + i * rs, rs,
            cs, b + j, ldb, c + i * ldc + j, ldc, accumulate);
}

}  // namespace lateforge::cpu::LF_ISA
