// What MaxSim on the CPU, and its backward, are given: tokens, and which queries meet which documents.
#pragma once

#include <algorithm>

#include "../../cpu/kernels.h"

namespace lateforge::cpu::LF_ISA {

template <class T>
struct Tokens {
  const T* data;            // [rows, dim]
  const int64_t* segments;  // [sequences + 1]
  int64_t dim;
  const T* row(int64_t i) const { return data + i * dim; }
};

// The (query, document) pairs of the groups and pairs layouts.
struct PairList {
  Layout layout;
  const int64_t* values;  // offsets of the groups, or query, document, query, document, …
  int64_t queries, count;

  int64_t query(int64_t pair) const {
    if (layout == Layout::pairs) return values[2 * pair];
    return std::upper_bound(values, values + queries + 1, pair) - values - 1;
  }
  int64_t document(int64_t pair) const { return layout == Layout::pairs ? values[2 * pair + 1] : pair; }
};

inline PairList pairsOf(const OpCall& call, Layout layout) {
  const int64_t nq = call.in[1].dims[0] - 1, nd = call.in[3].dims[0] - 1;
  if (layout == Layout::all) return {layout, nullptr, nq, 0};
  return {layout, call.in[4].as<int64_t>(), nq, layout == Layout::grouped ? nd : call.in[4].dims[0] / 2};
}

// starts [P + 1]: where each pair's winners start.
inline void startsOf(const PairList& pairs, const int64_t* qSegments, int64_t* starts) {
  starts[0] = 0;
  for (int64_t k = 0; k < pairs.count; ++k) {
    const int64_t i = pairs.query(k);
    starts[k + 1] = starts[k] + qSegments[i + 1] - qSegments[i];
  }
}

}  // namespace lateforge::cpu::LF_ISA
