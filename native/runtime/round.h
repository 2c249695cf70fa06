// Whole numbers of pieces.
#pragma once

#include <cstdint>

namespace lateforge {

constexpr int64_t divideUp(int64_t n, int64_t by) { return (n + by - 1) / by; }
constexpr int64_t roundUp(int64_t n, int64_t to) { return divideUp(n, to) * to; }

}  // namespace lateforge
