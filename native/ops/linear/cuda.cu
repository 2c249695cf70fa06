// linear: y = x wᵀ (+ b), w [out, in]. Backward: dx = dy w, dw += dyᵀ x, db += column sums of dy
// (native/ops/linear/cpu.cc).
#include "../../cuda/elements.cuh"
#include "../../cuda/gemm.h"
#include "../../cuda/ops.h"
#include "../../cuda/partials.cuh"
#include "../../cuda/real.h"

namespace lateforge::cuda {
namespace {

// b [d], y [T, d]: every row of y becomes b. Elements (elements.cuh).
template <class T>
struct RepeatRow {
  Dev<const T> b;
  Dev<T> y;
  int64_t d;
  template <int n>
  LF_DEVICE void at(int64_t i) const {
    for (int k = 0; k < n; ++k) y[i + k] = b[(i + k) % d];
  }
};

// Sums of x [rows, columns] over 256 rows, for 32 columns, a block each (PartialBlock): warp w adds rows w, w + 8, …,
// then the warps are added in order.
template <class T>
struct ColumnPartials {
  static constexpr int kThreads = 256, kMinBlocks = 4, kWarps = kThreads / kWarp;
  Dev<const T> x;
  Dev<float> partial;  // [row blocks][columns]
  int64_t rows, columns;

  static constexpr int64_t sharedBytes() { return sharedSize<float>(kThreads); }

  LF_DEVICE void operator()() const {
    SharedMemory shared;
    Shared<float> ofWarps = shared.take<float>(kThreads);
    const PartialBlock at(rows, columns);
    float sum = 0;
    if (at.column < columns)
      for (int64_t r = at.firstRow + warp(); r < at.endRow; r += kWarps) sum += widen(x[r * columns + at.column]);
    ofWarps[thread()] = sum;
    syncThreads();
    if (warp() != 0 || at.column >= columns) return;
    for (int w = 1; w < kWarps; ++w) sum += ofWarps[w * kWarp + lane()];
    partial[at.block * columns + at.column] = sum;
  }
};

}  // namespace

namespace ops {

int32_t linear(const OpCall& call, Context& context) {
  const View &x = call.in[0], &w = call.in[1], &b = call.in[2], &y = call.out[0];
  Gemm g;
  g.transB = true;
  g.m = x.rows(), g.n = w.rows(), g.k = x.columns();
  g.a = x.data, g.lda = x.columns();
  g.b = w.data, g.ldb = w.columns();
  g.c = y.data, g.ldc = y.columns();
  g.in = x.dtype, g.out = y.dtype;
  g.tokens = Tokens::m;
  if (takesBias(b.data)) {
    g.bias = b.data;
    return gemm(context, g);
  }
  // A view into a buffer of parameters may start anywhere.
  g.beta = 1;
  const int32_t failed = withReal(context, y.dtype, [&](auto t) {
    using T = decltype(t);
    return launchElements<T>(context, y.count(), false, RepeatRow<T>{dev<const T>(b), dev<T>(y), y.columns()});
  });
  return failed ? failed : gemm(context, g);
}

int32_t linearBackward(const OpCall& call, Context& context) {
  const View &x = call.in[0], &w = call.in[1], &dy = call.in[2], &dw = call.in[3], &db = call.in[4];
  const int64_t rows = x.rows(), in = x.columns(), out = w.rows();
  if (const View& dx = call.out[0]; dx.present()) {
    Gemm g;
    g.m = rows, g.n = in, g.k = out;
    g.a = dy.data, g.lda = out;
    g.b = w.data, g.ldb = in;
    g.c = dx.data, g.ldc = in;
    g.in = dy.dtype, g.out = dx.dtype;
    g.tokens = Tokens::m;
    if (gemm(context, g)) return 1;
  }
  if (dw.present()) {
    Gemm g;
    g.transA = true;
    g.m = out, g.n = in, g.k = rows;
    g.a = dy.data, g.lda = out;
    g.b = x.data, g.ldb = in;
    g.c = dw.data, g.ldc = in;
    g.in = dy.dtype, g.out = dw.dtype;
    g.beta = 1;
    g.tokens = Tokens::k;
    if (gemm(context, g)) return 1;
  }
  if (!db.present()) return 0;
  const int64_t blocks = divideUp(rows, kPartialRows);
  const Dev<float> partial = workspace<float>(call, 0, blocks * out);
  const int32_t failed = withReal(context, dy.dtype, [&](auto zero) {
    using T = decltype(zero);
    return launch(context, partialGrid(rows, out), ColumnPartials<T>::sharedBytes(),
                  ColumnPartials<T>{dev<const T>(dy), partial, rows, out});
  });
  return failed ? failed : addPartials(context, AddPartials<1>{partial, {dev<float>(db)}, blocks, out});
}

}  // namespace ops

int64_t needs::linear(const OpCall&) { return 0; }

int64_t needs::linearBackward(const OpCall& call) {
  return call.in[4].present() ? partialBytes(call.in[0].rows(), 1, call.in[1].rows()) : 0;
}

}  // namespace lateforge::cuda
