// Sums and maxima over ranks, in rank order (native/distributed/rank_sum.h).
#include "../../cuda/elements.cuh"
#include "rank_sum.h"

namespace lateforge::cuda {
namespace {

// parts [ranks, count], out [count]. An element a thread.
template <class T, bool largest>
struct Combine {
  Dev<const T> parts;
  Dev<T> out;
  int64_t count;
  int32_t ranks;

  template <int n>
  LF_DEVICE void at(int64_t i) const {
    T value = parts[i];
    for (int64_t r = 1; r < ranks; ++r) {
      const T other = parts[r * count + i];
      if constexpr (largest)
        value = other > value || other != other ? other : value;  // a NaN wins
      else
        value = value + other;
    }
    out[i] = value;
  }
};

View flat(const void* data, DType dtype, int64_t count) {
  View view;
  view.data = const_cast<void*>(data);
  view.dtype = dtype;
  view.rank = 1;
  view.dims[0] = count;
  return view;
}

template <class T, bool largest>
int32_t combine(Context& context, const View& out, const View& parts, int32_t ranks) {
  using Kernel = Elements<Combine<T, largest>, 1>;
  const int64_t count = out.count();
  return launch(context, {divideUp(count, Kernel::kThreads)}, 0,
                Kernel{{dev<const T>(parts), dev<T>(out), count, ranks}, count});
}

}  // namespace

int32_t combineRanks(Context& context, bool largest, DType dtype, void* out, const void* parts, int64_t count,
                     int32_t ranks) {
  if (count == 0) return 0;
  const View to = flat(out, dtype, count), from = flat(parts, dtype, count * ranks);
  if (dtype == DType::f64)
    return largest ? combine<double, true>(context, to, from, ranks) : combine<double, false>(context, to, from, ranks);
  return largest ? combine<float, true>(context, to, from, ranks) : combine<float, false>(context, to, from, ranks);
}

}  // namespace lateforge::cuda
