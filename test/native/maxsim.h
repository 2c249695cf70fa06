// What tests of MaxSim share: queries, documents and pairs, and the op on them.
#pragma once

#include <utility>

#include "harness.h"

namespace lateforge::testing {

struct Problem {
  Tensor q, qSegments, d, dSegments, pairs;
  Layout layout = Layout::all;
  bool clampNegatives = false;
  std::vector<std::pair<int64_t, int64_t>> list;  // (query, document) in the order of the winners
};

inline int64_t total(const std::vector<int64_t>& lengths) {
  int64_t sum = 0;
  for (int64_t n : lengths) sum += n;
  return sum;
}

// Pairs: `pairs` are offsets for groups, (query, document)… for pairs.
template <class T>
Problem problem(const std::vector<int64_t>& queries, const std::vector<int64_t>& documents, int64_t dim, Layout layout,
                std::mt19937& rng, const std::vector<int64_t>& pairs = {}) {
  Problem p;
  const double unit = 1 / std::sqrt(static_cast<double>(dim));
  p.q = random<T>({total(queries), dim}, rng, unit);
  p.d = random<T>({total(documents), dim}, rng, unit);
  p.qSegments = segments(queries);
  p.dSegments = segments(documents);
  p.layout = layout;
  const int64_t nq = static_cast<int64_t>(queries.size()), nd = static_cast<int64_t>(documents.size());
  if (layout == Layout::all)
    for (int64_t j = 0; j < nd; ++j)
      for (int64_t i = 0; i < nq; ++i) p.list.push_back({i, j});
  if (layout != Layout::all) p.pairs = make<int64_t>({static_cast<int64_t>(pairs.size())}, pairs);
  if (layout == Layout::grouped)
    for (int64_t i = 0; i < nq; ++i)
      for (int64_t j = pairs[i]; j < pairs[i + 1]; ++j) p.list.push_back({i, j});
  if (layout == Layout::pairs)
    for (size_t k = 0; k < pairs.size(); k += 2) p.list.push_back({pairs[k], pairs[k + 1]});
  return p;
}

template <class T>
const cpu::Kernels* tableOf(const cpu::Isa& isa) {
  return sizeof(T) == 4 ? isa.floats : isa.doubles;
}

template <class T>
std::vector<Tensor> forward(const cpu::Isa& isa, Problem& p, bool argmax) {
  return run(tableOf<T>(isa), Op::maxsim, params::maxsim{static_cast<int64_t>(p.layout), argmax, p.clampNegatives},
             {&p.q, &p.qSegments, &p.d, &p.dSegments, &p.pairs});
}

}  // namespace lateforge::testing
