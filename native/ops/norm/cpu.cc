// LayerNorm (Ba et al., 2016): s = x (+ residual), x̂ = (s − mean) · rstd, y = γ x̂ (+ β), biased variance, statistics in
// two passes. Backward, g = γ dy: dx = rstd (g − ⟨g⟩ − x̂ ⟨g x̂⟩) (+ dsum), ⟨⟩ the mean over a row.
// dγ = Σ dy x̂ and dβ = Σ dy: partial sums per 256 rows in the workspace, added up in order.
//
// l2Normalize: n = max(‖x‖, eps), y = x / n; so dx = (dy − y ⟨y, dy⟩) / n, or dy / eps where eps took over.
#include <cmath>

#include "../../cpu/kernels.h"
#include "../../cpu/loops.h"

namespace lateforge::cpu::LF_ISA::kernels {

constexpr int64_t kPartialRows = 256;

// Σ f(offset, lanes) over [0, d). f must give 0 in lanes beyond the end.
template <class T, class F>
static T sumLanes(int64_t d, F f) {
  constexpr std::integral_constant<int64_t, kLanes<T>> whole;
  Vec<T> sum[4] = {};
  int64_t i = 0;
  for (; i + 4 * kLanes<T> <= d; i += 4 * kLanes<T>)
    for (int k = 0; k < 4; ++k) sum[k] += f(i + k * kLanes<T>, whole);
  forLanes<T>(d - i, [&](int64_t k, auto n) { sum[0] += f(i + k, n); });
  return addLanes<T>((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

// x, residual, y, sum [T, d]; gamma, beta [d]; stats [T, 2]: mean, rstd. Residual (and sum with it) and beta may be
// absent; nextResidual is for narrower types than the CPU's.
template <class T>
int32_t layerNorm(const OpCall& call, char*) {
  const int64_t d = call.in[0].columns();
  const T eps = static_cast<T>(call.as<params::layerNorm>().eps), perColumn = T{1} / static_cast<T>(d);
  const T *gamma = call.in[2].as<T>(), *beta = call.in[3].present() ? call.in[3].as<T>() : nullptr;
  const bool hasResidual = call.in[1].present();
  forBlocks(call.in[0].rows(), rowBlock(d), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const T* s = call.in[0].as<T>() + r * d;
      if (hasResidual) {
        const T *x = s, *residual = call.in[1].as<T>() + r * d;
        T* sum = call.out[1].as<T>() + r * d;
        forLanes<T>(d,
                    [=](int64_t i, auto n) { storePart(sum + i, loadPart(x + i, n) + loadPart(residual + i, n), n); });
        s = sum;
      }
      const T mean = perColumn * sumLanes<T>(d, [=](int64_t i, auto n) { return loadPart(s + i, n); });
      const T variance = perColumn * sumLanes<T>(d, [=](int64_t i, auto n) {
                           Vec<T> c = loadPart(s + i, n) - mean;
                           if (n < kLanes<T>) c = iota<T>() < static_cast<T>(n) ? c : Vec<T>{};
                           return c * c;
                         });
      const T rstd = T{1} / std::sqrt(variance + eps);
      call.out[2].as<T>()[2 * r] = mean;
      call.out[2].as<T>()[2 * r + 1] = rstd;
      T* y = call.out[0].as<T>() + r * d;
      forLanes<T>(d, [=](int64_t i, auto n) {
        const Vec<T> v = (loadPart(s + i, n) - mean) * rstd * loadPart(gamma + i, n);
        storePart(y + i, beta ? v + loadPart(beta + i, n) : v, n);
      });
    }
  });
  return 0;
}

// sum, dy, dsum, dx [T, d]; gamma [d]; stats [T, 2]; dgamma, dbeta [d], added to. dsum, dgamma, dbeta may be absent.
template <class T>
int32_t layerNormBackward(const OpCall& call, char*) {
  const int64_t rows = call.in[0].rows(), d = call.in[0].columns(), blocks = divideUp(rows, kPartialRows);
  const T perColumn = T{1} / static_cast<T>(d);
  const T *gamma = call.in[1].as<T>(), *dsum = call.in[4].present() ? call.in[4].as<T>() : nullptr;
  T* partial = static_cast<T*>(call.workspace);  // [blocks][dγ, dβ][d]
  const bool wantGamma = call.in[5].present(), wantBeta = call.in[6].present();
  forBlocks(rows, kPartialRows, [&](int64_t begin, int64_t end) {
    T *partGamma = partial + begin / kPartialRows * 2 * d, *partBeta = partGamma + d;
    if (wantGamma || wantBeta) std::memset(partGamma, 0, 2 * d * sizeof(T));
    for (int64_t r = begin; r < end; ++r) {
      const T *s = call.in[0].as<T>() + r * d, *dy = call.in[3].as<T>() + r * d;
      const T mean = call.in[2].as<T>()[2 * r], rstd = call.in[2].as<T>()[2 * r + 1];
      const T meanG =
          perColumn * sumLanes<T>(d, [=](int64_t i, auto n) { return loadPart(dy + i, n) * loadPart(gamma + i, n); });
      const T meanGX = perColumn * sumLanes<T>(d, [=](int64_t i, auto n) {
                         return loadPart(dy + i, n) * loadPart(gamma + i, n) * ((loadPart(s + i, n) - mean) * rstd);
                       });
      T* dx = call.out[0].as<T>() + r * d;
      forLanes<T>(d, [=](int64_t i, auto n) {
        const Vec<T> upstream = loadPart(dy + i, n), normal = (loadPart(s + i, n) - mean) * rstd;
        Vec<T> v = rstd * (upstream * loadPart(gamma + i, n) - meanG - normal * meanGX);
        if (dsum) v += loadPart(dsum + r * d + i, n);
        storePart(dx + i, v, n);
        if (wantGamma) storePart(partGamma + i, loadPart(partGamma + i, n) + upstream * normal, n);
        if (wantBeta) storePart(partBeta + i, loadPart(partBeta + i, n) + upstream, n);
      });
    }
  });
  for (int which = 0; which < 2; ++which) {
    if (!call.in[5 + which].present()) continue;
    T* gradient = call.in[5 + which].as<T>();
    forBlocks(d, 128, [&](int64_t begin, int64_t end) {
      forLanes<T>(end - begin, [&](int64_t i, auto n) {
        Vec<T> sum{};
        for (int64_t b = 0; b < blocks; ++b) sum += loadPart(partial + (2 * b + which) * d + begin + i, n);
        storePart(gradient + begin + i, loadPart(gradient + begin + i, n) + sum, n);
      });
    });
  }
  return 0;
}

// a, b [count].
template <class T>
static T dot(const T* a, const T* b, int64_t count) {
  Vec<T> sum[4] = {};
  int64_t i = 0;
  for (; i + 4 * kLanes<T> <= count; i += 4 * kLanes<T>)
    for (int k = 0; k < 4; ++k) sum[k] += load(a + i + k * kLanes<T>) * load(b + i + k * kLanes<T>);
  forLanes<T>(count - i, [&](int64_t k, auto n) { sum[0] += loadPart(a + i + k, n) * loadPart(b + i + k, n); });
  return addLanes<T>((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

// x, y [T, d], norm [T].
template <class T>
int32_t l2Normalize(const OpCall& call, char*) {
  const T eps = static_cast<T>(call.as<params::l2Normalize>().eps);
  const int64_t d = call.in[0].columns();
  forBlocks(call.in[0].rows(), rowBlock(d), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const T* x = call.in[0].as<T>() + r * d;
      T* y = call.out[0].as<T>() + r * d;
      const T length = std::sqrt(dot(x, x, d));
      const T norm = length < eps ? eps : length;  // NaN stays
      call.out[1].as<T>()[r] = norm;
      const T inverse = T{1} / norm;
      forLanes<T>(d, [=](int64_t i, auto n) { storePart(y + i, loadPart(x + i, n) * inverse, n); });
    }
  });
  return 0;
}

// y, dy, dx [T, d], norm [T].
template <class T>
int32_t l2NormalizeBackward(const OpCall& call, char*) {
  const T eps = static_cast<T>(call.as<params::l2NormalizeBackward>().eps);
  const int64_t d = call.in[0].columns();
  forBlocks(call.in[0].rows(), rowBlock(d), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const T *y = call.in[0].as<T>() + r * d, *dy = call.in[2].as<T>() + r * d;
      const T norm = call.in[1].as<T>()[r];
      const T along = norm > eps ? dot(y, dy, d) : T{0};
      const T inverse = T{1} / norm;
      T* dx = call.out[0].as<T>() + r * d;
      forLanes<T>(d, [=](int64_t i, auto n) {
        storePart(dx + i, (loadPart(dy + i, n) - loadPart(y + i, n) * along) * inverse, n);
      });
    }
  });
  return 0;
}

LF_INSTANTIATE(l2Normalize);
LF_INSTANTIATE(l2NormalizeBackward);
LF_INSTANTIATE(layerNorm);
LF_INSTANTIATE(layerNormBackward);

}  // namespace lateforge::cpu::LF_ISA::kernels

namespace lateforge::cpu::LF_ISA::needs {

template <class T>
int64_t layerNormBackward(const OpCall& call) {
  if (!call.in[5].present() && !call.in[6].present()) return 0;
  return divideUp(call.in[0].rows(), kernels::kPartialRows) * 2 * call.in[0].columns() *
         static_cast<int64_t>(sizeof(T));
}

LF_INSTANTIATE_NEED(layerNormBackward);

}  // namespace lateforge::cpu::LF_ISA::needs
