// The rungs of bench/cuda/maxsim_ladder.cu that no op chooses: kernels with fewer stacked rows have the same scores.
#include "../../../native/ops/maxsim/mma.cuh"
#include "maxsim_problem.h"

using namespace lateforge;
using namespace lateforge::cuda;
using namespace lateforge::testing;

namespace {

template <int kRowWarps>
int32_t stacked(const OpCall& call, Context& context) {
  using Kernel = TensorMaxsim<F16, 8, kRowWarps, 1, false>;
  const MaxsimCall m = callOf(call, Layout::all, call.out[0].count());
  return runTiles<Kernel, F16>(call, context, m, cutOf(m, Kernel::kRows, kMultiprocessors));
}

void fewerRows() {
  const Lengths documents{70, 0, 1, 64, 129};
  for (const Lengths& queries : {Lengths(9, 32), Lengths{20, 300, 7}, Lengths{32}}) {
    Problem p{.queries = queries, .documents = documents, .dim = 104, .what = "fewer rows"};
    fill<F16>(p, false);
    const Runner<F16> run(p);
    const std::vector<float> want = run.scores(ops::maxsim);
    for (const CudaOp op : {stacked<1>, stacked<2>, stacked<4>})
      CHECK(run.scores(op) == want, "other scores, %zu queries", queries.size());
  }
}

}  // namespace

int main(int argc, char** argv) { return runSuites("cuda ladder", argc, argv, {{"fewerRows", fewerRows}}); }
