// C is cut into tiles of kRows × kColumns that live in registers over a block of k. (After Goto & van de Geijn 2008,
// "Anatomy of high-performance matrix multiplication".)
//
// NT and NN: B is packed once per call into panels of kColumns, so that the inner loop reads it in order; rows of A are
// read where they are, for kRows of them over a block of k stay in the first-level cache while every panel of B passes
// by.
// TN, the gradient of a weight, sums over many tokens, so that what is packed would be written anew all the time and
// read by every thread, which can take as long as the products where cores are far apart. There every task has rows of
// C for itself, packs its part of A, which lies across, and reads B where it is, or packs it too.
#include "gemm.h"

#include "gemm_exact.h"
#if LF_VECTOR_BYTES == 64
#include "gemm_bf16.h"
#endif

namespace lateforge::cpu::LF_ISA {
namespace {

constexpr int64_t kRowBlock = 12 * kRows;  // the most rows of a task
// The most k in one go, so that what is packed stays in a near cache; of TN, what all threads read at about the same
// time.
constexpr int64_t kLongest = 2 * kDepth, kLongestAcross = 4 * kDepth;
constexpr int64_t kOwnRows = 72 / kRows * kRows;  // the most rows of a task of TN

// In what follows, P is Exact<T> or Pairs: how items are made of numbers, and how they are multiplied.
template <class P>
constexpr int64_t itemsOf(int64_t k) {
  return divideUp(k, P::kEach);
}

// Bytes of `count` columns, or rows, over k, packed in panels of `width`.
template <class P>
int64_t packedSize(int64_t width, int64_t count, int64_t k) {
  return partSize(divideUp(count, width) * width * itemsOf<P>(std::min(k, kLongest)) *
                  static_cast<int64_t>(sizeof(typename P::Item)));
}

// The tile of C from row i and column j on, or what there is of it; the rest as P's wholeTile has it.
template <class P, bool across, class T = typename P::Real>
void tileAt(const Gemm<T>& g, int64_t i, int64_t j, int64_t items, const typename P::Item* a, int64_t lda,
            const typename P::Item* b, int64_t ldb, bool add, const T* bias) {
  const int64_t rows = std::min<int64_t>(kRows, g.m - i), columns = std::min<int64_t>(kColumns<T>, g.n - j);
  T* c = g.c + i * g.ldc + j;
  if (rows == kRows && columns == kColumns<T>)
    return P::template wholeTile<across>(items, a, lda, b, ldb, c, g.ldc, add, bias);
  alignas(64) T whole[kRows * kColumns<T>];
  P::template wholeTile<across>(items, a, lda, b, ldb, whole, kColumns<T>, false, nullptr);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t h = 0; h < columns; ++h) {
      T value = whole[r * kColumns<T> + h];
      if (add) value += c[r * g.ldc + h];
      if (bias) value += bias[h];
      c[r * g.ldc + h] = value;
    }
}

// NT and NN: rows [begin, end) of C [m, n], columns of panels [firstPanel, lastPanel), of B as it was packed.
template <class P, class T = typename P::Real>
void block(const Gemm<T>& g, const typename P::Item* packedB, int64_t begin, int64_t end, int64_t firstPanel,
           int64_t lastPanel) {
  constexpr int64_t width = kColumns<T>;
  typename P::Rows read;
  int64_t k = 0;
  do {
    const int64_t depth = std::min(kDepth, g.k - k), items = itemsOf<P>(depth);
    for (int64_t i = begin; i < end; i += kRows) {
      read.read(g, i, k, std::min<int64_t>(kRows, end - i), depth);
      for (int64_t panel = firstPanel; panel < lastPanel; ++panel) {
        const int64_t j = panel * width;
        const auto* b = packedB + j * itemsOf<P>(g.k) + itemsOf<P>(k) * width;
        tileAt<P, false>(g, i, j, items, read.items, read.apart, b, width, g.accumulate || k > 0,
                         g.bias && k == 0 ? g.bias + j : nullptr);
      }
    }
    k += kDepth;
  } while (k < g.k);
}

// The part of a long sum that begins at `first`, of `longest` at most. All but the first part add to C.
template <class T>
Gemm<T> part(Gemm<T> g, int64_t first, int64_t longest) {
  g.a += g.form == Form::TN ? first * g.lda : first;
  g.b += g.form == Form::NT ? first : first * g.ldb;
  g.k = std::min(longest, g.k - first);
  if (first > 0) {
    g.accumulate = true;
    g.bias = nullptr;
  }
  return g;
}

// B packed by all threads, then blocks of C: rows, and columns too where rows alone would leave threads without work.
template <class P, class T = typename P::Real>
void together(const Gemm<T>& g, typename P::Item* packedB) {
  const int64_t panels = divideUp(g.n, kColumns<T>);
  forTasks(g.form == Form::NT ? panels : divideUp(g.k, kPackedRows), [&](int64_t task) { P::packB(g, task, packedB); });
  const int64_t wanted = 12 * Team::instance().threads();
  const int64_t size = std::clamp<int64_t>(g.m / wanted / kRows * kRows, kRows, kRowBlock);
  const int64_t rows = divideUp(g.m, size), cuts = std::clamp<int64_t>(wanted / 2 / rows, 1, panels);
  forTasks(rows * cuts, [&](int64_t task) {
    const int64_t begin = task / cuts * size, cut = task % cuts;
    block<P>(g, packedB, begin, std::min(begin + size, g.m), panels * cut / cuts, panels * (cut + 1) / cuts);
  });
}

// Of TN, some rows and some columns.
template <class T>
Gemm<T> rowsOf(Gemm<T> g, int64_t first, int64_t count) {
  g.a += first;
  g.c += first * g.ldc;
  g.m = count;
  return g;
}
template <class T>
Gemm<T> columnsOf(Gemm<T> g, int64_t first, int64_t count) {
  g.b += first;
  g.c += first;
  if (g.bias) g.bias += first;
  g.n = count;
  return g;
}

// Columns that a task of TN packs: of B, or where that is read where it is of a last panel that is too narrow.
template <class P, class T = typename P::Real>
int64_t ownColumns(int64_t n) {
  return P::kReadsB ? kColumns<T> : divideUp(n, kColumns<T>) * kColumns<T>;
}
template <class P>
int64_t ownBytes(int64_t n) {
  return packedSize<P>(1, ownColumns<P>(n) + kOwnRows, kDepth);
}

// TN by one thread, of at most kOwnRows rows, in memory for ownBytes.
template <class P, class T = typename P::Real>
void alone(const Gemm<T>& whole, typename P::Item* memory) {
  constexpr int64_t width = kColumns<T>;
  auto* const packedA = memory + ownColumns<P>(whole.n) * itemsOf<P>(kDepth);
  const auto packB = [&](const Gemm<T>& g) {
    for (int64_t task = 0; task < divideUp(g.k, kPackedRows); ++task) P::packB(g, task, memory);
  };
  int64_t k = 0;
  do {
    const Gemm<T> g = part(whole, k, kDepth);
    const int64_t items = itemsOf<P>(g.k);
    P::packA(g, packedA);
    if (!P::kReadsB) packB(g);
    for (int64_t j = 0; j < g.n; j += width) {
      const typename P::Item* b = memory;
      int64_t ldb = width;
      if constexpr (!P::kReadsB)
        b += j * items;
      else if (j + width > g.n)
        packB(columnsOf(g, j, g.n - j));
      else
        b = g.b + j, ldb = g.ldb;
      for (int64_t i = 0; i < g.m; i += kRows)
        tileAt<P, true>(g, i, j, items, packedA + i * items, kRows, b, ldb, g.accumulate,
                        g.bias ? g.bias + j : nullptr);
    }
    k += kDepth;
  } while (k < whole.k);
}

// TN: as many blocks of C for every thread, of rows, and of columns too where rows alone would leave threads without
// work.
template <class P, class T = typename P::Real>
void apart(const Gemm<T>& g, void* workspace, int64_t bytes) {
  const int64_t threads = Team::instance().threads(), tiles = divideUp(g.m, kRows), panels = divideUp(g.n, kColumns<T>);
  const int64_t blocks = std::min(tiles, divideUp(divideUp(g.m, kOwnRows), threads) * threads);
  const int64_t cuts = std::clamp<int64_t>(divideUp(threads, blocks), 1, panels);
  forTasksWithMemory(blocks * cuts, workspace, bytes, ownBytes<P>(g.n), [&](int64_t task, void* memory) {
    const int64_t block = task / cuts, cut = task % cuts;
    const int64_t top = tiles * block / blocks * kRows, end = std::min(tiles * (block + 1) / blocks * kRows, g.m);
    const int64_t left = panels * cut / cuts * kColumns<T>;
    const int64_t right = std::min(panels * (cut + 1) / cuts * kColumns<T>, g.n);
    alone<P>(columnsOf(rowsOf(g, top, end - top), left, right - left), static_cast<typename P::Item*>(memory));
  });
}

template <class P, class T = typename P::Real>
void multiplyAll(const Gemm<T>& g, void* workspace, int64_t bytes) {
  const int64_t longest = g.form == Form::TN ? kLongestAcross : kLongest;
  int64_t first = 0;
  do {
    const Gemm<T> some = part(g, first, longest);
    if (g.form == Form::TN)
      apart<P>(some, workspace, bytes);
    else
      together<P>(some, static_cast<typename P::Item*>(workspace));
    first += longest;
  } while (first < g.k);
}

}  // namespace

// Of NT and NN pairs need no more.
template <class T>
int64_t gemmWorkspace(Form form, int64_t m, int64_t n, int64_t k) {
  if (m == 0 || n == 0) return 0;
  if (form == Form::NT || form == Form::NN) return packedSize<Exact<T>>(kColumns<T>, n, k);
  int64_t most = ownBytes<Exact<T>>(n);
#if LF_VECTOR_BYTES == 64
  most = std::max(most, ownBytes<Pairs>(n));
#endif
  return Team::instance().threads() * partSize(most);
}

template <class T>
void gemm(const Gemm<T>& g, void* workspace, int64_t bytes) {
  if (g.m == 0 || g.n == 0) return;
#if LF_VECTOR_BYTES == 64
  if (g.factors == Factors::bfloat16) return multiplyAll<Pairs>(g, workspace, bytes);
#endif
  multiplyAll<Exact<T>>(g, workspace, bytes);
}

template int64_t gemmWorkspace<LF_SCALAR>(Form, int64_t m, int64_t n, int64_t k);
template void gemm<LF_SCALAR>(const Gemm<LF_SCALAR>&, void*, int64_t);

}  // namespace lateforge::cpu::LF_ISA
