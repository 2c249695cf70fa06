// linear: y = x wᵀ (+ b), w [out, in]. Backward: dx = dy w, dw += dyᵀ x, db += column sums of dy.
//
// Products go by blocks of C that one task owns whole: B is packed once into panels [k][kTileColumns], a task packs its
// rows of A per 256 of k, and every element is summed over k in order.
#include "kernels.h"
#include "loops.h"
#include "tile.h"

namespace lateforge::cpu::LF_ISA::kernels {

// A matrix at data[row · rs + column · cs].
template <class T>
struct Strided {
  const T* data;
  int64_t rs, cs;
};

constexpr int64_t kDepth = 256;

// C [m, n] = start + A [m, k] · B [k, n]; start is C itself (accumulate), or bias in every row, or zero.
template <class T>
static void product(int64_t m, int64_t n, int64_t k, Strided<T> a, Strided<T> b, T* c, bool accumulate, const T* bias) {
  constexpr int64_t C = kTileColumns<T>, R = kTileRows;
  const int64_t panels = divideUp(n, C);
  Scratch<T> packed(panels * k * C);
  T* panelsOfB = packed.get();
  forTasks(panels, [&](int64_t j) {
    T* panel = panelsOfB + j * k * C;
    const int64_t width = n - j * C < C ? n - j * C : C;
    const T* source = b.data + j * C * b.cs;
    if (width < C) std::memset(panel, 0, k * C * sizeof(T));
    if (b.cs == 1)
      for (int64_t p = 0; p < k; ++p) std::memcpy(panel + p * C, source + p * b.rs, width * sizeof(T));
    else
      for (int64_t i = 0; i < width; ++i)
        for (int64_t p = 0; p < k; ++p) panel[p * C + i] = source[p * b.rs + i * b.cs];
  });
  constexpr int64_t kRows = 4 * R, kPanels = 8;
  const int64_t across = divideUp(panels, kPanels);
  forTasks(divideUp(m, kRows) * across, [&](int64_t task) {
    const int64_t row = task / across * kRows, rows = m - row < kRows ? m - row : kRows;
    const int64_t first = task % across * kPanels, last = first + kPanels < panels ? first + kPanels : panels;
    Scratch<T> left(kRows * kDepth);
    for (int64_t p = 0; p < k || p == 0; p += kDepth) {
      const int64_t depth = k - p < kDepth ? k - p : kDepth;
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t q = 0; q < depth; ++q)
          left.get()[i / R * R * kDepth + q * R + i % R] = a.data[(row + i) * a.rs + (p + q) * a.cs];
      for (int64_t j = first; j < last; ++j) {
        const int64_t width = n - j * C < C ? n - j * C : C;
        if (p == 0 && !accumulate && bias)
          for (int64_t i = 0; i < rows; ++i) std::memcpy(c + (row + i) * n + j * C, bias + j * C, width * sizeof(T));
        for (int64_t i = 0; i < rows; i += R)
          block<T>(rows - i < R ? rows - i : R, width, depth, left.get() + i * kDepth, 1, R,
                   panelsOfB + (j * k + p) * C, C, c + (row + i) * n + j * C, n, accumulate || bias || p > 0);
      }
    }
  });
}

template <class T>
int32_t linear(const OpCall& call, char*) {
  const int64_t rows = call.in[0].rows(), in = call.in[0].columns(), out = call.in[1].rows();
  product<T>(rows, out, in, {call.in[0].as<T>(), in, 1}, {call.in[1].as<T>(), 1, in}, call.out[0].as<T>(), false,
             call.in[2].present() ? call.in[2].as<T>() : nullptr);
  return 0;
}

template <class T>
int32_t linearBackward(const OpCall& call, char*) {
  const int64_t rows = call.in[0].rows(), in = call.in[0].columns(), out = call.in[1].rows();
  const T *x = call.in[0].as<T>(), *w = call.in[1].as<T>(), *dy = call.in[2].as<T>();
  if (call.out[0].present()) product<T>(rows, in, out, {dy, out, 1}, {w, in, 1}, call.out[0].as<T>(), false, nullptr);
  if (call.in[3].present()) product<T>(out, in, rows, {dy, 1, out}, {x, in, 1}, call.in[3].as<T>(), true, nullptr);
  if (call.in[4].present()) {
    // Sums of 256 rows, added in order: shorter chains round less.
    T* db = call.in[4].as<T>();
    forBlocks(out, 4 * kLanes<T>, [&](int64_t begin, int64_t end) {
      forLanes<T>(end - begin, [&](int64_t i, auto n) {
        Vec<T> total{};
        for (int64_t first = 0; first < rows; first += 256) {
          Vec<T> sum{};
          for (int64_t r = first; r < first + 256 && r < rows; ++r) sum += loadPart(dy + r * out + begin + i, n);
          total += sum;
        }
        storePart(db + begin + i, loadPart(db + begin + i, n) + total, n);
      });
    });
  }
  return 0;
}

LF_INSTANTIATE(linear);
LF_INSTANTIATE(linearBackward);

}  // namespace lateforge::cpu::LF_ISA::kernels
