// linear: y = x wᵀ (+ b), w [out, in]. Backward: dx = dy w, dw += dyᵀ x, db += column sums of dy (native/cpu/linear.cc).
#include "device/shared.cuh"
#include "device/thread.cuh"
#include "gemm.h"
#include "launch.h"
#include "ops.h"
#include "real.h"

namespace lateforge::cuda {
namespace {

// total[j] += the sum of column j of x [rows, columns]. A block owns 32 columns; warp w sums rows w, w + 32, …, and the
// warps are added in order.
template <class T>
struct AddColumnSums {
  static constexpr int kThreads = 1024, kMinBlocks = 1, kWarps = kThreads / kWarp;
  Dev<const T> x;
  Dev<float> total;
  int64_t rows, columns;

  static constexpr int64_t sharedBytes() { return sharedSize<float>(kThreads); }

  LF_DEVICE void operator()() const {
    SharedMemory memory;
    Shared<float> partial = memory.take<float>(kThreads);
    const int64_t column = blockX() * kWarp + lane();
    float sum = 0;
    if (column < columns)
      for (int64_t r = warp(); r < rows; r += kWarps) sum += widen(x[r * columns + column]);
    partial[thread()] = sum;
    syncThreads();
    if (warp() != 0 || column >= columns) return;
    float all = 0;
    for (int w = 0; w < kWarps; ++w) all += partial[w * kWarp + lane()];
    total[column] += all;
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
  g.bias = b.data;
  g.tokens = Tokens::m;
  return gemm(context, g);
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
  return withReal(context, dy.dtype, [&](auto zero) {
    using T = decltype(zero);
    return launch(context, {divideUp(out, kWarp)}, AddColumnSums<T>::sharedBytes(),
                  AddColumnSums<T>{dev<const T>(dy), dev<float>(db), rows, out});
  });
}

}  // namespace ops
}  // namespace lateforge::cuda
