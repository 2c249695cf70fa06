// MaxSim on a GPU, rung by rung: every version of the kernels that mattered, kernel time by device events, float16,
// medians of warm calls and of calls after the L2 cache was overwritten, and the share of what mma.sync alone reaches
// in the same run. A JSON line per shape and rung; every rung must give the bits of the kernels in use.
// bench/cuda/table.mjs makes the table of docs/cuda.md of it. It has been compiled, never run: there was no GPU at
// hand. Usage: maxsim_ladder [calls per measurement]
#include "../../native/ops/maxsim/mma.cuh"
#include "../../test/native/cuda/maxsim_problem.h"
#include "clock.h"

namespace lateforge::testing {
namespace {

using cuda::Context;
using cuda::F16;

struct Shape {
  const char* name;
  Layout layout;
  int64_t queries, queryTokens, documents, documentTokens;
};

// The tensor-core kernel with 32 · kRowWarps stacked rows in a block, or one query whose tokens kTokenWarps warps
// share.
template <int kRowWarps, int kTokenWarps>
int32_t variant(const OpCall& call, Context& context) {
  using Kernel = cuda::TensorMaxsim<F16, 8, kRowWarps, kTokenWarps, false>;
  const cuda::MaxsimCall m = cuda::callOf(call, Layout::all, call.out[0].count());
  constexpr int64_t kBlocks = 8 / (kRowWarps * kTokenWarps);  // of a multiprocessor, for eight warps
  return cuda::runTiles<Kernel, F16>(
      call, context, m, cuda::cutOf(m, kTokenWarps == 1 ? Kernel::kRows : 0, kBlocks * cuda::kMultiprocessors));
}
int32_t cores(const OpCall& call, Context& context) {
  return cuda::maxsimOnCores(call, context, cuda::callOf(call, Layout::all, call.out[0].count()));
}

struct Rung {
  const char* name;
  cuda::CudaOp op;
  const char* lesson;  // what it is there to show
};
constexpr Rung kRungs[] = {
    {"simt", cores, "ordinary cores, 4 x 4 products a lane: what float32 costs"},
    {"rows-32", variant<1, 1>,
     "one query a block, as published kernels have it: every 32 rows read all documents from L2"},
    {"rows-64", variant<2, 1>, "half of that traffic"},
    {"rows-128", variant<4, 1>, "a quarter"},
    {"rows-256", variant<8, 1>, "an eighth, below what the tensor cores wait for: in use for many queries"},
    {"few-queries", variant<1, 4>, "four warps share the tokens of one query: in use for up to three queries"},
};

class Report {
 public:
  Report(const char* shape, double flops, double ceiling) : shape_(shape), flops_(flops), ceiling_(ceiling) {}
  void operator()(const char* rung, Median time, const char* lesson) const {
    const double rate = flops_ / time.warm * 1e-9;
    std::printf(
        "{\"shape\":\"%s\",\"rung\":\"%s\",\"ms\":%.4f,\"flushed_ms\":%.4f,\"tflops\":%.1f,"
        "\"of_mma_sync\":%.3f,\"lesson\":\"%s\"}\n",
        shape_, rung, time.warm, time.flushed, rate, rate / ceiling_, lesson);
    std::fflush(stdout);
  }

 private:
  const char* shape_;
  double flops_, ceiling_;
};

void measure(const Shape& s, Clock& clock, double ceiling, int64_t sharedLimit) {
  Problem p{.queries = Lengths(static_cast<size_t>(s.queries), s.queryTokens),
            .documents = Lengths(static_cast<size_t>(s.documents), s.documentTokens),
            .dim = 128,
            .layout = s.layout,
            .what = s.name};
  if (s.layout == Layout::grouped) p.pairs = offsetsOf(Lengths(p.queries.size(), s.documents / s.queries));
  fill<F16>(p, false);
  Runner<F16> run(p);
  run.sharedLimit = sharedLimit;
  const bool all = s.layout == Layout::all;
  const double pairs = static_cast<double>(s.documents) * (all ? static_cast<double>(s.queries) : 1);
  const double flops = 2.0 * 128 * pairs * static_cast<double>(s.queryTokens) * static_cast<double>(s.documentTokens);
  const Report report(s.name, flops, ceiling);
  run.prepared([&](const auto& scores, const auto& scoresAndWinners, const auto& gradients) {
    scoresAndWinners();
    report("in-use", clock(scores), "the op, with the kernels that it chooses");
    report("winners", clock(scoresAndWinners), "the same with the best token of every row");
    report("gradients", clock(gradients), "both gradients by owner; TFLOP/s are the forward's operations");
    run.sharedLimit = 99 * 1024;
    if (all) report("gradients-99k", clock(gradients), "fewer rows of a document's gradient in a block's memory");
    run.sharedLimit = sharedLimit;
    if (flops > 2e12) return;  // seconds a call
    useReference(true);
    report("reference", clock(scores), "a lane for a row: the reference");
    report("reference-gradients", clock(gradients), "a lane for an output, which goes over all pairs");
    useReference(false);
  });
  if (!all) return;
  const std::vector<float> want = run.scores(cuda::ops::maxsim);
  for (const Rung& rung : kRungs) {
    if (rung.op == cores && flops > 2e13) continue;
    const std::vector<float> got = run.scores(rung.op);
    double most = 0;
    for (size_t k = 0; k < want.size(); ++k) most = std::max(most, static_cast<double>(std::abs(got[k] - want[k])));
    CHECK(most <= (rung.op == cores ? 1e-3 : 0), "%s, %s: other scores, by %g", s.name, rung.name, most);
    run.prepared([&](const auto& scores, const auto&, const auto&) {
      report(rung.name, clock([&] { scores(rung.op); }), rung.lesson);
    });
  }
}

}  // namespace
}  // namespace lateforge::testing

int main(int argc, char** argv) {
  using namespace lateforge;
  using namespace lateforge::testing;
  const Shape shapes[] = {
      {"rerank-1k", Layout::all, 1, 32, 1000, 300},     {"rerank-10k", Layout::all, 1, 32, 10000, 300},
      {"pages-1k", Layout::all, 1, 1024, 1000, 1024},   {"distil-16x32", Layout::grouped, 16, 32, 512, 180},
      {"batch-64", Layout::all, 64, 32, 64, 180},       {"batch-128", Layout::all, 128, 32, 128, 300},
      {"batch-512", Layout::all, 512, 32, 512, 180},    {"batch-512-long", Layout::all, 512, 32, 512, 300},
      {"batch-1024", Layout::all, 1024, 32, 1024, 180}, {"infonce-block", Layout::all, 1024, 32, 4096, 180},
  };
  return ladder<F16>(argc, argv, 30, [&](Clock& clock, double ceiling, int64_t sharedLimit) {
    for (const Shape& shape : shapes) measure(shape, clock, ceiling, sharedLimit);
  });
}
