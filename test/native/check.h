// Checks of native tests, and what a program of them reports.
#pragma once

#include <cstdio>

namespace lateforge::testing {

inline int failures = 0, checks = 0;

#define CHECK(condition, ...)                                         \
  do {                                                                \
    ++::lateforge::testing::checks;                                   \
    if (!(condition)) {                                               \
      ++::lateforge::testing::failures;                               \
      std::printf("FAIL %s:%d %s: ", __FILE__, __LINE__, #condition); \
      std::printf(__VA_ARGS__);                                       \
      std::printf("\n");                                              \
    }                                                                 \
  } while (0)

inline int finish(const char* name) {
  std::printf("%s: %d checks, %d failed\n", name, checks, failures);
  return failures ? 1 : 0;
}

}  // namespace lateforge::testing
