// Which of the kernels of maxsim_mma.cuh run.
#include "mma.cuh"

namespace lateforge::cuda {
namespace {

template <class T, int kSteps, bool kArgmax>
int32_t run(const OpCall& call, Context& context, const MaxsimCall& m) {
  using Stacked = TensorMaxsim<T, kSteps, 8, 1, kArgmax>;
  using Single = TensorMaxsim<T, kSteps, 1, 4, kArgmax>;
  static_assert(Stacked::kRows >= kStackedRows);
  if (worthStacking(m.layout, m.queries, m.parts()))
    return runTiles<Stacked, T>(call, context, m, cutOf(m, Stacked::kRows, kMultiprocessors));
  return runTiles<Single, T>(call, context, m, cutOf(m, 0, 2 * kMultiprocessors));
}

template <class T, int kSteps>
int32_t choose(const OpCall& call, Context& context, const MaxsimCall& m) {
  return call.out[1].present() ? run<T, kSteps, true>(call, context, m) : run<T, kSteps, false>(call, context, m);
}

template <class T>
int32_t chooseSteps(const OpCall& call, Context& context, const MaxsimCall& m) {
  if (m.dim <= 48) return choose<T, 3>(call, context, m);
  if (m.dim <= 64) return choose<T, 4>(call, context, m);
  if (m.dim <= 96) return choose<T, 6>(call, context, m);
  return choose<T, 8>(call, context, m);
}

}  // namespace

bool fitsTensorCores(const OpCall& call, const MaxsimCall& m) {
  const View &q = call.in[0], &d = call.in[2];
  return sizeOf(q.dtype) == 2 && m.dim <= 128 && aligned(q, d) && m.pairs.count && m.queryTokens && m.documentTokens;
}

int32_t maxsimOnTensorCores(const OpCall& call, Context& context, const MaxsimCall& m) {
  return call.in[0].dtype == DType::f16 ? chooseSteps<F16>(call, context, m) : chooseSteps<Bf16>(call, context, m);
}

}  // namespace lateforge::cuda
