// MaxSim on a GPU, kernel time by device events: float16, medians of warm calls and of calls after the L2 cache was
// overwritten, TFLOP/s and their share of what mma.sync alone reaches in the same run. A JSON line per shape.
// It has been compiled, never run: there was no GPU at hand.
// Usage: maxsim_ladder [calls per measurement]
#include <cstdlib>

#include "../../test/native/cuda/maxsim_problem.h"
#include "clock.h"

namespace lateforge::testing {
namespace {

struct Shape {
  const char* name;
  Layout layout;
  int64_t queries, queryTokens, documents, documentTokens;
};

void measure(const Shape& s, Clock& clock, double ceiling, int64_t sharedLimit) {
  Problem p{.queries = Lengths(static_cast<size_t>(s.queries), s.queryTokens),
            .documents = Lengths(static_cast<size_t>(s.documents), s.documentTokens),
            .dim = 128,
            .layout = s.layout,
            .what = s.name};
  if (s.layout == Layout::groups) p.pairs = offsetsOf(Lengths(p.queries.size(), s.documents / s.queries));
  fill<cuda::F16>(p, false);
  Runner<cuda::F16> run(p);
  run.sharedLimit = sharedLimit;
  const double pairs =
      static_cast<double>(s.documents) * (s.layout == Layout::all ? static_cast<double>(s.queries) : 1);
  const double flops = 2.0 * 128 * pairs * static_cast<double>(s.queryTokens) * static_cast<double>(s.documentTokens);
  Median forward, winners, backward;
  run.prepared([&](const auto& scores, const auto& scoresAndWinners, const auto& gradients) {
    forward = clock(scores);
    winners = clock(scoresAndWinners);
    backward = clock(gradients);
  });
  const double rate = flops / forward.warm * 1e-9;
  std::printf(
      "{\"shape\":\"%s\",\"forward_ms\":%.4f,\"forward_flushed_ms\":%.4f,\"tflops\":%.1f,\"of_mma_sync\":%.3f,"
      "\"winners_ms\":%.4f,\"backward_ms\":%.4f,\"backward_flushed_ms\":%.4f}\n",
      s.name, forward.warm, forward.flushed, rate, rate / ceiling, winners.warm, backward.warm, backward.flushed);
  std::fflush(stdout);
}

}  // namespace
}  // namespace lateforge::testing

int main(int argc, char** argv) {
  using namespace lateforge;
  using namespace lateforge::testing;
  cudaDeviceProp properties;
  if (cudaGetDeviceProperties(&properties, 0) != cudaSuccess) {
    std::printf("no CUDA device\n");
    return 1;
  }
  Clock clock(argc > 1 ? std::atoi(argv[1]) : 100);
  const double ceiling = ceilingOf<cuda::F16>(clock, properties.multiProcessorCount);
  std::printf("{\"device\":\"%s\",\"multiprocessors\":%d,\"mma_sync_tflops\":%.1f}\n", properties.name,
              properties.multiProcessorCount, ceiling);
  const Shape shapes[] = {
      {"rerank-1k", Layout::all, 1, 32, 1000, 300},     {"rerank-10k", Layout::all, 1, 32, 10000, 300},
      {"pages-1k", Layout::all, 1, 1024, 1000, 1024},   {"distil-16x32", Layout::groups, 16, 32, 512, 180},
      {"batch-64", Layout::all, 64, 32, 64, 180},       {"batch-128", Layout::all, 128, 32, 128, 300},
      {"batch-512", Layout::all, 512, 32, 512, 180},    {"batch-512-long", Layout::all, 512, 32, 512, 300},
      {"batch-1024", Layout::all, 1024, 32, 1024, 180},
  };
  for (const Shape& shape : shapes)
    measure(shape, clock, ceiling, static_cast<int64_t>(properties.sharedMemPerBlockOptin));
  return failures ? 1 : 0;
}
