// MaxSim on the CPU: GFLOP/s and share of the multiply-add peak measured in the same process, with and without argmax,
// and what the backward costs. A count of queries x documents of given token counts, dim 128, float32.
// Usage: maxsim_bench [seconds per measurement]
#include <algorithm>
#include <chrono>

#include "../../native/cpu/team.h"
#include "../../test/native/harness.h"

namespace lateforge::testing {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Seconds of the fastest call, over at least `budget` seconds of calls.
template <class F>
double fastest(double budget, const F& call) {
  double best = 1e30;
  call();
  for (const double end = now() + budget; now() < end;) {
    const double start = now();
    call();
    best = std::min(best, now() - start);
  }
  return best;
}

// The most the processor can do: independent chains of multiply-adds in registers (a multiply and an addition each for
// the portable instructions).
#define LF_CHAIN(op, r, n) op " %%" r "14, %%" r "15, %%" r #n "\n"
#define LF_CHAINS(op, r)                                                                                            \
  LF_CHAIN(op, r, 0)                                                                                                \
  LF_CHAIN(op, r, 1) LF_CHAIN(op, r, 2) LF_CHAIN(op, r, 3) LF_CHAIN(op, r, 4) LF_CHAIN(op, r, 5) LF_CHAIN(op, r, 6) \
      LF_CHAIN(op, r, 7) LF_CHAIN(op, r, 8) LF_CHAIN(op, r, 9) LF_CHAIN(op, r, 10) LF_CHAIN(op, r, 11)
#define LF_STEP(n) "mulps %%xmm14, %%xmm" #n "\n addps %%xmm15, %%xmm" #n "\n"
#define LF_STEPS                                                                                                 \
  LF_STEP(0)                                                                                                     \
  LF_STEP(1) LF_STEP(2) LF_STEP(3) LF_STEP(4) LF_STEP(5) LF_STEP(6) LF_STEP(7) LF_STEP(8) LF_STEP(9) LF_STEP(10) \
      LF_STEP(11)
#define LF_USED \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm14", "xmm15"

void chains(const std::string& isa, int64_t rounds) {
  if (isa == "avx512")
    for (int64_t i = 0; i < rounds; ++i) asm volatile(LF_CHAINS("vfmadd231ps", "zmm")::: LF_USED);
  else if (isa == "avx2")
    for (int64_t i = 0; i < rounds; ++i) asm volatile(LF_CHAINS("vfmadd231ps", "ymm")::: LF_USED);
  else
    for (int64_t i = 0; i < rounds; ++i) asm volatile(LF_STEPS::: LF_USED);
}

double peak(const std::string& isa, double budget) {
  const int lanes = isa == "avx512" ? 16 : isa == "avx2" ? 8 : 4;
  constexpr int64_t kRounds = 2000000;
  const int threads = cpu::Team::instance().threads();
  const double seconds =
      fastest(budget, [&] { cpu::Team::instance().parallel(threads, [&](int64_t) { chains(isa, kRounds); }); });
  return 2.0 * lanes * 12 * kRounds * threads / seconds;
}

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
  if (s.layout == Layout::groups) groups = segments(std::vector<int64_t>(s.queries, s.documents / s.queries));
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
  const double top = peak(isa->name, budget);
  std::printf("%s, %d threads, multiply-add peak %.1f GFLOP/s\n", isa->name, cpu::Team::instance().threads(),
              top * 1e-9);
  const Shape shapes[] = {
      {"all 64x64, 32x180", Layout::all, 64, 32, 64, 180},
      {"all 64x64, 32x300", Layout::all, 64, 32, 64, 300},
      {"all 1x1000, 32x300", Layout::all, 1, 32, 1000, 300},
      {"all 1x1000, 48x300", Layout::all, 1, 48, 1000, 300},
      {"all 128x16, 32x180", Layout::all, 128, 32, 16, 180},
      {"groups 16x32, 32x180", Layout::groups, 16, 32, 16 * 32, 180},
  };
  for (const Shape& shape : shapes) measure(*isa, shape, top, budget);
}
