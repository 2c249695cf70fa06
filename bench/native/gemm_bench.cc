// Matrix products at the shapes of the small encoders: GFLOP/s and share of the multiply-add peak, measured beside each
// row because machines change their clock. T tokens × out × in; NT is the forward, NN the gradient of the input, TN
// (accumulating) the gradient of the weight. One thread, then all. LATEFORGE_ISA and LATEFORGE_MATMUL choose; the peak
// is that of float32 either way.
// With -DLF_BENCH_BLAS and a CBLAS to link, the same calls to it on one thread (serial BLIS: BLIS_ARCH_TYPE=0 is skx).
// Usage: gemm_bench [seconds per measurement]
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "../../native/cpu/gemm.h"
#include "../../native/cpu/table.h"
#include "../../test/native/harness.h"
#include "peak.h"
#ifdef LF_BENCH_BLAS
#include <cblas.h>
#endif

using namespace lateforge;
using namespace lateforge::cpu;
using namespace lateforge::testing;

namespace {

void product(const std::string& isa, const Gemm<float>& g) {
  const auto run = [&](auto sizeOf, auto multiply) {
    static Bytes workspace;
    const int64_t bytes = sizeOf(g.form, g.m, g.n, g.k);
    if (static_cast<int64_t>(workspace.size()) < bytes) workspace.resize(static_cast<size_t>(bytes));
    multiply(g, workspace.data(), static_cast<int64_t>(workspace.size()));
  };
#if defined(__x86_64__)
  if (isa == "avx512") return run(avx512::gemmWorkspace<float>, avx512::gemm<float>);
  if (isa == "avx2") return run(avx2::gemmWorkspace<float>, avx2::gemm<float>);
#endif
  run(portable::gemmWorkspace<float>, portable::gemm<float>);
}

#ifdef LF_BENCH_BLAS
void blas(const Gemm<float>& g) {
  cblas_sgemm(CblasRowMajor, g.form == Form::TN ? CblasTrans : CblasNoTrans,
              g.form == Form::NT ? CblasTrans : CblasNoTrans, static_cast<int>(g.m), static_cast<int>(g.n),
              static_cast<int>(g.k), 1, g.a, static_cast<int>(g.lda), g.b, static_cast<int>(g.ldb),
              g.accumulate ? 1 : 0, g.c, static_cast<int>(g.ldc));
}
#endif

void measure(const std::string& isa, int64_t tokens, int64_t out, int64_t in, double budget) {
  std::mt19937 rng(1);
  std::normal_distribution<float> normal;
  const auto noise = [&](int64_t count) {
    std::vector<float> values(static_cast<size_t>(count));
    for (float& v : values) v = normal(rng);
    return values;
  };
  std::vector<float> x = noise(tokens * in), y = noise(tokens * out), w = noise(out * in);
  const Gemm<float> products[] = {
      {Form::NT, tokens, out, in, x.data(), in, w.data(), in, y.data(), out},
      {Form::NN, tokens, in, out, y.data(), out, w.data(), in, x.data(), in},
      {Form::TN, out, in, tokens, y.data(), out, x.data(), in, w.data(), in, true},
  };
  const double flops = 2e-9 * static_cast<double>(tokens * out * in);
  for (Gemm<float> g : products) {
    g.factors = factors();
    const double top = 1e-9 * cpu::measurePeak(budget / 4);
    const double rate = flops / fastest(budget, [&] { product(isa, g); });
    const double again = 1e-9 * cpu::measurePeak(budget / 4);
    std::printf("   %s %6.1f %3.0f%%",
                g.form == Form::NT   ? "NT"
                : g.form == Form::NN ? "NN"
                                     : "TN",
                rate, 100 * rate / std::max(top, again));
#ifdef LF_BENCH_BLAS
    std::printf(" (blas %6.1f)", flops / fastest(budget, [&] { blas(g); }));
#endif
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const double budget = argc > 1 ? std::atof(argv[1]) : 0.2;
  char error[kErrorBytes];
  const Isa* isa = chooseIsa(error);
  if (!isa) return std::printf("%s\n", error), 1;
  Team& team = Team::instance();
  const int all = team.threads();
  for (int threads = 1; threads <= all; threads += std::max(1, all - 1)) {
    team.setThreads(threads);
    std::printf("%s, %d thread%s, %s, multiply-add peak %.0f GFLOP/s\n", isa->name, threads, threads > 1 ? "s" : "",
                factors() == Factors::exact ? "float32" : "bfloat16", 1e-9 * cpu::measurePeak(budget));
    constexpr int64_t kShapes[][2] = {{768, 256}, {256, 256}, {256, 384}, {128, 256}, {384, 128}, {768, 768}};
    for (int64_t tokens : {2048, 8192})
      for (const auto& s : kShapes) {
        std::printf("%5d x %4d x %4d", static_cast<int>(tokens), static_cast<int>(s[0]), static_cast<int>(s[1]));
        measure(isa->name, tokens, s[0], s[1], budget);
        std::printf("\n");
      }
  }
}
