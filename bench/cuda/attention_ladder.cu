// Attention on a GPU in bfloat16, kernel time by device events: medians of warm calls and of calls after the L2 cache
// was overwritten, TFLOP/s and their share of what mma.sync alone reaches in the same run. Only products of pairs that
// see each other count, two a pair forward and five backward (the kernels make seven). A JSON line per shape.
// It has been compiled, never run: there was no GPU at hand.
// Usage: attention_ladder [calls per measurement]
#include "../../test/native/cuda/attention_problem.h"
#include "clock.h"

namespace lateforge::testing {
namespace {

struct Shape {
  const char* name;
  int64_t length, heads, headDim, window;
  double dropout;
};

// 32,768 tokens in sequences of about the same length.
Case caseOf(const Shape& s) {
  Case c{{}, {}, s.heads, s.headDim, s.window, s.dropout};
  for (int64_t left = 32768; left > 0; left -= c.lengths.back()) {
    const int64_t n = s.length * number(80, 120) / 100;
    c.lengths.push_back(n < left ? n : left);
  }
  return c;
}

double pairsOf(const Case& c) {
  double pairs = 0;
  for (const int64_t n : c.lengths)
    for (int64_t q = 0; q < n; ++q) {
      const int64_t low = c.window < 0 || q < c.window ? 0 : q - c.window;
      const int64_t high = c.window < 0 || q + c.window + 1 > n ? n : q + c.window + 1;
      pairs += static_cast<double>(high - low);
    }
  return pairs;
}

void measure(const Shape& s, Clock& clock, double ceiling, int64_t sharedLimit) {
  const Case c = caseOf(s);
  const Runner<cuda::Bf16> run(c, inputsOf<cuda::Bf16>(c), sharedLimit);
  const Median forward = clock([&] { run.forward(); }), backward = clock([&] { run.backward(); });
  const double flops = 2.0 * pairsOf(c) * static_cast<double>(s.headDim * s.heads);
  const double forwardRate = 2 * flops / forward.warm * 1e-9, backwardRate = 5 * flops / backward.warm * 1e-9;
  std::printf(
      "{\"shape\":\"%s\",\"forward_ms\":%.4f,\"forward_flushed_ms\":%.4f,\"forward_tflops\":%.1f,"
      "\"forward_of_mma_sync\":%.3f,\"backward_ms\":%.4f,\"backward_flushed_ms\":%.4f,\"backward_tflops\":%.1f,"
      "\"backward_of_mma_sync\":%.3f}\n",
      s.name, forward.warm, forward.flushed, forwardRate, forwardRate / ceiling, backward.warm, backward.flushed,
      backwardRate, backwardRate / ceiling);
  std::fflush(stdout);
}

}  // namespace
}  // namespace lateforge::testing

int main(int argc, char** argv) {
  using namespace lateforge;
  using namespace lateforge::testing;
  const Shape shapes[] = {
      {"queries-32", 32, 12, 64, -1, 0},         {"documents-180", 180, 12, 64, -1, 0},
      {"documents-180-w64", 180, 12, 64, 64, 0}, {"documents-300", 300, 12, 64, -1, 0},
      {"documents-512", 512, 12, 64, -1, 0},     {"pages-1k", 1024, 12, 64, -1, 0},
      {"pages-8k", 8192, 12, 64, -1, 0},         {"pages-8k-w64", 8192, 12, 64, 64, 0},
      {"minilm-180", 180, 12, 32, -1, 0},        {"bert-180-dropout", 180, 12, 64, -1, 0.1},
  };
  return ladder<cuda::Bf16>(argc, argv, 50, [&](Clock& clock, double ceiling, int64_t sharedLimit) {
    for (const Shape& shape : shapes) measure(shape, clock, ceiling, sharedLimit);
  });
}
