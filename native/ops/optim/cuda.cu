// The optimiser on flat buffers (native/ops/optim/cpu.cc).
#include <cmath>

#include "../../cuda/device/block.cuh"
#include "../../cuda/elements.cuh"
#include "../../cuda/ops.h"
#include "../../cuda/segments.cuh"

namespace lateforge::cuda {
namespace {

constexpr int64_t kSquaresBlock = 4096;

// x [count], partial [blocks]: Σ x² of the 4,096 elements of each block.
struct SquaresOfBlock {
  static constexpr int kThreads = 256, kMinBlocks = 4;
  Dev<const float> x;
  Dev<double> partial;
  int64_t count;
  LF_DEVICE void operator()() const {
    SharedMemory shared;
    Shared<double> scratch = shared.take<double>(kThreads / kWarp);
    const int64_t end = minimum((blockX() + 1) * kSquaresBlock, count);
    double sum = 0;
    for (int64_t i = blockX() * kSquaresBlock + thread(); i < end; i += kThreads)
      sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    sum = blockSum<kThreads>(sum, scratch);
    if (thread() == 0) partial[blockX()] = sum;
  }
};

// partial [count], y [1] = Σ partial. One block.
struct SumPartials {
  static constexpr int kThreads = 256, kMinBlocks = 1;
  Dev<const double> partial;
  Dev<float> y;
  int64_t count;
  LF_DEVICE void operator()() const {
    SharedMemory shared;
    Shared<double> scratch = shared.take<double>(kThreads / kWarp);
    double sum = 0;
    for (int64_t i = thread(); i < count; i += kThreads) sum += partial[i];
    sum = blockSum<kThreads>(sum, scratch);
    if (thread() == 0) y[0] = static_cast<float>(sum);
  }
};

// w, m, v, g [n]; squaredNorm [1]; segments [sequences + 1] of n; groups [sequences, 2]. Elements (elements.cuh).
struct AdamW {
  Dev<float> w, m, v;
  Dev<const float> g, squaredNorm;  // squaredNorm may be null
  Dev<const int64_t> segments;
  Dev<const float> groups;  // [segments][learning rate, decay]
  int64_t sequences;
  float beta1, beta2, rest1, rest2, eps, correct2;
  double scale, correct1, clip;

  template <int n>
  LF_DEVICE void at(int64_t i) const {
    float factor = 1;
    if (squaredNorm) {
      const float squared = squaredNorm[0];
      if (!(squared >= 0) || !finite(squared)) return;
      const double norm = squareRoot(static_cast<double>(squared)) + 1e-6;
      if (clip > 0 && clip < norm) factor = static_cast<float>(clip / norm);
    }
    const Pack<float, n> gradient = loadPack<n>(g + i);
    Pack<float, n> first = loadPack<n>(Dev<const float>(m + i)), second = loadPack<n>(Dev<const float>(v + i));
    Pack<float, n> weight = loadPack<n>(Dev<const float>(w + i));
    int64_t s = sequenceOf(segments, sequences, i);
    for (int k = 0; k < n; ++k) {
      while (segments[s + 1] <= i + k) ++s;
      const double rate = static_cast<double>(groups[2 * s]) * scale;
      const float shrink = static_cast<float>(1 - rate * static_cast<double>(groups[2 * s + 1]));
      const float size = static_cast<float>(rate * correct1), x = gradient[k] * factor;
      first[k] = first[k] * beta1 + x * rest1;
      second[k] = second[k] * beta2 + x * x * rest2;
      weight[k] = weight[k] * shrink - size * first[k] / (squareRoot(second[k] * correct2) + eps);
    }
    storePack(m + i, first);
    storePack(v + i, second);
    storePack(w + i, weight);
  }
};

}  // namespace

namespace ops {

int32_t sumSquares(const OpCall& call, Context& context) {
  const int64_t count = call.in[0].count(), blocks = divideUp(count, kSquaresBlock);
  const int64_t scratch = sharedSize<double>(SquaresOfBlock::kThreads / kWarp);
  const Dev<double> partial = workspace<double>(call, 0, blocks);
  if (launch(context, {blocks}, scratch, SquaresOfBlock{dev<const float>(call.in[0]), partial, count})) return 1;
  return launch(context, {1}, scratch, SumPartials{partial, dev<float>(call.out[0]), blocks});
}

int32_t adamw(const OpCall& call, Context& context) {
  const auto p = call.as<params::adamw>();
  const View &w = call.in[0], &g = call.in[1], &m = call.in[2], &v = call.in[3];
  const double step = static_cast<double>(p.step);
  return launchElements<float>(context, w.count(), aligned(w, g, m, v),
                               AdamW{.w = dev<float>(w),
                                     .m = dev<float>(m),
                                     .v = dev<float>(v),
                                     .g = dev<const float>(g),
                                     .squaredNorm = dev<const float>(call.in[4]),
                                     .segments = dev<const int64_t>(call.in[5]),
                                     .groups = dev<const float>(call.in[6]),
                                     .sequences = call.in[5].count() - 1,
                                     .beta1 = static_cast<float>(p.beta1),
                                     .beta2 = static_cast<float>(p.beta2),
                                     .rest1 = static_cast<float>(1 - p.beta1),
                                     .rest2 = static_cast<float>(1 - p.beta2),
                                     .eps = static_cast<float>(p.eps),
                                     .correct2 = static_cast<float>(1 / (1 - std::pow(p.beta2, step))),
                                     .scale = p.scale,
                                     .correct1 = 1 / (1 - std::pow(p.beta1, step)),
                                     .clip = p.clip});
}

}  // namespace ops

int64_t needs::sumSquares(const OpCall& call) {
  return divideUp(call.in[0].count(), kSquaresBlock) * static_cast<int64_t>(sizeof(double));
}

}  // namespace lateforge::cuda
