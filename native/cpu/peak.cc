#include "peak.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>

#include "../runtime/backend.h"
#include "table.h"
#include "team.h"

namespace lateforge::cpu {
namespace {

// Independent chains of multiply-adds in registers: more than units times cycles of one.
#define LF_TWELVE(step) \
  step(0) step(1) step(2) step(3) step(4) step(5) step(6) step(7) step(8) step(9) step(10) step(11)

#if defined(__x86_64__)
constexpr int kChains = 12;
#define LF_XMM(n) "mulps %%xmm14, %%xmm" #n "\n addps %%xmm15, %%xmm" #n "\n"  // a multiply and an addition
#define LF_YMM(n) "vfmadd231ps %%ymm14, %%ymm15, %%ymm" #n "\n"
#define LF_ZMM(n) "vfmadd231ps %%zmm14, %%zmm15, %%zmm" #n "\n"
#define LF_USED \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm14", "xmm15"

void chains(const char* isa, int64_t rounds) {
  if (std::strcmp(isa, "avx512") == 0)
    for (int64_t i = 0; i < rounds; ++i) asm volatile(LF_TWELVE(LF_ZMM)::: LF_USED);
  else if (std::strcmp(isa, "avx2") == 0)
    for (int64_t i = 0; i < rounds; ++i) asm volatile(LF_TWELVE(LF_YMM)::: LF_USED);
  else
    for (int64_t i = 0; i < rounds; ++i) asm volatile(LF_TWELVE(LF_XMM)::: LF_USED);
}
#elif defined(__aarch64__)
constexpr int kChains = 24;
#define LF_NEON(n) "fmla v" #n ".4s, v30.4s, v31.4s\n"
#define LF_MORE(step) \
  step(12) step(13) step(14) step(15) step(16) step(17) step(18) step(19) step(20) step(21) step(22) step(23)

void chains(const char*, int64_t rounds) {
  for (int64_t i = 0; i < rounds; ++i)
    asm volatile(LF_TWELVE(LF_NEON) LF_MORE(LF_NEON)::
                     : "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14",
                       "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v30", "v31");
}
#else
#error "peak.cc has no multiply-add of this processor"
#endif

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
  return 2.0 * lanes * kChains * kRounds * threads / best;
}

}  // namespace lateforge::cpu
