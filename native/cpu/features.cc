#include "features.h"

#if defined(__x86_64__)
#include <cpuid.h>

#include <cstdint>
#include <initializer_list>
#endif

namespace lateforge::cpu {

#if defined(__x86_64__)
namespace {

constexpr bool has(uint32_t word, std::initializer_list<int> bits) {
  for (const int bit : bits)
    if (!(word >> bit & 1)) return false;
  return true;
}

// Registers that the operating system keeps for each thread (XCR0). Only where cpuid says OSXSAVE.
uint32_t keptRegisters() {
  uint32_t low, high;
  asm("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

}  // namespace

// Bits as in Intel's manual, volume 2, CPUID, leaves 1 and 7, and volume 1, 13.3 (XCR0).
Features features() {
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return {};
  constexpr int kFma = 12, kOsxsave = 27, kAvx = 28, kF16c = 29;
  if (!has(c, {kFma, kOsxsave, kAvx, kF16c})) return {};
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return {};
  constexpr int kAvx2 = 5, kF = 16, kDq = 17, kBw = 30, kVl = 31;
  constexpr int kSse = 1, kYmm = 2, kMasks = 5, kZmmHalves = 6, kZmmHigh = 7;
  const uint32_t kept = keptRegisters();
  const bool avx2 = has(b, {kAvx2}) && has(kept, {kSse, kYmm});
  const bool avx512 = avx2 && has(b, {kF, kDq, kBw, kVl}) && has(kept, {kMasks, kZmmHalves, kZmmHigh});
  constexpr int kVnni = 11;  // of ecx
  const bool vnni = avx512 && has(c, {kVnni});
  constexpr int kBf16 = 5;  // of eax, leaf 7, subleaf 1
  const bool bf16 = avx512 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && has(a, {kBf16});
  return {avx2, avx512, vnni, bf16};
}
#else
Features features() { return {}; }
#endif

}  // namespace lateforge::cpu
