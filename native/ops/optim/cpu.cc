// sumSquares: blocks of 4096 elements, each summed in double to the workspace, then added in order.
// AdamW (Loshchilov & Hutter, 2019) as torch.optim.AdamW: p −= lr·wd·p; m, v exponential means of g, g²;
// p −= lr / (1 − β₁ᵗ) · m / (√(v / (1 − β₂ᵗ)) + eps). The gradient is first multiplied by
// min(1, clip / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_ does. A norm that is not finite changes nothing.
#include "../../cpu/kernels.h"
#include "../../cpu/loops.h"

namespace lateforge::cpu::LF_ISA::kernels {

constexpr int64_t kBlock = 4096;

// x [n], y [1]; workspace double [blocks].
template <class T>
int32_t sumSquares(const OpCall& call, char*) {
  const T* x = call.in[0].as<T>();
  double* partial = static_cast<double*>(call.workspace);
  const int64_t count = call.in[0].count(), blocks = divideUp(count, kBlock);
  forBlocks(count, 16 * kBlock, [&](int64_t first, int64_t last) {
    for (int64_t begin = first; begin < last; begin += kBlock) {
      const int64_t size = last - begin < kBlock ? last - begin : kBlock;
      Vec<T> sum[4] = {};
      forLanes<T>(size, [&](int64_t i, auto n) {
        const Vec<T> v = loadPart(x + begin + i, n);
        sum[i / kLanes<T> % 4] += v * v;
      });
      double total = 0;
      for (int k = 0; k < 4; ++k)
        for (int i = 0; i < kLanes<T>; ++i) total += static_cast<double>(sum[k][i]);
      partial[begin / kBlock] = total;
    }
  });
  double total = 0;
  for (int64_t b = 0; b < blocks; ++b) total += partial[b];
  *call.out[0].as<T>() = static_cast<T>(total);
  return 0;
}

// param, grad, m, v [n]; squaredNorm [1] or absent; segments [groups + 1] of n; rates [groups, 2]: learning rate,
// decay.
template <class T>
int32_t adamw(const OpCall& call, char*) {
  const auto& p = call.as<params::adamw>();
  double clip = 1;
  if (call.in[4].present()) {
    const double norm = std::sqrt(static_cast<double>(*call.in[4].as<T>()));
    if (!std::isfinite(norm)) return 0;
    if (p.clip > 0 && p.clip < norm + 1e-6) clip = p.clip / (norm + 1e-6);
  }
  const int64_t* segments = call.in[5].as<int64_t>();
  const T* groups = call.in[6].as<T>();
  const double step = static_cast<double>(p.step);
  const T beta1 = static_cast<T>(p.beta1), beta2 = static_cast<T>(p.beta2), eps = static_cast<T>(p.eps);
  const T rest1 = static_cast<T>(1 - p.beta1), rest2 = static_cast<T>(1 - p.beta2), factor = static_cast<T>(clip);
  const double correct1 = 1 / (1 - std::pow(p.beta1, step));
  const T correct2 = static_cast<T>(1 / (1 - std::pow(p.beta2, step)));
  T *w = call.in[0].as<T>(), *m = call.in[2].as<T>(), *v = call.in[3].as<T>();
  const T* g = call.in[1].as<T>();
  const int64_t sequences = call.in[5].count() - 1;
  forBlocks(call.in[0].count(), 4 * kElementBlock, [&](int64_t begin, int64_t end) {
    for (int64_t s = 0; s < sequences; ++s) {
      const int64_t from = segments[s] > begin ? segments[s] : begin,
                    to = segments[s + 1] < end ? segments[s + 1] : end;
      if (from >= to) continue;
      const double rate = static_cast<double>(groups[2 * s]) * p.scale;
      const T shrink = static_cast<T>(1 - rate * static_cast<double>(groups[2 * s + 1]));
      const T size = static_cast<T>(rate * correct1);
      forLanes<T>(to - from, [=](int64_t k, auto n) {
        const int64_t i = from + k;
        const Vec<T> gradient = loadPart(g + i, n) * factor;
        const Vec<T> first = loadPart(m + i, n) * beta1 + gradient * rest1;
        const Vec<T> second = loadPart(v + i, n) * beta2 + gradient * gradient * rest2;
        storePart(m + i, first, n);
        storePart(v + i, second, n);
        storePart(w + i, loadPart(w + i, n) * shrink - size * first / (squareRoot(second * correct2) + eps), n);
      });
    }
  });
  return 0;
}

LF_INSTANTIATE(sumSquares);
LF_INSTANTIATE(adamw);

}  // namespace lateforge::cpu::LF_ISA::kernels

namespace lateforge::cpu::LF_ISA::needs {

template <class T>
int64_t sumSquares(const OpCall& call) {
  return divideUp(call.in[0].count(), kernels::kBlock) * static_cast<int64_t>(sizeof(double));
}

LF_INSTANTIATE_NEED(sumSquares);

}  // namespace lateforge::cpu::LF_ISA::needs
