// Rotary position embedding in place (native/cpu/rope.cc): a warp per token row; q and k turn, v stays.
#include "device/math.cuh"
#include "device/thread.cuh"
#include "launch.h"
#include "ops.h"
#include "real.h"
#include "segments.cuh"

namespace lateforge::cuda {
namespace {

template <class T>
struct Rope {
  static constexpr int kThreads = 256, kMinBlocks = 4;
  Dev<T> x;  // [rows][3][heads][2 · half]
  Dev<const int64_t> segments;
  Dev<const float> table;  // [positions][cosines, sines]
  int64_t rows, sequences;
  int32_t heads, half;
  float sign;

  LF_DEVICE void operator()() const {
    const int64_t row = blockX() * (kThreads / kWarp) + warp();
    if (row >= rows) return;
    const int64_t position = row - segments[sequenceOf(segments, sequences, row)];
    const Dev<const float> cosines = table + position * 2 * half, sines = cosines + half;
    const Dev<T> first = x + row * 6 * heads * half;
    for (int32_t pair = lane(); pair < 2 * heads * half; pair += kWarp) {
      const int32_t head = pair / half, i = pair % half, at = head * 2 * half + i;
      const float a = widen(first[at]), b = widen(first[at + half]), cosine = cosines[i], sine = sines[i] * sign;
      first[at] = narrow<T>(a * cosine - b * sine);
      first[at + half] = narrow<T>(b * cosine + a * sine);
    }
  }
};

}  // namespace

namespace ops {

int32_t rope(const OpCall& call, Context& context) {
  const auto p = call.as<params::rope>();
  const View &x = call.in[0], &segments = call.in[1];
  return withReal(context, x.dtype, [&](auto t) {
    using T = decltype(t);
    return launch(context, {divideUp(x.rows(), 256 / kWarp)}, 0,
                  Rope<T>{dev<T>(x), dev<const int64_t>(segments), dev<const float>(call.in[2]), x.rows(),
                          segments.count() - 1, static_cast<int32_t>(p.heads),
                          static_cast<int32_t>(x.columns() / (6 * p.heads)), p.inverse ? -1.0f : 1.0f});
  });
}

}  // namespace ops
}  // namespace lateforge::cuda
