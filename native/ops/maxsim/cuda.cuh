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
  Dev<const T> data;            // [rows, dim]
  Dev<const int64_t> segments;  // [sequences + 1]
  int64_t rows, sequences, dim;

  LF_DEVICE int64_t begin(int64_t s) const { return segments[s]; }
  LF_DEVICE int64_t length(int64_t s) const { return segments[s + 1] - segments[s]; }
};

// The (query, document) pairs of a layout; for all pairs, pair i · documents + j.
struct PairList {
  Layout layout;
  Dev<const int64_t> values;  // offsets of the groups [queries + 1], or query, document [count, 2]
  int64_t queries, documents, count;

  // Every step-th of [first, last).
  struct Range {
    int64_t first, last, step;
  };

  LF_DEVICE int64_t query(int64_t pair) const {
    if (layout == Layout::all) return pair / documents;
    return layout == Layout::pairs ? values[2 * pair] : sequenceOf(values, queries, pair);
  }
  LF_DEVICE int64_t document(int64_t pair) const {
    if (layout == Layout::all) return pair % documents;
    return layout == Layout::pairs ? values[2 * pair + 1] : pair;
  }
  // Where the pairs of a query are, and those of a document; of a list, where others may be too.
  LF_DEVICE Range ofQuery(int64_t i) const {
    if (layout == Layout::all) return {i * documents, (i + 1) * documents, 1};
    if (layout == Layout::grouped) return {values[i], values[i + 1], 1};
    return {0, count, 1};
  }
  LF_DEVICE Range ofDocument(int64_t j) const {
    if (layout == Layout::all) return {j, count, documents};
    if (layout == Layout::grouped) return {j, j + 1, 1};
    return {0, count, 1};
  }
};

// The token that won each query row, [documents, q.rows] of all pairs, else pair by pair: one of these types (core
// chooses). The largest value is written for none, −1.
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

// What a gradient kernel is given.
template <class T>
struct Gradient {
  MaxsimTokens<T> q, d;
  PairList pairs;
  Dev<const int64_t> starts;  // [count]: where each pair's winners start; null for all pairs
  ArgmaxReader argmax;
  Dev<const float> dscores;  // [count]
  Dev<float> sum;            // dq [q.rows, dim] or dd [d.rows, dim], added to
};

// One inner product as a chain of fused multiply-adds in the order of the features, as on the CPU.
template <class T>
LF_DEVICE float innerProduct(Dev<const T> a, Dev<const T> b, int64_t dim) {
  float sum = 0;
  for (int64_t k = 0; k < dim; ++k) sum = fusedMultiplyAdd(widen(a[k]), widen(b[k]), sum);
  return sum;
}

}  // namespace lateforge::cuda
