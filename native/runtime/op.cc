#include "op.h"

#include <algorithm>

namespace lateforge {

bool Meta::countable() const {
  double most = 1;
  for (const int64_t d : dims) {
    if (d < 0) return false;
    most *= static_cast<double>(d > 0 ? d : 1);
  }
  return most <= 1e15;
}

std::string Meta::text() const {
  if (!present()) return "nothing";
  std::string text = std::string(nameOf(dtype)) + " [";
  for (int i = 0; i < rank; ++i) text += (i ? ", " : "") + std::to_string(dims[i]);
  return text + "]";
}

Meta Meta::of(DType dtype, std::initializer_list<int64_t> dims) {
  Meta meta;
  meta.dtype = dtype;
  meta.rank = 0;
  for (int64_t d : dims) meta.dims[meta.rank++] = d;
  return meta;
}

View viewOf(const Meta& meta, void* data) {
  View view;
  view.data = data;
  view.dtype = meta.dtype;
  view.rank = meta.rank;
  std::copy_n(meta.dims, kMaxRank, view.dims);
  if (meta.facts && meta.facts->values) view.longest = longest(meta);
  return view;
}

int64_t longest(const Meta& segments) {
  int64_t most = 0;
  const auto& v = *segments.facts->values;
  for (size_t i = 1; i < v.size(); ++i) most = std::max(most, v[i] - v[i - 1]);
  return most;
}

}  // namespace lateforge
