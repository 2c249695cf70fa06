// The seed of a native test that draws random numbers: LATEFORGE_TEST_SEED when it is set, 1 in CI, else a fresh one.
// It is printed, so that any failure can be repeated. The host emulation schedules by it too. test/seed.ts follows the
// same rule.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>

namespace lateforge::testing {

inline unsigned testSeed() {
  static const unsigned seed = [] {
    unsigned value;
    if (const char* text = std::getenv("LATEFORGE_TEST_SEED")) {
      char* end;
      value = static_cast<unsigned>(std::strtoul(text, &end, 10));
      if (end == text || *end) {
        std::fprintf(stderr, "LATEFORGE_TEST_SEED is \"%s\", expected a whole number\n", text);
        std::exit(2);
      }
    } else {
      value = std::getenv("CI") ? 1 : std::random_device{}();
    }
    std::printf("LATEFORGE_TEST_SEED=%u\n", value);
    setenv("LATEFORGE_EMULATION_SEED", std::to_string(value).c_str(), 0);
    return value;
  }();
  return seed;
}

// Before the first launch, whether or not the test draws anything itself.
inline const unsigned drawnAtStart = testSeed();

}  // namespace lateforge::testing
