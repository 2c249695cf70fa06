// MaxSim on CUDA: what its kernels share on the device (native/ops/maxsim/cpu.cc is the specification).
#pragma once

#include "../../cuda/device/math.cuh"
#include "../../cuda/device/thread.cuh"
#include "../../cuda/segments.cuh"
#include "../list.h"

namespace lateforge::cuda {

// A score is the sum of the sums of each kPart rows of its query, in order: every kernel adds in this order, so that a
// pair has the same score in every layout.
constexpr int kPart = 32;

template <class T>
struct MaxsimTokens {
  Dev<const T> data;  // [rows, dim]
  Dev<const int64_t> segments;
  int64_t rows, sequences, dim;

  LF_DEVICE int64_t begin(int64_t s) const { return segments[s]; }
  LF_DEVICE int64_t length(int64_t s) const { return segments[s + 1] - segments[s]; }
};

// The (query, document) pairs of a layout; for all pairs, pair i · documents + j.
struct PairList {
  Layout layout;
  Dev<const int64_t> values;  // offsets of the groups, or query, document, query, document, …
  int64_t queries, documents, count;

  LF_DEVICE int64_t query(int64_t pair) const {
    if (layout == Layout::all) return pair / documents;
    return layout == Layout::pairs ? values[2 * pair] : sequenceOf(values, queries, pair);
  }
  LF_DEVICE int64_t document(int64_t pair) const {
    if (layout == Layout::all) return pair % documents;
    return layout == Layout::pairs ? values[2 * pair + 1] : pair;
  }
};

// The token that won each query row: one of these types (core chooses). The largest value is written for none, −1.
struct ArgmaxWriter {
  Dev<uint8_t> bytes;
  Dev<uint16_t> narrow;
  Dev<int32_t> wide;

  LF_DEVICE void put(int64_t at, int64_t token) const {
    if (bytes)
      bytes[at] = static_cast<uint8_t>(token);
    else if (narrow)
      narrow[at] = static_cast<uint16_t>(token);
    else if (wide)
      wide[at] = static_cast<int32_t>(token < 0 ? 0x7fffffff : token);
  }
};
struct ArgmaxReader {
  Dev<const uint8_t> bytes;
  Dev<const uint16_t> narrow;
  Dev<const int32_t> wide;

  // −1 for what is no token of its document, which has `tokens`: none, or an index that would lead out of it.
  LF_DEVICE int32_t at(int64_t at, int64_t tokens) const {
    const uint32_t token = bytes ? bytes[at] : narrow ? narrow[at] : static_cast<uint32_t>(wide[at]);
    return token < static_cast<uint64_t>(tokens) ? static_cast<int32_t>(token) : -1;
  }
};

// One inner product as a chain of fused multiply-adds in the order of the features, as on the CPU.
template <class T>
LF_DEVICE float innerProduct(Dev<const T> a, Dev<const T> b, int64_t dim) {
  float sum = 0;
  for (int64_t k = 0; k < dim; ++k) sum = fusedMultiplyAdd(widen(a[k]), widen(b[k]), sum);
  return sum;
}

}  // namespace lateforge::cuda
