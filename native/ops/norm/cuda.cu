// LayerNorm and l2Normalize (native/ops/norm/cpu.cc). A warp owns a row, eight rows a block, and passes over it two or
// three times. Rows are read in packs of `width` elements; layer norm keeps the first 1,024 elements in registers (256
// of rows that allow no packs), the rest of longer rows comes from the cache again.
#include "../../cuda/device/block.cuh"
#include "../../cuda/ops.h"
#include "../../cuda/partials.cuh"
#include "../../cuda/real.h"

namespace lateforge::cuda {
namespace {

constexpr int kRowThreads = 256, kRowsPerBlock = kRowThreads / kWarp;

// f(i) for the calling lane's packs of a row of d elements.
template <int width, class F>
LF_DEVICE void eachPack(int64_t d, const F& f) {
  for (int64_t i = lane() * width; i < d; i += kWarp * width) f(i);
}

// Packs of a row that a lane keeps, and all of them in order: f(i, pack, whether the pack is kept). Packs that are not
// kept hold nothing.
template <int width>
struct Kept {
  static constexpr int kPacks = 8;
  Pack<float, width> pack[kPacks];

  template <class F>
  LF_DEVICE void each(int64_t d, const F& f) {
#pragma unroll
    for (int p = 0; p < kPacks; ++p)
      if (const int64_t i = (p * kWarp + lane()) * width; i < d) f(i, pack[p], true);
    for (int64_t i = (kPacks * kWarp + lane()) * width; i < d; i += kWarp * width) {
      Pack<float, width> other;
      f(i, other, false);
    }
  }
};

// f(std::integral_constant<int, width>()): packs of 16 bytes where rows allow them.
template <class T, class F, class... Views>
int32_t withWidth(int64_t d, const F& f, const Views&... views) {
  constexpr int kWidth = 16 / sizeof(T);
  const bool aligned = d % kWidth == 0 && ((reinterpret_cast<uintptr_t>(views.data) % 16 == 0) && ...);
  return aligned ? f(std::integral_constant<int, kWidth>()) : f(std::integral_constant<int, 1>());
}

// The type of rows of length 1 made from rows of T.
template <class T>
using UnitOf = std::conditional_t<std::is_same_v<T, Bf16>, F16, T>;

// x, residual, y, sum, nextResidual [rows, d]; gamma, beta [d]; stats [rows, 2]: mean, rstd. A warp per row. R: the
// type of the residual.
template <class T, class R, int width>
struct LayerNorm {
  static constexpr int kThreads = kRowThreads, kMinBlocks = 3;
  Dev<const T> x, gamma, beta;
  Dev<const R> residual;
  Dev<T> y;
  Dev<float> sum, stats, nextResidual;  // residual (and sum with it), beta and nextResidual may be null
  int64_t rows, d;
  float eps;

  // What is normalised, once more; the lane itself has stored the sum.
  LF_DEVICE Pack<float, width> again(int64_t i) const {
    return sum ? loadFloats<width>(Dev<const float>(sum) + i) : loadFloats<width>(x + i);
  }

  LF_DEVICE void operator()() const {
    const int64_t row = blockX() * kRowsPerBlock + warp(), first = row * d;
    if (row >= rows) return;
    const float perColumn = 1 / static_cast<float>(d);
    Kept<width> kept;
    float total = 0;
    kept.each(d, [&](int64_t i, Pack<float, width>& v, bool) {
      v = loadFloats<width>(x + (first + i));
      if (sum) {
        const Pack<float, width> other = loadFloats<width>(residual + (first + i));
        for (int k = 0; k < width; ++k) v[k] += other[k];
        storeFloats(sum + (first + i), v);
      }
      for (int k = 0; k < width; ++k) total += v[k];
    });
    const float mean = warpSum(total) * perColumn;
    float squares = 0;
    kept.each(d, [&](int64_t i, Pack<float, width>& v, bool isKept) {
      if (!isKept) v = again(first + i);
      for (int k = 0; k < width; ++k) squares += (v[k] - mean) * (v[k] - mean);
    });
    const float rstd = 1 / squareRoot(warpSum(squares) * perColumn + eps);
    if (lane() == 0) {
      stats[2 * row] = mean;
      stats[2 * row + 1] = rstd;
    }
    kept.each(d, [&](int64_t i, Pack<float, width>& v, bool isKept) {
      if (!isKept) v = again(first + i);
      const Pack<float, width> g = loadFloats<width>(gamma + i);
      for (int k = 0; k < width; ++k) v[k] = (v[k] - mean) * rstd * g[k];
      if (beta) {
        const Pack<float, width> b = loadFloats<width>(beta + i);
        for (int k = 0; k < width; ++k) v[k] += b[k];
      }
      storeFloats(y + (first + i), v);
      if (nextResidual) storeFloats(nextResidual + (first + i), v);
    });
  }
};

// sum, dy, dsum, dx [rows, d]; gamma [d]; stats [rows, 2]. A warp per row. S: the type of the sum.
template <class T, class S, int width>
struct LayerNormBackward {
  static constexpr int kThreads = kRowThreads, kMinBlocks = 4;
  Dev<const S> sum;
  Dev<const T> gamma, dy, dsum;  // dsum may be null
  Dev<const float> stats;
  Dev<T> dx;
  int64_t rows, d;

  LF_DEVICE void operator()() const {
    const int64_t row = blockX() * kRowsPerBlock + warp(), first = row * d;
    if (row >= rows) return;
    const float perColumn = 1 / static_cast<float>(d), mean = stats[2 * row], rstd = stats[2 * row + 1];
    float totalG = 0, totalGX = 0;
    eachPack<width>(d, [&](int64_t i) {
      const Pack<float, width> s = loadFloats<width>(sum + (first + i)), g = loadFloats<width>(gamma + i);
      const Pack<float, width> upstream = loadFloats<width>(dy + (first + i));
      for (int k = 0; k < width; ++k) {
        totalG += upstream[k] * g[k];
        totalGX += upstream[k] * g[k] * ((s[k] - mean) * rstd);
      }
    });
    const float meanG = warpSum(totalG) * perColumn, meanGX = warpSum(totalGX) * perColumn;
    eachPack<width>(d, [&](int64_t i) {
      const Pack<float, width> s = loadFloats<width>(sum + (first + i)), g = loadFloats<width>(gamma + i);
      Pack<float, width> v = loadFloats<width>(dy + (first + i));
      for (int k = 0; k < width; ++k) v[k] = rstd * (v[k] * g[k] - meanG - (s[k] - mean) * rstd * meanGX);
      if (dsum) {
        const Pack<float, width> more = loadFloats<width>(dsum + (first + i));
        for (int k = 0; k < width; ++k) v[k] += more[k];
      }
      storeFloats(dx + (first + i), v);
    });
  }
};

// Sums of dy x̂ and of dy over 256 rows, for 32 columns, a block each (PartialBlock); sum, dy [rows, d]; stats [rows,
// 2]. Warp w sums rows w, w + 8, …, then the warps are added in order.
template <class T, class S>
struct NormPartials {
  static constexpr int kThreads = 256, kMinBlocks = 4, kWarps = kThreads / kWarp;
  Dev<const S> sum;
  Dev<const T> dy;
  Dev<const float> stats;
  Dev<float> partial;  // [row blocks][dγ, dβ][d]
  int64_t rows, d;

  LF_DEVICE void operator()() const {
    SharedMemory shared;
    Shared<float> gammas = shared.take<float>(kThreads), betas = shared.take<float>(kThreads);
    const PartialBlock at(rows, d);
    float dGamma = 0, dBeta = 0;
    if (at.column < d)
      for (int64_t r = at.firstRow + warp(); r < at.endRow; r += kWarps) {
        const float upstream = widen(dy[r * d + at.column]);
        dGamma += upstream * ((widen(sum[r * d + at.column]) - stats[2 * r]) * stats[2 * r + 1]);
        dBeta += upstream;
      }
    gammas[thread()] = dGamma;
    betas[thread()] = dBeta;
    syncThreads();
    if (warp() != 0 || at.column >= d) return;
    for (int w = 1; w < kWarps; ++w) {
      dGamma += gammas[w * kWarp + lane()];
      dBeta += betas[w * kWarp + lane()];
    }
    partial[2 * at.block * d + at.column] = dGamma;
    partial[(2 * at.block + 1) * d + at.column] = dBeta;
  }
};

// f(T(), S()) for the type T of an op and that of its residual stream, which is T or float.
template <class F>
int32_t withStream(Context& context, DType dtype, DType stream, const F& f) {
  return withReal(context, dtype, [&](auto t) {
    if (stream == DType::f32) return f(t, float());
    return f(t, t);
  });
}

// x, y [rows, d], norm [rows]; y of bfloat16 rows in float16, else in their own type. A warp per row.
template <class T, class Unit, int width>
struct L2Normalize {
  static constexpr int kThreads = kRowThreads, kMinBlocks = 4;
  Dev<const T> x;
  Dev<Unit> y;
  Dev<float> norm;
  int64_t rows, d;
  float eps;

  LF_DEVICE void operator()() const {
    const int64_t row = blockX() * kRowsPerBlock + warp(), first = row * d;
    if (row >= rows) return;
    float squares = 0;
    eachPack<width>(d, [&](int64_t i) {
      const Pack<float, width> v = loadFloats<width>(x + (first + i));
      for (int k = 0; k < width; ++k) squares += v[k] * v[k];
    });
    const float length = squareRoot(warpSum(squares)), clamped = length < eps ? eps : length;  // NaN stays
    if (lane() == 0) norm[row] = clamped;
    const float inverse = 1 / clamped;
    eachPack<width>(d, [&](int64_t i) {
      Pack<float, width> v = loadFloats<width>(x + (first + i));
      for (int k = 0; k < width; ++k) v[k] *= inverse;
      storeFloats(y + (first + i), v);
    });
  }
};

// y, dy, dx [rows, d], norm [rows]. A warp per row.
template <class T, class Unit, int width>
struct L2NormalizeBackward {
  static constexpr int kThreads = kRowThreads, kMinBlocks = 4;
  Dev<const Unit> y;
  Dev<const float> dy, norm;
  Dev<T> dx;
  int64_t rows, d;
  float eps;

  LF_DEVICE void operator()() const {
    const int64_t row = blockX() * kRowsPerBlock + warp(), first = row * d;
    if (row >= rows) return;
    const float length = norm[row], inverse = 1 / length;
    float along = 0;
    // Unrolled further, it would not fit in the registers.
#pragma unroll 2
    for (int64_t i = lane() * width; i < d; i += kWarp * width) {
      const Pack<float, width> v = loadFloats<width>(y + (first + i)), g = loadFloats<width>(dy + (first + i));
      for (int k = 0; k < width; ++k) along += v[k] * g[k];
    }
    along = warpSum(along);
    if (!(length > eps)) along = 0;
    eachPack<width>(d, [&](int64_t i) {
      const Pack<float, width> v = loadFloats<width>(y + (first + i));
      Pack<float, width> g = loadFloats<width>(dy + (first + i));
      for (int k = 0; k < width; ++k) g[k] = (g[k] - v[k] * along) * inverse;
      storeFloats(dx + (first + i), g);
    });
  }
};

}  // namespace

namespace ops {

int32_t layerNorm(const OpCall& call, Context& context) {
  const View &x = call.in[0], &residual = call.in[1], &gamma = call.in[2], &beta = call.in[3];
  const View &y = call.out[0], &sum = call.out[1], &nextResidual = call.out[3];
  return withStream(context, x.dtype, residual.present() ? residual.dtype : x.dtype, [&](auto t, auto r) {
    using T = decltype(t);
    using R = decltype(r);
    return withWidth<float>(
        x.columns(),
        [&](auto width) {
          return launch(
              context, {divideUp(x.rows(), kRowsPerBlock)}, 0,
              LayerNorm<T, R, width()>{dev<const T>(x), dev<const T>(gamma), dev<const T>(beta), dev<const R>(residual),
                                       dev<T>(y), dev<float>(sum), dev<float>(call.out[2]), dev<float>(nextResidual),
                                       x.rows(), x.columns(), static_cast<float>(call.as<params::layerNorm>().eps)});
        },
        x, residual, gamma, beta, y, sum, nextResidual);
  });
}

int32_t layerNormBackward(const OpCall& call, Context& context) {
  const View &sum = call.in[0], &gamma = call.in[1], &stats = call.in[2], &dy = call.in[3], &dsum = call.in[4];
  const View& dx = call.out[0];
  const int64_t rows = dy.rows(), d = dy.columns(), blocks = divideUp(rows, kPartialRows);
  const bool wantGamma = call.in[5].present(), wantBeta = call.in[6].present();
  const int32_t failed = withStream(context, dy.dtype, sum.dtype, [&](auto t, auto s) {
    using T = decltype(t);
    using S = decltype(s);
    if (withWidth<float>(
            d,
            [&](auto width) {
              return launch(
                  context, {divideUp(rows, kRowsPerBlock)}, 0,
                  LayerNormBackward<T, S, width()>{dev<const S>(sum), dev<const T>(gamma), dev<const T>(dy),
                                                   dev<const T>(dsum), dev<const float>(stats), dev<T>(dx), rows, d});
            },
            sum, gamma, dy, dsum, dx))
      return 1;
    if (!wantGamma && !wantBeta) return 0;
    using Partials = NormPartials<T, S>;
    return launch(context, partialGrid(rows, d), 2 * sharedSize<float>(Partials::kThreads),
                  Partials{dev<const S>(sum), dev<const T>(dy), dev<const float>(stats),
                           workspace<float>(call, 0, 2 * blocks * d), rows, d});
  });
  if (failed) return 1;
  if (!wantGamma && !wantBeta) return 0;
  return addPartials(context, AddPartials<2>{workspace<const float>(call, 0, 2 * blocks * d),
                                             {dev<float>(call.in[5]), dev<float>(call.in[6])},
                                             blocks,
                                             d});
}

int32_t l2Normalize(const OpCall& call, Context& context) {
  const View &x = call.in[0], &y = call.out[0];
  const auto eps = static_cast<float>(call.as<params::l2Normalize>().eps);
  return withReal(context, x.dtype, [&](auto t) {
    using T = decltype(t);
    using Unit = UnitOf<T>;
    return withWidth<T>(
        x.columns(),
        [&](auto width) {
          return launch(context, {divideUp(x.rows(), kRowsPerBlock)}, 0,
                        L2Normalize<T, Unit, width()>{dev<const T>(x), dev<Unit>(y), dev<float>(call.out[1]), x.rows(),
                                                      x.columns(), eps});
        },
        x, y);
  });
}

int32_t l2NormalizeBackward(const OpCall& call, Context& context) {
  const View &y = call.in[0], &dy = call.in[2], &dx = call.out[0];
  const auto eps = static_cast<float>(call.as<params::l2NormalizeBackward>().eps);
  return withReal(context, dx.dtype, [&](auto t) {
    using T = decltype(t);
    using Unit = UnitOf<T>;
    return withWidth<float>(
        y.columns(),
        [&](auto width) {
          return launch(context, {divideUp(y.rows(), kRowsPerBlock)}, 0,
                        L2NormalizeBackward<T, Unit, width()>{dev<const Unit>(y), dev<const float>(dy),
                                                              dev<const float>(call.in[1]), dev<T>(dx), y.rows(),
                                                              y.columns(), eps});
        },
        y, dy, dx);
  });
}

}  // namespace ops

int64_t needs::layerNormBackward(const OpCall& call) {
  const bool wanted = call.in[5].present() || call.in[6].present();
  return wanted ? partialBytes(call.in[3].rows(), 2, call.in[3].columns()) : 0;
}

}  // namespace lateforge::cuda
