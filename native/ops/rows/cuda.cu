// Ops that move rows (native/ops/rows/cpu.cc).
#include <algorithm>

#include "../../cuda/device/block.cuh"
#include "../../cuda/launch.h"
#include "../../cuda/ops.h"
#include "../../cuda/real.h"
#include "../../cuda/segments.cuh"

namespace lateforge::cuda {
namespace {

constexpr int kRowThreads = 256, kRowsPerBlock = kRowThreads / kWarp;

// The row of the calling warp.
LF_DEVICE int64_t warpRow() { return blockX() * kRowsPerBlock + warp(); }

Grid rowGrid(int64_t rows) { return {divideUp(rows, kRowsPerBlock)}; }

// f(W()), W the largest word that rows of all the views are made of, whatever their type.
template <class F, class... Views>
int32_t withWords(int64_t rowBytes, const F& f, const Views&... views) {
  const auto all = (static_cast<uintptr_t>(rowBytes) | ... | reinterpret_cast<uintptr_t>(views.data));
  if (all % 16 == 0) return f(Pack<uint32_t, 4>());
  return all % 4 == 0 ? f(uint32_t()) : f(uint16_t());
}

// x [any, words], index [rows], y [rows, words]: y[i] = x[index[i]]. A warp per row, eight rows a block.
template <class W>
struct Gather {
  static constexpr int kThreads = kRowThreads, kMinBlocks = 4;
  Dev<const W> x;
  Dev<const int32_t> index;
  Dev<W> y;
  int64_t rows, words;
  LF_DEVICE void operator()() const {
    const int64_t r = warpRow();
    if (r >= rows) return;
    const int64_t from = index[r] * words;
    for (int64_t i = lane(); i < words; i += kWarp) y[r * words + i] = x[from + i];
  }
};

// dy [named, words], index [named], dx [rows, words]: dx[index[i]] = dy[i], zeros between; the index rises strictly. A
// warp per row of dx, eight rows a block.
template <class W>
struct Scatter {
  static constexpr int kThreads = kRowThreads, kMinBlocks = 4;
  Dev<const W> dy;
  Dev<const int32_t> index;
  Dev<W> dx;
  int64_t rows, named, words;
  LF_DEVICE void operator()() const {
    const int64_t r = warpRow();
    if (r >= rows) return;
    int64_t first = 0;  // the first name that is not below r
    for (int64_t size = named; size > 0;) {
      const int64_t half = size / 2;
      if (index[first + half] < r) {
        first += half + 1;
        size -= half + 1;
      } else {
        size = half;
      }
    }
    const bool found = first < named && index[first] == r;
    for (int64_t i = lane(); i < words; i += kWarp) dx[r * words + i] = found ? dy[first * words + i] : W{};
  }
};

// x [n, m], y [m, n]. A thread per element of y.
template <class T>
struct RowsToColumns {
  static constexpr int kThreads = kRowThreads, kMinBlocks = 4;
  Dev<const T> x;
  Dev<T> y;
  int64_t n, m;
  LF_DEVICE void operator()() const {
    const int64_t i = blockX() * kThreads + thread();
    if (i < n * m) y[i] = x[i % n * m + i / n];
  }
};

// x, y [rows, d], segments [sequences + 1]. A warp per row, eight rows a block.
template <class T>
struct DivideRows {
  static constexpr int kThreads = kRowThreads, kMinBlocks = 4;
  Dev<const T> x;
  Dev<const int64_t> segments;
  Dev<T> y;
  int64_t rows, sequences, d;
  LF_DEVICE void operator()() const {
    const int64_t r = warpRow();
    if (r >= rows) return;
    const int64_t s = sequenceOf(segments, sequences, r);
    const float factor = 1 / static_cast<float>(segments[s + 1] - segments[s]);
    for (int64_t i = lane(); i < d; i += kWarp) y[r * d + i] = narrow<T>(widen(x[r * d + i]) * factor);
  }
};

// x [T, d], segments [n + 1], y [n, d]: the first row of each sequence, or the mean of its rows, summed in order; 0
// when it is empty. Grid [n, d / 128], a thread per column.
template <class T>
struct Pool {
  static constexpr int kThreads = 128, kMinBlocks = 8;
  Dev<const T> x;
  Dev<const int64_t> segments;
  Dev<T> y;
  int64_t d;
  bool mean;
  LF_DEVICE void operator()() const {
    const int64_t s = blockX(), column = blockY() * kThreads + thread();
    if (column >= d) return;
    const int64_t first = segments[s], length = segments[s + 1] - first, used = mean || length == 0 ? length : 1;
    float sum = 0;
    for (int64_t r = 0; r < used; ++r) sum += widen(x[(first + r) * d + column]);
    y[s * d + column] = narrow<T>(used ? sum * (1 / static_cast<float>(used)) : 0);
  }
};

// dy [sequences, d], segments [sequences + 1], dx [rows, d]. A warp per row of dx, eight rows a block.
template <class T>
struct PoolBackward {
  static constexpr int kThreads = kRowThreads, kMinBlocks = 4;
  Dev<const T> dy;
  Dev<const int64_t> segments;
  Dev<T> dx;
  int64_t rows, sequences, d;
  bool mean;
  LF_DEVICE void operator()() const {
    const int64_t r = warpRow();
    if (r >= rows) return;
    const int64_t s = sequenceOf(segments, sequences, r), first = segments[s];
    const float factor = mean ? 1 / static_cast<float>(segments[s + 1] - first) : static_cast<float>(r == first);
    for (int64_t i = lane(); i < d; i += kWarp) dx[r * d + i] = narrow<T>(widen(dy[s * d + i]) * factor);
  }
};

// dy [tokens, d], ids [tokens], dTable [V, d]: dTable[id] += Σ dy of the tokens with that id, in token order. Grid
// [tokens, d / 1024], a thread per four columns. The block of the first such token owns the table row; the others see
// that they are not the first and leave. Looking through all ids takes T²/64 warp steps, 0.1 ms at 32k tokens by
// arithmetic, and needs no sort.
template <class T>
struct EmbeddingBackward {
  static constexpr int kThreads = 256, kMinBlocks = 4, kEach = 4, kColumns = kThreads * kEach, kAtOnce = 8;
  Dev<const T> dy;
  Dev<const int32_t> ids;
  Dev<float> dTable;
  int64_t tokens, d;
  LF_DEVICE void operator()() const {
    SharedMemory shared;
    Shared<uint32_t> matches = shared.take<uint32_t>(kThreads / kWarp);
    const int64_t token = blockX(), column = blockY() * kColumns + thread();
    const int32_t id = ids[token];
    for (int64_t end = token; end > 0; end -= kThreads) {
      const int64_t j = end - 1 - thread();
      if (blockMax<kThreads>(static_cast<uint32_t>(j >= 0 && ids[j] == id), matches)) return;
    }
    float sum[kEach] = {};
    for (int64_t first = token; first < tokens; first += kThreads) {
      const int64_t j = first + thread();
      const uint32_t mine = ballot(j < tokens && ids[j] == id);
      syncThreads();  // all have read the matches before
      if (lane() == 0) matches[warp()] = mine;
      syncThreads();
      for (int w = 0; w < kThreads / kWarp; ++w)
        for (uint32_t bits = matches[w]; bits;) {
          // Several loads at once: a frequent id would wait for each of its thousands. Zeros change nothing.
          float up[kAtOnce][kEach];
#pragma unroll
          for (int n = 0; n < kAtOnce; ++n) {
            const bool any = bits != 0;
            const int64_t row = first + w * kWarp + (any ? lowestBit(bits) : 0);
            bits &= bits - 1;
#pragma unroll
            for (int k = 0; k < kEach; ++k)
              up[n][k] = any && column + k * kThreads < d ? widen(dy[row * d + column + k * kThreads]) : 0;
          }
#pragma unroll
          for (int n = 0; n < kAtOnce; ++n)
#pragma unroll
            for (int k = 0; k < kEach; ++k) sum[k] += up[n][k];
        }
    }
    for (int k = 0; k < kEach; ++k)
      if (column + k * kThreads < d) dTable[id * d + column + k * kThreads] += sum[k];
  }
};

int32_t gather(const View& x, const View& index, const View& y, Context& context) {
  return withWords(
      y.columns() * sizeOf(y.dtype),
      [&](auto w) {
        using W = decltype(w);
        const int64_t words = y.columns() * sizeOf(y.dtype) / static_cast<int64_t>(sizeof(W));
        return launch(context, rowGrid(y.rows()), 0,
                      Gather<W>{dev<const W>(x), dev<const int32_t>(index), dev<W>(y), y.rows(), words});
      },
      x, y);
}

}  // namespace

namespace ops {

int32_t gatherRows(const OpCall& call, Context& context) {
  return gather(call.in[0], call.in[1], call.out[0], context);
}

int32_t scatterRows(const OpCall& call, Context& context) {
  const View &dy = call.in[0], &index = call.in[1], &dx = call.out[0];
  return withWords(
      dx.columns() * sizeOf(dx.dtype),
      [&](auto w) {
        using W = decltype(w);
        const int64_t words = dx.columns() * sizeOf(dx.dtype) / static_cast<int64_t>(sizeof(W));
        return launch(
            context, rowGrid(dx.rows()), 0,
            Scatter<W>{dev<const W>(dy), dev<const int32_t>(index), dev<W>(dx), dx.rows(), index.count(), words});
      },
      dy, dx);
}

int32_t rowsToColumns(const OpCall& call, Context& context) {
  const View& x = call.in[0];
  return withReal(context, x.dtype, [&](auto t) {
    using T = decltype(t);
    return launch(context, {divideUp(x.count(), kRowThreads)}, 0,
                  RowsToColumns<T>{dev<const T>(x), dev<T>(call.out[0]), x.rows(), x.columns()});
  });
}

int32_t divideRows(const OpCall& call, Context& context) {
  const View& x = call.in[0];
  return withReal16(context, x.dtype, [&](auto t) {
    using T = decltype(t);
    return launch(context, rowGrid(x.rows()), 0,
                  DivideRows<T>{dev<const T>(x), dev<const int64_t>(call.in[1]), dev<T>(call.out[0]), x.rows(),
                                call.in[1].count() - 1, x.columns()});
  });
}

int32_t poolRows(const OpCall& call, Context& context) {
  const View &x = call.in[0], &y = call.out[0];
  const bool mean = call.as<params::poolRows>().kind == 1;
  return withReal(context, x.dtype, [&](auto t) {
    using T = decltype(t);
    return launch(context, {y.rows(), divideUp(y.columns(), 128)}, 0,
                  Pool<T>{dev<const T>(x), dev<const int64_t>(call.in[1]), dev<T>(y), y.columns(), mean});
  });
}

int32_t poolRowsBackward(const OpCall& call, Context& context) {
  const View &dy = call.in[0], &dx = call.out[0];
  const bool mean = call.as<params::poolRowsBackward>().kind == 1;
  return withReal(context, dy.dtype, [&](auto t) {
    using T = decltype(t);
    return launch(context, rowGrid(dx.rows()), 0,
                  PoolBackward<T>{dev<const T>(dy), dev<const int64_t>(call.in[1]), dev<T>(dx), dx.rows(), dy.rows(),
                                  dx.columns(), mean});
  });
}

int32_t embedding(const OpCall& call, Context& context) { return gather(call.in[0], call.in[1], call.out[0], context); }

int32_t embeddingBackward(const OpCall& call, Context& context) {
  const View &dy = call.in[0], &ids = call.in[1], &dTable = call.in[2];
  return withReal(context, dy.dtype, [&](auto t) {
    using Kernel = EmbeddingBackward<decltype(t)>;
    return launch(
        context, {dy.rows(), divideUp(dy.columns(), Kernel::kColumns)}, sharedSize<uint32_t>(Kernel::kThreads / kWarp),
        Kernel{dev<const decltype(t)>(dy), dev<const int32_t>(ids), dev<float>(dTable), dy.rows(), dy.columns()});
  });
}

}  // namespace ops

int64_t needs::embeddingBackward(const OpCall&) { return 0; }
}  // namespace lateforge::cuda
