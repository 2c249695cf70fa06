// Packed sequences: rows [segments[s], segments[s + 1]) belong to sequence s.
#pragma once

#include "device/platform.cuh"

namespace lateforge::cuda {

// The sequence of a row.
LF_DEVICE int64_t sequenceOf(Dev<const int64_t> segments, int64_t sequences, int64_t row) {
  int64_t s = 0;
  for (int64_t above = sequences; above - s > 1;) {
    const int64_t middle = (s + above) / 2;
    (segments[middle] <= row ? s : above) = middle;
  }
  // Empty sequences share their start with the one that has the row, which is the last of them.
  return s;
}

}  // namespace lateforge::cuda
