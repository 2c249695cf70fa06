// MaxSim on the CPU: GFLOP/s and share of the multiply-add peak measured in the same process, with and without argmax,
// and what the backward costs. A count of queries x documents of given token counts, dim 128, float32.
// Usage: maxsim_bench [seconds per measurement]
#include "../../test/native/harness.h"
#include "peak.h"

namespace lateforge::testing {
namespace {

struct Shape {
  const char* name;
  Layout layout;
  int64_t queries, queryTokens, documents, documentTokens;
};

void measure(const cpu::Isa& isa, const Shape& s, double peak, double budget) {
  constexpr int64_t kDim = 128;
  std::mt19937 rng(1);
  const double unit = 1 / std::sqrt(static_cast<double>(kDim));
  Tensor q = random<float>({s.queries * s.queryTokens, kDim}, rng, unit);
  Tensor d = random<float>({s.documents * s.documentTokens, kDim}, rng, unit);
  Tensor qSegments = segments(std::vector<int64_t>(s.queries, s.queryTokens));
  Tensor dSegments = segments(std::vector<int64_t>(s.documents, s.documentTokens));
  Tensor groups;
  if (s.layout == Layout::grouped) groups = segments(std::vector<int64_t>(s.queries, s.documents / s.queries));
  const double pairs = static_cast<double>(s.documents) * (s.layout == Layout::all ? s.queries : 1);
  const double flops = 2.0 * kDim * pairs * s.queryTokens * s.documentTokens;
  const int64_t layout = static_cast<int64_t>(s.layout);
  std::vector<Tensor> out;
  const auto forward = [&](int64_t argmax) {
    out = run(isa.floats, Op::maxsim, params::maxsim{layout, argmax, 0}, {&q, &qSegments, &d, &dSegments, &groups});
  };
  const double plain = fastest(budget, [&] { forward(0); }), withArgmax = fastest(budget, [&] { forward(1); });
  Tensor dq = q, dd = d;
  const double backward = fastest(budget, [&] {
    run(isa.floats, Op::maxsimBackward, params::maxsimBackward{layout},
        {&q, &qSegments, &d, &dSegments, &groups, &out[1], &out[0], &dq, &dd});
  });
  std::printf(
      "%-8s %-28s %9.3f ms %7.1f GFLOP/s %5.1f %% of peak   argmax %+5.1f %%   backward %8.3f ms %5.1f %% of forward\n",
      isa.name, s.name, plain * 1e3, flops / plain * 1e-9, 100 * flops / plain / peak, 100 * (withArgmax / plain - 1),
      backward * 1e3, 100 * backward / plain);
}

}  // namespace
}  // namespace lateforge::testing

int main(int argc, char** argv) {
  using namespace lateforge;
  using namespace lateforge::testing;
  const double budget = argc > 1 ? std::atof(argv[1]) : 0.5;
  char error[kErrorBytes];
  const cpu::Isa* isa = cpu::chooseIsa(error);
  if (!isa) {
    std::printf("%s\n", error);
    return 1;
  }
  const double top = cpu::measurePeak(budget);
  std::printf("%s, %d threads, multiply-add peak %.1f GFLOP/s\n", isa->name, cpu::Team::instance().threads(),
              top * 1e-9);
  const Shape shapes[] = {
      {"all 64x64, 32x180", Layout::all, 64, 32, 64, 180},
      {"all 64x64, 32x300", Layout::all, 64, 32, 64, 300},
      {"all 1x1000, 32x300", Layout::all, 1, 32, 1000, 300},
      {"all 1x1000, 48x300", Layout::all, 1, 48, 1000, 300},
      {"all 128x16, 32x180", Layout::all, 128, 32, 16, 180},
      {"all 512x512, 32x180", Layout::all, 512, 32, 512, 180},
      {"groups 16x32, 32x180", Layout::grouped, 16, 32, 16 * 32, 180},
  };
  for (const Shape& shape : shapes) measure(*isa, shape, top, budget);
}
