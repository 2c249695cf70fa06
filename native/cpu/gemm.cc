// C is cut into tiles of kRows × kColumns that live in registers over a block of k. B is packed once per call into
// panels of kColumns, so that the inner loop reads it in order; rows of A are read where they are, for kRows of them
// over a block of k stay in the first-level cache while every panel of B passes by. A of TN, which lies across, is
// packed too. (After Goto & van de Geijn 2008, "Anatomy of high-performance matrix multiplication".)
#include "gemm.h"

#include "gemm_exact.h"
#if LF_VECTOR_BYTES == 64
#include "gemm_bf16.h"
#endif

namespace lateforge::cpu::LF_ISA {
namespace {

constexpr int64_t kRowBlock = 12 * kRows;  // the most rows of a task
// The most k in one go: the gradient of a weight sums over all tokens, and what is packed has to stay in a near cache.
constexpr int64_t kLongest = 2 * kDepth;

// In what follows, P is Exact<T> or Pairs: how items are made of numbers, and how they are multiplied.
template <class P>
constexpr int64_t itemsOf(int64_t k) {
  return divideUp(k, P::kEach);
}

// What the workspace holds: packed B, then (TN) packed A.
template <class P>
int64_t packedSize(int64_t width, int64_t count, int64_t k) {
  return partSize(divideUp(count, width) * width * itemsOf<P>(std::min(k, kLongest)) *
                  static_cast<int64_t>(sizeof(typename P::Item)));
}

// Where only `rows` × `columns` of a tile are in C.
template <class P, bool packed, class T = typename P::Real>
void edgeTile(int64_t items, const typename P::Item* a, int64_t lda, const typename P::Item* b, T* c, int64_t ldc,
              int64_t rows, int64_t columns, bool add, const T* bias) {
  alignas(64) T whole[kRows * kColumns<T>];
  P::template wholeTile<packed>(items, a, lda, b, whole, kColumns<T>, false, nullptr);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t j = 0; j < columns; ++j) {
      T value = whole[r * kColumns<T> + j];
      if (add) value += c[r * ldc + j];
      if (bias) value += bias[j];
      c[r * ldc + j] = value;
    }
}

// Rows [begin, end) of C [m, n], columns of panels [firstPanel, lastPanel), of B and (TN) A as they were packed.
template <class P, bool packed, class T = typename P::Real>
void block(const Gemm<T>& g, const typename P::Item* packedB, const typename P::Item* packedA, int64_t begin,
           int64_t end, int64_t firstPanel, int64_t lastPanel) {
  constexpr int64_t width = kColumns<T>;
  typename P::Rows read;
  int64_t k = 0;
  do {
    const int64_t depth = std::min(kDepth, g.k - k), items = itemsOf<P>(depth);
    const bool add = g.accumulate || k > 0;
    for (int64_t i = begin; i < end; i += kRows) {
      const int64_t rows = std::min<int64_t>(kRows, end - i);
      if (!packed) read.read(g, i, k, rows, depth);
      const auto* a = packed ? packedA + itemsOf<P>(k) * divideUp(g.m, kRows) * kRows + i * items : read.items;
      for (int64_t panel = firstPanel; panel < lastPanel; ++panel) {
        const int64_t j = panel * width, columns = std::min(width, g.n - j);
        const auto* b = packedB + j * itemsOf<P>(g.k) + itemsOf<P>(k) * width;
        const T* bias = g.bias && k == 0 ? g.bias + j : nullptr;
        T* c = g.c + i * g.ldc + j;
        if (rows == kRows && columns == width)
          P::template wholeTile<packed>(items, a, read.apart, b, c, g.ldc, add, bias);
        else
          edgeTile<P, packed>(items, a, read.apart, b, c, g.ldc, rows, columns, add, bias);
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
template <class P, bool packed, class T = typename P::Real>
void blocks(const Gemm<T>& g, typename P::Item* workspace) {
  Team& team = Team::instance();
  auto* const packedA =
      workspace + packedSize<P>(kColumns<T>, g.n, g.k) / static_cast<int64_t>(sizeof(typename P::Item));
  const int64_t panels = divideUp(g.n, kColumns<T>);
  const int64_t tasks = g.form == Form::NT ? panels : divideUp(g.k, kPackedRows);
  team.parallel(tasks + (packed ? divideUp(g.k, kPackedRows) : 0), [&](int64_t task) {
    task < tasks ? P::packB(g, task, workspace) : P::packA(g, task - tasks, packedA);
  });
  const int64_t wanted = 12 * team.threads();
  const int64_t size = std::clamp<int64_t>(g.m / wanted / kRows * kRows, kRows, kRowBlock);
  const int64_t rows = divideUp(g.m, size), cuts = std::clamp<int64_t>(wanted / 2 / rows, 1, panels);
  forTasks(rows * cuts, [&](int64_t task) {
    const int64_t begin = task / cuts * size, cut = task % cuts;
    block<P, packed>(g, workspace, packedA, begin, std::min(begin + size, g.m), panels * cut / cuts,
                     panels * (cut + 1) / cuts);
  });
}

template <class P, class T = typename P::Real>
void multiplyAll(const Gemm<T>& g, void* workspace) {
  auto* items = static_cast<typename P::Item*>(workspace);
  int64_t first = 0;
  do {
    g.form == Form::TN ? blocks<P, true>(part(g, first), items) : blocks<P, false>(part(g, first), items);
    first += kLongest;
  } while (first < g.k);
}

}  // namespace

// Pairs need no more.
template <class T>
int64_t gemmWorkspace(Form form, int64_t m, int64_t n, int64_t k) {
  if (m == 0 || n == 0) return 0;
  return packedSize<Exact<T>>(kColumns<T>, n, k) + (form == Form::TN ? packedSize<Exact<T>>(kRows, m, k) : 0);
}

template <class T>
void gemm(const Gemm<T>& g, void* workspace) {
  if (g.m == 0 || g.n == 0) return;
#if LF_VECTOR_BYTES == 64
  if (g.factors == Factors::bfloat16) return multiplyAll<Pairs>(g, workspace);
#endif
  multiplyAll<Exact<T>>(g, workspace);
}

template int64_t gemmWorkspace<LF_SCALAR>(Form, int64_t m, int64_t n, int64_t k);
template void gemm<LF_SCALAR>(const Gemm<LF_SCALAR>&, void*);

}  // namespace lateforge::cpu::LF_ISA
