// Element-wise ops (native/ops/pointwise/cpu.cc). A kernel with `at` is run by elements.cuh: 256 threads a block, each
// with one pack of 16 bytes, or one element where packs do not fit.
#include "../../cuda/device/atomic.cuh"
#include "../../cuda/elements.cuh"
#include "../../cuda/ops.h"
#include "../../cuda/real.h"
#include "../../cuda/segments.cuh"
#include "../../runtime/philox.h"
#include "activation.cuh"

namespace lateforge::cuda {
namespace {

// x bytes.
struct ZeroBytes {
  Dev<uint8_t> x;
  template <int n>
  LF_DEVICE void at(int64_t i) const {
    storePack<n>(x + i, Pack<uint8_t, n>{});
  }
};

// x, y as many bytes.
struct CopyBytes {
  Dev<const uint8_t> x;
  Dev<uint8_t> y;
  template <int n>
  LF_DEVICE void at(int64_t i) const {
    storePack<n>(y + i, loadPack<n>(x + i));
  }
};

// a, b, y of one shape: y = a + b; y may be a.
template <class T>
struct Add {
  Dev<const T> a, b;
  Dev<T> y;
  template <int n>
  LF_DEVICE void at(int64_t i) const {
    Pack<float, n> sum = loadFloats<n>(a + i);
    const Pack<float, n> other = loadFloats<n>(b + i);
    for (int k = 0; k < n; ++k) sum[k] += other[k];
    storeFloats(y + i, sum);
  }
};

// x, y of one shape, factor [1]: y = x · by · factor; y may be x.
template <class T>
struct Scale {
  Dev<const T> x;
  Dev<const float> factor;  // null: 1
  Dev<T> y;
  float by;
  template <int n>
  LF_DEVICE void at(int64_t i) const {
    const float all = factor ? by * factor[0] : by;
    Pack<float, n> v = loadFloats<n>(x + i);
    for (int k = 0; k < n; ++k) v[k] *= all;
    storeFloats(y + i, v);
  }
};

// x, y of one shape: y = f(x).
template <class T, Activation kind>
struct Activate {
  Dev<const T> x;
  Dev<T> y;
  template <int n>
  LF_DEVICE void at(int64_t i) const {
    Pack<float, n> v = loadFloats<n>(x + i);
    for (int k = 0; k < n; ++k) v[k] = activate<kind>(v[k]).y;
    storeFloats(y + i, v);
  }
};

// x, dy, dx of one shape: dx = dy · f′(x).
template <class T, Activation kind>
struct ActivateBackward {
  Dev<const T> x, dy;
  Dev<T> dx;
  template <int n>
  LF_DEVICE void at(int64_t i) const {
    const Pack<float, n> v = loadFloats<n>(x + i);
    Pack<float, n> g = loadFloats<n>(dy + i);
    for (int k = 0; k < n; ++k) g[k] *= activate<kind>(v[k]).slope;
    storeFloats(dx + i, g);
  }
};

// x [T, 2 · d], rows [u | g]; y [T, d] = f(u) ∘ g. Element i of y; with vectors, d is a multiple of n.
template <class T, Activation kind>
struct Geglu {
  Dev<const T> x;
  Dev<T> y;
  int64_t d;
  template <int n>
  LF_DEVICE void at(int64_t i) const {
    const int64_t from = i + i / d * d;
    Pack<float, n> u = loadFloats<n>(x + from);
    const Pack<float, n> g = loadFloats<n>(x + (from + d));
    for (int k = 0; k < n; ++k) u[k] = activate<kind>(u[k]).y * g[k];
    storeFloats(y + i, u);
  }
};

// x, dx [T, 2 · d], dy [T, d]. Element i of dy.
template <class T, Activation kind>
struct GegluBackward {
  Dev<const T> x, dy;
  Dev<T> dx;
  int64_t d;
  template <int n>
  LF_DEVICE void at(int64_t i) const {
    const int64_t from = i + i / d * d;
    Pack<float, n> u = loadFloats<n>(x + from), g = loadFloats<n>(x + (from + d));
    const Pack<float, n> upstream = loadFloats<n>(dy + i);
    for (int k = 0; k < n; ++k) {
      const Slope f = activate<kind>(u[k]);
      u[k] = upstream[k] * g[k] * f.slope;
      g[k] = upstream[k] * f.y;
    }
    storeFloats(dx + from, u);
    storeFloats(dx + (from + d), g);
  }
};

// x, y [rows, d]; segments [sequences + 1], seeds [sequences, 2]. A warp per row, eight rows a block; a lane draws for
// four features, one Philox block, at a time.
template <class T>
struct Dropout {
  static constexpr int kThreads = 256, kMinBlocks = 4;
  Dev<const T> x;
  Dev<T> y;
  Dev<const int64_t> segments;
  Dev<const uint32_t> seeds;
  int64_t rows, sequences, d;
  uint32_t threshold, site;
  float keep;

  LF_DEVICE void operator()() const {
    const int64_t row = blockX() * (kThreads / kWarp) + warp();
    if (row >= rows) return;
    const int64_t s = sequenceOf(segments, sequences, row);
    const auto position = static_cast<uint32_t>(row - segments[s]);
    const uint32_t key0 = seeds[2 * s], key1 = seeds[2 * s + 1];
    for (int64_t f = 4 * lane(); f < d; f += 4 * kWarp) {
      const Philox4 draw = philox(key0, key1, static_cast<uint32_t>(f / 4), position, site, 0);
      for (int k = 0; k < 4 && f + k < d; ++k) {
        const float v = widen(x[row * d + f + k]);
        y[row * d + f + k] = narrow<T>(draw.word[k] >= threshold ? v * keep : v * 0.0f);
      }
    }
  }
};

// x of any shape: the lowest element that is no finite number, if any.
template <class T>
struct FindNotFinite {
  Dev<const T> x;
  Dev<Fault> fault;
  template <int n>
  LF_DEVICE void at(int64_t i) const {
    const Pack<float, n> v = loadFloats<n>(x + i);
    for (int k = 0; k < n; ++k)
      if (!finite(v[k])) atomicMinimum(recast<uint64_t>(fault), static_cast<uint64_t>(i + k));
  }
};

// x as before: the value of that element. One warp.
template <class T>
struct KeepBadValue {
  static constexpr int kThreads = kWarp, kMinBlocks = 1;
  Dev<const T> x;
  Dev<Fault> fault;
  LF_DEVICE void operator()() const {
    if (thread() == 0 && fault->first != kNoFault) fault->value = widen(x[static_cast<int64_t>(fault->first)]);
  }
};

// x, y of one shape and two types.
template <class From, class To>
struct Cast {
  Dev<const From> x;
  Dev<To> y;
  template <int n>
  LF_DEVICE void at(int64_t i) const {
    storeFloats(y + i, loadFloats<n>(x + i));
  }
};

int32_t copyBytes(Context& context, const View& x, const View& y) {
  return launchElements<uint8_t>(context, x.bytes(), aligned(x, y), CopyBytes{dev<const uint8_t>(x), dev<uint8_t>(y)});
}

}  // namespace

namespace ops {

int32_t zero(const OpCall& call, Context& context) {
  return launchElements<uint8_t>(context, call.in[0].bytes(), aligned(call.in[0]), ZeroBytes{dev<uint8_t>(call.in[0])});
}

int32_t copyRows(const OpCall& call, Context& context) {
  View target = call.in[1];
  const int64_t first = call.as<params::copyRows>().row * target.columns() * sizeOf(target.dtype);
  target.data = target.as<char>() + first;
  for (int i = 0; i < kMaxRank; ++i) target.dims[i] = call.in[0].dims[i];
  return copyBytes(context, call.in[0], target);
}

int32_t add(const OpCall& call, Context& context) {
  const View &a = call.in[0], &b = call.in[1], &y = call.out[0];
  return withReal(context, a.dtype, [&](auto t) {
    using T = decltype(t);
    return launchElements<T>(context, y.count(), aligned(a, b, y), Add<T>{dev<const T>(a), dev<const T>(b), dev<T>(y)});
  });
}

int32_t addInto(const OpCall& call, Context& context) {
  const View &x = call.in[0], &y = call.in[1];
  return withReal(context, x.dtype, [&](auto t) {
    using T = decltype(t);
    return launchElements<T>(context, y.count(), aligned(x, y), Add<T>{dev<const T>(y), dev<const T>(x), dev<T>(y)});
  });
}

int32_t scale(const OpCall& call, Context& context) {
  const View &x = call.in[0], &y = call.out[0];
  return withReal(context, x.dtype, [&](auto t) {
    using T = decltype(t);
    return launchElements<T>(context, y.count(), aligned(x, y),
                             Scale<T>{dev<const T>(x), dev<const float>(call.in[1]), dev<T>(y),
                                      static_cast<float>(call.as<params::scale>().by)});
  });
}

// params::rescale is params::scale.
int32_t rescale(const OpCall& call, Context& context) {
  OpCall inPlace = call;
  inPlace.out[0] = call.in[0];
  return scale(inPlace, context);
}

int32_t activation(const OpCall& call, Context& context) {
  const View &x = call.in[0], &y = call.out[0];
  return withReal(context, x.dtype, [&](auto t) {
    using T = decltype(t);
    return withActivation(call.as<params::activation>().kind, [&](auto kind) {
      return launchElements<T>(context, y.count(), aligned(x, y), Activate<T, kind()>{dev<const T>(x), dev<T>(y)});
    });
  });
}

int32_t activationBackward(const OpCall& call, Context& context) {
  const View &x = call.in[0], &dy = call.in[1], &dx = call.out[0];
  return withReal(context, x.dtype, [&](auto t) {
    using T = decltype(t);
    return withActivation(call.as<params::activationBackward>().kind, [&](auto kind) {
      return launchElements<T>(context, dx.count(), aligned(x, dy, dx),
                               ActivateBackward<T, kind()>{dev<const T>(x), dev<const T>(dy), dev<T>(dx)});
    });
  });
}

int32_t geglu(const OpCall& call, Context& context) {
  const View &x = call.in[0], &y = call.out[0];
  return withReal(context, x.dtype, [&](auto t) {
    using T = decltype(t);
    const bool vectors = aligned(x, y) && y.columns() * sizeof(T) % 16 == 0;
    return withActivation(call.as<params::geglu>().kind, [&](auto kind) {
      return launchElements<T>(context, y.count(), vectors, Geglu<T, kind()>{dev<const T>(x), dev<T>(y), y.columns()});
    });
  });
}

int32_t gegluBackward(const OpCall& call, Context& context) {
  const View &x = call.in[0], &dy = call.in[1], &dx = call.out[0];
  return withReal(context, x.dtype, [&](auto t) {
    using T = decltype(t);
    const bool vectors = aligned(x, dy, dx) && dy.columns() * sizeof(T) % 16 == 0;
    return withActivation(call.as<params::gegluBackward>().kind, [&](auto kind) {
      return launchElements<T>(context, dy.count(), vectors,
                               GegluBackward<T, kind()>{dev<const T>(x), dev<const T>(dy), dev<T>(dx), dy.columns()});
    });
  });
}

int32_t dropout(const OpCall& call, Context& context) {
  const auto p = call.as<params::dropout>();
  const View& x = call.in[0];
  return withReal(context, x.dtype, [&](auto t) {
    using T = decltype(t);
    return launch(context, {divideUp(x.rows(), 256 / kWarp)}, 0,
                  Dropout<T>{dev<const T>(x), dev<T>(call.out[0]), dev<const int64_t>(call.in[1]),
                             dev<const uint32_t>(call.in[2]), x.rows(), call.in[1].count() - 1, x.columns(),
                             dropThreshold(p.p), static_cast<uint32_t>(p.site), static_cast<float>(1 / (1 - p.p))});
  });
}

// Between two types a pack is 16 bytes of the wider one.
int32_t cast(const OpCall& call, Context& context) {
  const View &x = call.in[0], &y = call.in[1];
  if (x.dtype == y.dtype) return copyBytes(context, x, y);
  return withReal16(context, x.dtype, [&](auto from) {
    return withReal16(context, y.dtype, [&](auto to) {
      using From = decltype(from);
      using To = decltype(to);
      using Wider = std::conditional_t<(sizeof(From) > sizeof(To)), From, To>;
      return launchElements<Wider>(context, x.count(), aligned(x, y), Cast<From, To>{dev<const From>(x), dev<To>(y)});
    });
  });
}

int32_t assertFinite(const OpCall& call, Context& context) {
  const View& x = call.in[0];
  return withReal16(context, x.dtype, [&](auto t) {
    using T = decltype(t);
    const Dev<Fault> fault = faultOf(context);
    if (launchElements<T>(context, x.count(), aligned(x), FindNotFinite<T>{dev<const T>(x), fault})) return 1;
    return launch(context, {1}, 0, KeepBadValue<T>{dev<const T>(x), fault});
  });
}

}  // namespace ops
}  // namespace lateforge::cuda
