// C is cut into tiles of kRows × kColumns that live in registers over a block of k. B is packed once per call into
// panels of kColumns, so that the inner loop reads it in order; rows of A are read where they are, for kRows of them
// over a block of k stay in the first-level cache while every panel of B passes by. A of TN, which lies across, is
// packed too. (After Goto & van de Geijn 2008,
// "Anatomy of high-performance matrix multiplication".)
#include "gemm.h"

#include <algorithm>

#include "loops.h"
#include "tile.h"

namespace lateforge::cpu::LF_ISA {
namespace {

// Two vectors of columns; as many rows as leave registers for the two of B.
constexpr int kRows = kManyRegisters ? 14 : 6;
template <class T>
constexpr int kColumns = 2 * kLanes<T>;
constexpr int64_t kDepth = 256;            // k at a time
constexpr int64_t kRowBlock = 12 * kRows;  // the most rows of a task
// The most k in one go: the gradient of a weight sums over all tokens, and what is packed has to stay in a near cache.
constexpr int64_t kLongest = 2 * kDepth;

// What the workspace holds: packed B, then (TN) packed A.
template <class T>
int64_t packedSize(int64_t width, int64_t count, int64_t k) {
  return partSize(divideUp(count, width) * width * std::min(k, kLongest) * static_cast<int64_t>(sizeof(T)));
}

// Packing of B, [n, k] (NT) or [k, n], to target [panels, k, kColumns], zeros past the last column, by tasks that each
// read memory in order: a panel where k is contiguous, else kPackedRows values of k.
constexpr int64_t kPackedRows = 32;
template <class T>
int64_t packTasks(const Gemm<T>& g) {
  return g.form == Form::NT ? divideUp(g.n, kColumns<T>) : divideUp(g.k, kPackedRows);
}

template <class T>
void packB(const Gemm<T>& g, int64_t task, T* target) {
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

// One tile: c [kRows, kColumns], rows ldc apart, = (add ? c : 0) + a · b + bias [kColumns], null for none. b [depth,
// kColumns]; a [kRows, depth], rows `lda` apart, or (packed) [depth, kRows].
template <class T, bool packed>
void wholeTile(int64_t depth, const T* a, int64_t lda, const T* b, T* c, int64_t ldc, bool add, const T* bias) {
  constexpr int lanes = kLanes<T>;
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) __builtin_prefetch(c + r * ldc, 1), __builtin_prefetch(c + r * ldc + lanes, 1);
  Vec<T> sum[kRows][2];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) sum[r][0] = sum[r][1] = Vec<T>{};
  addProducts<T, kRows, 2, packed>(depth, a, packed ? kRows : lda, b, kColumns<T>, sum, [](int64_t) {});
  const auto each = [&](auto f) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) f(sum[r][0], r, 0), f(sum[r][1], r, lanes);
  };
  if (add) each([&](Vec<T>& v, int r, int j) { v += load(c + r * ldc + j); });
  if (bias) each([&](Vec<T>& v, int, int j) { v += load(bias + j); });
  each([&](Vec<T>& v, int r, int j) { store(c + r * ldc + j, v); });
}

// The same where only `rows` × `columns` of the tile are in C.
template <class T, bool packed>
void edgeTile(int64_t depth, const T* a, int64_t lda, const T* b, T* c, int64_t ldc, int64_t rows, int64_t columns,
              bool add, const T* bias) {
  alignas(64) T whole[kRows * kColumns<T>];
  wholeTile<T, packed>(depth, a, lda, b, whole, kColumns<T>, false, nullptr);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t j = 0; j < columns; ++j) {
      T value = whole[r * kColumns<T> + j];
      if (add) value += c[r * ldc + j];
      if (bias) value += bias[j];
      c[r * ldc + j] = value;
    }
}

// kRows rows of A that cannot be read where they are: rows past the last read as zero, and rows about a page apart
// share sets of the first-level cache.
template <class T>
struct CopyOfRows {
  static constexpr int64_t kStride = kDepth + 16;
  alignas(64) T data[kRows * kStride];

  static bool needed(int64_t lda, int64_t rows) {
    const int64_t apart = lda * static_cast<int64_t>(sizeof(T));
    return rows < kRows || (apart >= 3584 && (apart + 512) % 4096 < 1024);
  }
  void fillFrom(const T* a, int64_t lda, int64_t rows, int64_t depth) {
    for (int64_t r = 0; r < kRows; ++r)
      for (int64_t k = 0; k < depth; ++k) data[r * kStride + k] = r < rows ? a[r * lda + k] : T{0};
  }
};

// A transposed (TN), [k, m], to target [k / kDepth, m / kRows, depth of the block, kRows], zeros past the last row; a
// task reads kPackedRows values of k. Some of them at a time, so that runs of whole cache lines are written.
template <class T>
void packA(const Gemm<T>& g, int64_t task, T* target) {
  constexpr int64_t together = 8;
  const int64_t first = task * kPackedRows, last = std::min(first + kPackedRows, g.k);
  const int64_t start = first / kDepth * kDepth, depth = std::min(kDepth, g.k - start);
  target += start * divideUp(g.m, kRows) * kRows;
  for (int64_t begin = first; begin < last; begin += together)
    for (int64_t i = 0; i < g.m; i += kRows)
      for (int64_t k = begin; k < std::min(begin + together, last); ++k) {
        T* to = target + i * depth + (k - start) * kRows;
        const T* from = g.a + k * g.lda + i;
        if (i + kRows <= g.m)
          __builtin_memcpy(to, from, kRows * sizeof(T));
        else
          for (int64_t r = 0; r < kRows; ++r) to[r] = i + r < g.m ? from[r] : T{0};
      }
}

// Rows [begin, end) of C [m, n], columns of panels [firstPanel, lastPanel), of B and (TN) A as they were packed.
template <class T, bool packed>
void block(const Gemm<T>& g, const T* packedB, const T* packedA, int64_t begin, int64_t end, int64_t firstPanel,
           int64_t lastPanel) {
  constexpr int64_t width = kColumns<T>;
  CopyOfRows<T> copy;
  int64_t k = 0;
  do {
    const int64_t depth = std::min(kDepth, g.k - k);
    const bool add = g.accumulate || k > 0;
    for (int64_t i = begin; i < end; i += kRows) {
      const int64_t rows = std::min<int64_t>(kRows, end - i);
      const T* a = packed ? packedA + k * divideUp(g.m, kRows) * kRows + i * depth : g.a + i * g.lda + k;
      int64_t lda = g.lda;
      if (!packed && CopyOfRows<T>::needed(lda, rows)) {
        copy.fillFrom(a, lda, rows, depth);
        a = copy.data;
        lda = copy.kStride;
      }
      for (int64_t panel = firstPanel; panel < lastPanel; ++panel) {
        const int64_t j = panel * width, columns = std::min(width, g.n - j);
        const T* b = packedB + j * g.k + k * width;
        const T* bias = g.bias && k == 0 ? g.bias + j : nullptr;
        T* c = g.c + i * g.ldc + j;
        if (rows == kRows && columns == width)
          wholeTile<T, packed>(depth, a, lda, b, c, g.ldc, add, bias);
        else
          edgeTile<T, packed>(depth, a, lda, b, c, g.ldc, rows, columns, add, bias);
      }
    }
    k += kDepth;
  } while (k < g.k);
}

// The part of a long sum that begins at `first`. All but the first part add to C.
template <class T>
Gemm<T> part(Gemm<T> g, int64_t first) {
  g.a += g.form == Form::TN ? first * g.lda : first;
  g.b += g.form == Form::NT ? first : first * g.ldb;
  g.k = std::min(kLongest, g.k - first);
  if (first > 0) {
    g.accumulate = true;
    g.bias = nullptr;
  }
  return g;
}

// B (and A, where it lies across) packed by all threads, then blocks of C: rows, and columns too where rows alone would
// leave threads without work.
template <class T, bool packed>
void blocks(const Gemm<T>& g, T* workspace) {
  Team& team = Team::instance();
  T* const packedA = workspace + packedSize<T>(kColumns<T>, g.n, g.k) / static_cast<int64_t>(sizeof(T));
  const int64_t panels = divideUp(g.n, kColumns<T>), tasks = packTasks(g);
  team.parallel(tasks + (packed ? divideUp(g.k, kPackedRows) : 0),
                [&](int64_t task) { task < tasks ? packB(g, task, workspace) : packA(g, task - tasks, packedA); });
  const int64_t wanted = 12 * team.threads();
  const int64_t size = std::clamp<int64_t>(g.m / wanted / kRows * kRows, kRows, kRowBlock);
  const int64_t rows = divideUp(g.m, size), cuts = std::clamp<int64_t>(wanted / 2 / rows, 1, panels);
  forTasks(rows * cuts, [&](int64_t task) {
    const int64_t begin = task / cuts * size, cut = task % cuts;
    block<T, packed>(g, workspace, packedA, begin, std::min(begin + size, g.m), panels * cut / cuts,
                     panels * (cut + 1) / cuts);
  });
}

}  // namespace

template <class T>
int64_t gemmWorkspace(Form form, int64_t m, int64_t n, int64_t k) {
  if (m == 0 || n == 0) return 0;
  return packedSize<T>(kColumns<T>, n, k) + (form == Form::TN ? packedSize<T>(kRows, m, k) : 0);
}

template <class T>
void gemm(const Gemm<T>& g, void* workspace) {
  if (g.m == 0 || g.n == 0) return;
  int64_t first = 0;
  do {
    g.form == Form::TN ? blocks<T, true>(part(g, first), static_cast<T*>(workspace))
                       : blocks<T, false>(part(g, first), static_cast<T*>(workspace));
    first += kLongest;
  } while (first < g.k);
}

template int64_t gemmWorkspace<LF_SCALAR>(Form, int64_t m, int64_t n, int64_t k);
template void gemm<LF_SCALAR>(const Gemm<LF_SCALAR>&, void*);

}  // namespace lateforge::cpu::LF_ISA
