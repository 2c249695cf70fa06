// Rotary position embedding in place (native/ops/rope/cpu.cc): a warp per token row; q and k turn, v stays.
#include "../../cuda/elements.cuh"
#include "../../cuda/ops.h"
#include "../../cuda/real.h"
#include "../../cuda/segments.cuh"

namespace lateforge::cuda {
namespace {

// x [rows, 3 · heads · 2 · half] in place, segments [sequences + 1], table [positions, 2 · half]. A warp per row, eight
// rows a block; a lane turns n pairs at a time.
template <class T, int n>
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
    for (int32_t pair = lane() * n; pair < 2 * heads * half; pair += kWarp * n) {
      const int32_t head = pair / half, i = pair % half, at = head * 2 * half + i;
      const Pack<float, n> cosine = loadPack<n>(cosines + i), sine = loadPack<n>(sines + i);
      const Pack<float, n> a = loadFloats<n>(Dev<const T>(first + at)),
                           b = loadFloats<n>(Dev<const T>(first + at + half));
      Pack<float, n> left, right;
      for (int k = 0; k < n; ++k) {
        left[k] = a[k] * cosine[k] - b[k] * sine[k] * sign;
        right[k] = b[k] * cosine[k] + a[k] * sine[k] * sign;
      }
      storeFloats(first + at, left);
      storeFloats(first + at + half, right);
    }
  }
};

}  // namespace

namespace ops {

int32_t rope(const OpCall& call, Context& context) {
  const auto p = call.as<params::rope>();
  const View &x = call.in[0], &segments = call.in[1], &table = call.in[2];
  const int64_t half = x.columns() / (6 * p.heads);
  return withReal(context, x.dtype, [&](auto t) {
    using T = decltype(t);
    auto run = [&](auto n) {
      return launch(
          context, {divideUp(x.rows(), 256 / kWarp)}, 0,
          Rope<T, n()>{dev<T>(x), dev<const int64_t>(segments), dev<const float>(table), x.rows(), segments.count() - 1,
                       static_cast<int32_t>(p.heads), static_cast<int32_t>(half), p.inverse ? -1.0f : 1.0f});
    };
    if (half % 4 == 0 && aligned(x, table)) return run(std::integral_constant<int, 4>());
    return run(std::integral_constant<int, 1>());
  });
}

}  // namespace ops
}  // namespace lateforge::cuda
