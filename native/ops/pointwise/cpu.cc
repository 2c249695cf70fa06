// Element-wise ops.
//
// geglu (Shazeer, "GLU variants improve transformer", 2020): x = [u | g], y = f(u) ∘ g; the first half is activated.
// Dropout is inverted: kept values are divided by 1 − p. Feature f of the token at position t of a sequence uses word
// f mod 4 of Philox(key of the sequence, counter (f / 4, t, site, 0)).
#include <cstdio>

#include "../../cpu/half.h"
#include "../../cpu/kernels.h"
#include "../../cpu/loops.h"
#include "../../runtime/philox.h"
#include "activation.h"

namespace lateforge::cpu::LF_ISA::kernels {

// x of any shape and type, in place.
template <class T>
int32_t zero(const OpCall& call, char*) {
  char* x = call.in[0].as<char>();
  forBlocks(call.in[0].bytes(), 1 << 18, [&](int64_t begin, int64_t end) { std::memset(x + begin, 0, end - begin); });
  return 0;
}

// x [n, …], y [m, …] of one type: rows row … row + n − 1 of y.
template <class T>
int32_t copyRows(const OpCall& call, char*) {
  const View &x = call.in[0], &y = call.in[1];
  const char* source = x.as<char>();
  char* target = y.as<char>() + call.as<params::copyRows>().row * y.columns() * sizeOf(y.dtype);
  forBlocks(x.bytes(), 1 << 18,
            [&](int64_t begin, int64_t end) { std::memcpy(target + begin, source + begin, end - begin); });
  return 0;
}

// y[i] = f(x[i], …) by vectors; f gets (offset, lanes).
template <class T, class F>
static void elements(int64_t count, F f) {
  forBlocks(count, kElementBlock, [&](int64_t begin, int64_t end) {
    forLanes<T>(end - begin, [&](int64_t i, auto lanes) { f(begin + i, lanes); });
  });
}

// a, b, y of one shape: y = a + b.
template <class T>
int32_t add(const OpCall& call, char*) {
  const T *a = call.in[0].as<T>(), *b = call.in[1].as<T>();
  T* y = call.out[0].as<T>();
  elements<T>(call.out[0].count(),
              [=](int64_t i, auto n) { storePart(y + i, loadPart(a + i, n) + loadPart(b + i, n), n); });
  return 0;
}

// x, y of one shape: y += x.
template <class T>
int32_t addInto(const OpCall& call, char*) {
  const T* x = call.in[0].as<T>();
  T* y = call.in[1].as<T>();
  elements<T>(call.in[1].count(),
              [=](int64_t i, auto n) { storePart(y + i, loadPart(y + i, n) + loadPart(x + i, n), n); });
  return 0;
}

// x, y of one shape, factor [1] or absent: y = x · by · factor.
template <class T>
int32_t scale(const OpCall& call, char*) {
  const T* x = call.in[0].as<T>();
  T* y = call.out[0].as<T>();
  T by = static_cast<T>(call.as<params::scale>().by);
  if (call.in[1].present()) by *= *call.in[1].as<T>();
  elements<T>(call.out[0].count(), [=](int64_t i, auto n) { storePart(y + i, loadPart(x + i, n) * by, n); });
  return 0;
}

// x of any shape, in place, factor [1] or absent. params::rescale is params::scale.
template <class T>
int32_t rescale(const OpCall& call, char* error) {
  OpCall inPlace = call;
  inPlace.out[0] = call.in[0];
  return scale<T>(inPlace, error);
}

// f(x) with x as a pointer to the real type a tensor is made of.
template <class F>
static void withReal(const View& x, F f) {
  if (x.dtype == DType::f32) f(x.as<float>());
  if (x.dtype == DType::f64) f(x.as<double>());
  if (x.dtype == DType::f16) f(x.as<Half>());
  if (x.dtype == DType::bf16) f(x.as<BFloat16>());
}

// x, y of one shape, each of any real type.
template <class T>
int32_t cast(const OpCall& call, char*) {
  withReal(call.in[0], [&](const auto* x) {
    withReal(call.in[1], [&](auto* y) {
      forBlocks(call.in[1].count(), kElementBlock, [=](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) y[i] = convert<std::remove_reference_t<decltype(*y)>>(x[i]);
      });
    });
  });
  return 0;
}

// x, y of one shape: y = f(x).
template <class T>
int32_t activation(const OpCall& call, char*) {
  const T* x = call.in[0].as<T>();
  T* y = call.out[0].as<T>();
  withActivation(call.as<params::activation>().kind, [&](auto kind) {
    elements<T>(call.out[0].count(),
                [=](int64_t i, auto n) { storePart(y + i, activate<kind(), T>(loadPart(x + i, n)).y, n); });
  });
  return 0;
}

// x, dy, dx of one shape: dx = dy · f′(x).
template <class T>
int32_t activationBackward(const OpCall& call, char*) {
  const T *x = call.in[0].as<T>(), *dy = call.in[1].as<T>();
  T* dx = call.out[0].as<T>();
  withActivation(call.as<params::activationBackward>().kind, [&](auto kind) {
    elements<T>(call.out[0].count(), [=](int64_t i, auto n) {
      storePart(dx + i, loadPart(dy + i, n) * activate<kind(), T>(loadPart(x + i, n)).slope, n);
    });
  });
  return 0;
}

// x [T, 2 · d], y [T, d].
template <class T>
int32_t geglu(const OpCall& call, char*) {
  const int64_t rows = call.out[0].rows(), d = call.out[0].columns();
  withActivation(call.as<params::geglu>().kind, [&](auto kind) {
    forBlocks(rows, rowBlock(2 * d), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const T *u = call.in[0].as<T>() + r * 2 * d, *g = u + d;
        T* y = call.out[0].as<T>() + r * d;
        forLanes<T>(d, [=](int64_t i, auto n) {
          storePart(y + i, activate<kind(), T>(loadPart(u + i, n)).y * loadPart(g + i, n), n);
        });
      }
    });
  });
  return 0;
}

// x, dx [T, 2 · d], dy [T, d].
template <class T>
int32_t gegluBackward(const OpCall& call, char*) {
  const int64_t rows = call.in[1].rows(), d = call.in[1].columns();
  withActivation(call.as<params::gegluBackward>().kind, [&](auto kind) {
    forBlocks(rows, rowBlock(2 * d), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const T *u = call.in[0].as<T>() + r * 2 * d, *g = u + d, *dy = call.in[1].as<T>() + r * d;
        T *du = call.out[0].as<T>() + r * 2 * d, *dg = du + d;
        forLanes<T>(d, [=](int64_t i, auto n) {
          const Slope<T> f = activate<kind(), T>(loadPart(u + i, n));
          const Vec<T> upstream = loadPart(dy + i, n);
          storePart(du + i, upstream * loadPart(g + i, n) * f.slope, n);
          storePart(dg + i, upstream * f.y, n);
        });
      }
    });
  });
  return 0;
}

// x, y [T, d]; segments [n + 1], seeds [n, 2]. A task per sequence.
template <class T>
int32_t dropout(const OpCall& call, char*) {
  const auto& p = call.as<params::dropout>();
  const uint32_t threshold = dropThreshold(p.p);
  const T keep = static_cast<T>(1 / (1 - p.p));
  const int64_t* segments = call.in[1].as<int64_t>();
  const uint32_t* seeds = call.in[2].as<uint32_t>();
  const int64_t d = call.in[0].columns();
  forTasks(call.in[1].count() - 1, [&](int64_t s) {
    constexpr int kBlocks = kWords;
    for (int64_t r = segments[s]; r < segments[s + 1]; ++r) {
      const T* x = call.in[0].as<T>() + r * d;
      T* y = call.out[0].as<T>() + r * d;
      for (int64_t f = 0; f < d; f += 4 * kBlocks) {
        const PhiloxBlock draw =
            philoxBlock(seeds + 2 * s, static_cast<uint32_t>(f / 4), 1, static_cast<uint32_t>(r - segments[s]), 0,
                        static_cast<uint32_t>(p.site), 0);
        T drawn[4][kBlocks];
        for (int w = 0; w < 4; ++w) storeKept(drawn[w], draw.word[w], threshold, keep, kBlocks);
        const int64_t n = d - f < 4 * kBlocks ? d - f : 4 * kBlocks;
        for (int64_t i = 0; i < n; ++i) y[f + i] = x[f + i] * drawn[i % 4][i / 4];
      }
    }
  });
  return 0;
}

// x of any shape.
template <class T>
int32_t assertFinite(const OpCall& call, char* error) {
  const T* x = call.in[0].as<T>();
  const int64_t count = call.in[0].count();
  for (int64_t begin = 0; begin < count; begin += kElementBlock) {
    const int64_t size = count - begin < kElementBlock ? count - begin : kElementBlock;
    Vec<T> sum{};  // 0 · x is 0 where x is finite and NaN elsewhere
    forLanes<T>(size, [&](int64_t i, auto n) { sum += loadPart(x + begin + i, n) * T{0}; });
    if (addLanes<T>(sum) == T{0}) continue;
    int64_t i = begin;
    while (std::isfinite(x[i])) ++i;
    std::snprintf(error, kErrorBytes, "element %lld of %lld is %g, expected finite values", static_cast<long long>(i),
                  static_cast<long long>(count), static_cast<double>(x[i]));
    return 1;
  }
  return 0;
}

LF_INSTANTIATE(zero);
LF_INSTANTIATE(copyRows);
LF_INSTANTIATE(add);
LF_INSTANTIATE(addInto);
LF_INSTANTIATE(scale);
LF_INSTANTIATE(rescale);
LF_INSTANTIATE(cast);
LF_INSTANTIATE(activation);
LF_INSTANTIATE(activationBackward);
LF_INSTANTIATE(geglu);
LF_INSTANTIATE(gegluBackward);
LF_INSTANTIATE(dropout);
LF_INSTANTIATE(assertFinite);

}  // namespace lateforge::cpu::LF_ISA::kernels
