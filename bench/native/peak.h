// What benches share: a clock, the fastest of several calls, and the processor's peak.
#pragma once

#include <time.h>

#include <algorithm>
#include <cstdint>

#include "../../native/cpu/peak.h"
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

}  // namespace lateforge::testing
