// C is cut into tiles of kRows × kColumns that live in registers over a block of k. B is packed once per call into
// panels of kColumns, A block by block into panels of kRows by the task that uses it, so that the inner loop reads both
// in order. (Goto & van de Geijn 2008, "Anatomy of high-performance matrix multiplication".)
#include "gemm.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "team.h"

namespace lateforge::cpu::LF_ISA {
namespace {

template <class T>
struct VectorOf {
  typedef T type __attribute__((vector_size(LF_VECTOR_BYTES)));
};
template <class T>
using Vector = typename VectorOf<T>::type;

template <class T>
constexpr int kLanesOf = LF_VECTOR_BYTES / static_cast<int>(sizeof(T));
// Two vectors of columns; as many rows as leave registers for the two of B (32 registers with AVX-512, else 16).
constexpr int kRows = LF_VECTOR_BYTES == 64 ? 14 : 6;
template <class T>
constexpr int kColumns = 2 * kLanesOf<T>;
constexpr int64_t kDepth = 256;            // k at a time: a panel of B of 32 KiB stays in the first-level cache
constexpr int64_t kRowBlock = 12 * kRows;  // rows of A packed at a time: 170 KiB in the second level

int64_t divideUp(int64_t n, int64_t by) { return (n + by - 1) / by; }

// Grows and is kept, so that a steady state allocates nothing.
template <class T>
class Scratch {
 public:
  T* get(int64_t count) {
    if (count > size_) {
      data_.reset(static_cast<T*>(std::aligned_alloc(64, static_cast<size_t>(divideUp(count * sizeof(T), 64) * 64))));
      size_ = count;
    }
    return data_.get();
  }

 private:
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  std::unique_ptr<T, Free> data_;
  int64_t size_ = 0;
};

// `width` consecutive rows (or columns) of the operand beside each other: target[k · width + i], zeros past `count`.
// `along`: the operand's k is contiguous in memory (stride `ld` between the rows), else its rows are.
template <class T, int width>
void packPanel(T* target, const T* source, int64_t ld, int64_t count, int64_t depth, bool along) {
  if (along) {
    if (count == width) {
      for (int64_t k = 0; k < depth; ++k)
        for (int i = 0; i < width; ++i) target[k * width + i] = source[i * ld + k];
      return;
    }
    for (int64_t k = 0; k < depth; ++k)
      for (int i = 0; i < width; ++i) target[k * width + i] = i < count ? source[i * ld + k] : T{0};
    return;
  }
  for (int64_t k = 0; k < depth; ++k) {
    if (count == width) {
      std::memcpy(target + k * width, source + k * ld, width * sizeof(T));
    } else {
      for (int i = 0; i < width; ++i) target[k * width + i] = i < count ? source[k * ld + i] : T{0};
    }
  }
}

template <class T>
inline Vector<T> loadVector(const T* p) {
  Vector<T> v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

// One tile. `initial` is added to the products: C itself, the bias, or nothing.
template <class T>
void tile(int64_t depth, const T* a, const T* b, T* c, int64_t ldc, bool add, const T* bias) {
  constexpr int lanes = kLanesOf<T>;
  Vector<T> sum[kRows][2];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) sum[r][0] = sum[r][1] = Vector<T>{};
  for (int64_t k = 0; k < depth; ++k, a += kRows, b += kColumns<T>) {
    const Vector<T> b0 = loadVector(b), b1 = loadVector(b + lanes);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const Vector<T> ar = a[r] - Vector<T>{};
      sum[r][0] += ar * b0;
      sum[r][1] += ar * b1;
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      T* at = c + r * ldc + h * lanes;
      if (add) sum[r][h] += loadVector(at);
      if (bias) sum[r][h] += loadVector(bias + h * lanes);
      std::memcpy(at, &sum[r][h], sizeof sum[r][h]);
    }
}

template <class T>
void edgeTile(int64_t depth, const T* a, const T* b, T* c, int64_t ldc, int64_t rows, int64_t columns, bool add,
              const T* bias) {
  alignas(64) T full[kRows * kColumns<T>];
  tile<T>(depth, a, b, full, kColumns<T>, false, nullptr);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t j = 0; j < columns; ++j) {
      T value = full[r * kColumns<T> + j];
      if (add) value += c[r * ldc + j];
      if (bias) value += bias[j];
      c[r * ldc + j] = value;
    }
}

template <class T>
void packB(const Gemm<T>& g, int64_t panel, T* packed) {
  constexpr int width = kColumns<T>;
  const int64_t j = panel * width, count = std::min<int64_t>(width, g.n - j);
  const bool along = g.form == Form::NT;
  const T* source = along ? g.b + j * g.ldb : g.b + j;
  packPanel<T, width>(packed + panel * width * g.k, source, g.ldb, count, g.k, along);
}

// Rows [row, row + rows) of C, columns of panels [firstPanel, lastPanel).
template <class T>
void block(const Gemm<T>& g, const T* packedB, int64_t row, int64_t rows, int64_t firstPanel, int64_t lastPanel) {
  static thread_local Scratch<T> scratch;
  T* packedA = scratch.get(kRowBlock * kDepth);
  constexpr int width = kColumns<T>;
  const bool along = g.form != Form::TN;
  for (int64_t k = 0; k < g.k || k == 0; k += kDepth) {
    const int64_t depth = std::min(kDepth, g.k - k);
    for (int64_t i = 0; i < rows; i += kRows) {
      const T* source = along ? g.a + (row + i) * g.lda + k : g.a + k * g.lda + row + i;
      packPanel<T, kRows>(packedA + i * depth, source, g.lda, std::min<int64_t>(kRows, rows - i), depth, along);
    }
    const bool add = g.accumulate || k > 0;
    for (int64_t panel = firstPanel; panel < lastPanel; ++panel) {
      const int64_t j = panel * width, columns = std::min<int64_t>(width, g.n - j);
      const T* b = packedB + j * g.k + k * width;
      const T* bias = g.bias && k == 0 ? g.bias + j : nullptr;
      for (int64_t i = 0; i < rows; i += kRows) {
        T* c = g.c + (row + i) * g.ldc + j;
        const int64_t tileRows = std::min<int64_t>(kRows, rows - i);
        if (tileRows == kRows && columns == width)
          tile<T>(depth, packedA + i * depth, b, c, g.ldc, add, bias);
        else
          edgeTile<T>(depth, packedA + i * depth, b, c, g.ldc, tileRows, columns, add, bias);
      }
    }
    if (g.k == 0) break;
  }
}

template <class T>
T* sharedScratch(int64_t count) {
  static thread_local Scratch<T> scratch;
  return scratch.get(count);
}

}  // namespace

template <class T>
void gemm(const Gemm<T>& g) {
  if (g.m == 0 || g.n == 0) return;
  Team& team = Team::instance();
  const int64_t panels = divideUp(g.n, kColumns<T>);
  T* packed = sharedScratch<T>(panels * kColumns<T> * std::max<int64_t>(g.k, 1));
  team.parallel(panels, [&](int64_t panel) { packB(g, panel, packed); });
  // Blocks of rows, and of columns where rows alone would leave threads without work. Fewer rows than half a block
  // would read B from far away too often.
  const int64_t rowBlock = g.m < 4 * team.threads() * kRowBlock ? kRowBlock / 2 : kRowBlock;
  const int64_t rowBlocks = divideUp(g.m, rowBlock);
  const int64_t cuts = std::clamp<int64_t>(divideUp(4 * team.threads(), rowBlocks), 1, panels);
  team.parallel(rowBlocks * cuts, [&](int64_t task) {
    const int64_t row = task / cuts * rowBlock, cut = task % cuts;
    block(g, packed, row, std::min(rowBlock, g.m - row), panels * cut / cuts, panels * (cut + 1) / cuts);
  });
}

template <class T>
void gemmSerial(const Gemm<T>& g) {
  if (g.m == 0 || g.n == 0) return;
  const int64_t panels = divideUp(g.n, kColumns<T>);
  T* packed = sharedScratch<T>(panels * kColumns<T> * std::max<int64_t>(g.k, 1));
  for (int64_t panel = 0; panel < panels; ++panel) packB(g, panel, packed);
  for (int64_t row = 0; row < g.m; row += kRowBlock)
    block(g, packed, row, std::min(kRowBlock, g.m - row), int64_t{0}, panels);
}

#define LF_GEMM(T)                       \
  template void gemm<T>(const Gemm<T>&); \
  template void gemmSerial<T>(const Gemm<T>&);
LF_GEMM(float)
LF_GEMM(double)
#undef LF_GEMM

}  // namespace lateforge::cpu::LF_ISA
