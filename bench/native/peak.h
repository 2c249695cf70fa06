// What benches share: a clock, the fastest of several calls, and the most multiply-adds the processor can do.
#pragma once

#include <time.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "../../native/cpu/team.h"

namespace lateforge::testing {

// Seconds. With one thread, of its processor time, so that other work on a shared machine counts less.
inline double now() {
  timespec t;
  clock_gettime(cpu::Team::instance().threads() == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

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
  LF_CHAIN(op, r, 1)                                                                                                \
  LF_CHAIN(op, r, 2)                                                                                                \
  LF_CHAIN(op, r, 3)                                                                                                \
  LF_CHAIN(op, r, 4) LF_CHAIN(op, r, 5) LF_CHAIN(op, r, 6) LF_CHAIN(op, r, 7) LF_CHAIN(op, r, 8) LF_CHAIN(op, r, 9) \
      LF_CHAIN(op, r, 10) LF_CHAIN(op, r, 11)
#define LF_STEP(n) "mulps %%xmm14, %%xmm" #n "\n addps %%xmm15, %%xmm" #n "\n"
#define LF_STEPS \
  LF_STEP(0)     \
  LF_STEP(1)     \
  LF_STEP(2) LF_STEP(3) LF_STEP(4) LF_STEP(5) LF_STEP(6) LF_STEP(7) LF_STEP(8) LF_STEP(9) LF_STEP(10) LF_STEP(11)
#define LF_USED \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm14", "xmm15"

inline void chains(const std::string& isa, int64_t rounds) {
  if (isa == "avx512")
    for (int64_t i = 0; i < rounds; ++i) asm volatile(LF_CHAINS("vfmadd231ps", "zmm")::: LF_USED);
  else if (isa == "avx2")
    for (int64_t i = 0; i < rounds; ++i) asm volatile(LF_CHAINS("vfmadd231ps", "ymm")::: LF_USED);
  else
    for (int64_t i = 0; i < rounds; ++i) asm volatile(LF_STEPS::: LF_USED);
}

// Of the whole team, in operations a second, float32.
inline double peak(const std::string& isa, double budget) {
  const int lanes = isa == "avx512" ? 16 : isa == "avx2" ? 8 : 4;
  constexpr int64_t kRounds = 2000000;
  const int threads = cpu::Team::instance().threads();
  const double seconds =
      fastest(budget, [&] { cpu::Team::instance().parallel(threads, [&](int64_t) { chains(isa, kRounds); }); });
  return 2.0 * lanes * 12 * kRounds * threads / seconds;
}

}  // namespace lateforge::testing
