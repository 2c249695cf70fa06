#include "peak.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>

#include "../core/backend.h"
#include "table.h"
#include "team.h"

namespace lateforge::cpu {
namespace {

// Independent chains of multiply-adds in registers (a multiply and an addition each for
// the portable instructions).
#define LF_CHAIN(op, r, n) op " %%" r "14, %%" r "15, %%" r #n "\n"
#define LF_CHAINS(op, r)                                                                                             \
  LF_CHAIN(op, r, 0)                                                                                                 \
  LF_CHAIN(op, r, 1)                                                                                                 \
  LF_CHAIN(op, r, 2)                                                                                                 \
  LF_CHAIN(op, r, 3)                                                                                                 \
  LF_CHAIN(op, r, 4)                                                                                                 \
  LF_CHAIN(op, r, 5) LF_CHAIN(op, r, 6) LF_CHAIN(op, r, 7) LF_CHAIN(op, r, 8) LF_CHAIN(op, r, 9) LF_CHAIN(op, r, 10) \
      LF_CHAIN(op, r, 11)
#define LF_STEP(n) "mulps %%xmm14, %%xmm" #n "\n addps %%xmm15, %%xmm" #n "\n"
#define LF_STEPS \
  LF_STEP(0)     \
  LF_STEP(1)     \
  LF_STEP(2) LF_STEP(3) LF_STEP(4) LF_STEP(5) LF_STEP(6) LF_STEP(7) LF_STEP(8) LF_STEP(9) LF_STEP(10) LF_STEP(11)
#define LF_USED \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm14", "xmm15"

void chains(const char* isa, int64_t rounds) {
  if (std::strcmp(isa, "avx512") == 0)
    for (int64_t i = 0; i < rounds; ++i) asm volatile(LF_CHAINS("vfmadd231ps", "zmm")::: LF_USED);
  else if (std::strcmp(isa, "avx2") == 0)
    for (int64_t i = 0; i < rounds; ++i) asm volatile(LF_CHAINS("vfmadd231ps", "ymm")::: LF_USED);
  else
    for (int64_t i = 0; i < rounds; ++i) asm volatile(LF_STEPS::: LF_USED);
}

}  // namespace

double measurePeak(double seconds) {
  char error[kErrorBytes];
  const Isa* isa = chooseIsa(error);
  if (!isa) return 0;
  const int lanes = std::strcmp(isa->name, "avx512") == 0 ? 16 : std::strcmp(isa->name, "avx2") == 0 ? 8 : 4;
  constexpr int64_t kRounds = 2000000;
  const int threads = Team::instance().threads();
  using Clock = std::chrono::steady_clock;
  double best = 1e30;
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  do {
    const auto start = Clock::now();
    Team::instance().parallel(threads, [&](int64_t) { chains(isa->name, kRounds); });
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  } while (Clock::now() < end);
  return 2.0 * lanes * 12 * kRounds * threads / best;
}

}  // namespace lateforge::cpu
