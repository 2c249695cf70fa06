// Sums and maxima over ranks, always in rank order, so that the bits are the same everywhere.
#pragma once

#include <cstdint>
#include <cstring>

#include "group.h"

namespace lateforge {

template <class T, class Combine>
void combineRanks(T* out, const char* parts, int64_t count, int32_t ranks, const Combine& combine) {
  if (count == 0) return;
  std::memcpy(out, parts, static_cast<size_t>(count) * sizeof(T));
  for (int32_t r = 1; r < ranks; ++r) {
    const T* from = reinterpret_cast<const T*>(parts) + r * count;
    for (int64_t i = 0; i < count; ++i) out[i] = combine(out[i], from[i]);
  }
}

// `parts` holds `count` values of each rank, in rank order.
template <class T>
void reduceRanks(Collective kind, void* out, const char* parts, int64_t count, int32_t ranks) {
  auto* values = static_cast<T*>(out);
  if (kind == Collective::allReduceSum)
    combineRanks(values, parts, count, ranks, [](T a, T b) { return a + b; });
  else  // a NaN wins
    combineRanks(values, parts, count, ranks, [](T a, T b) { return b > a || b != b ? b : a; });
}

}  // namespace lateforge
