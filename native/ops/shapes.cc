// Checks and shapes: what several ops share.
#include "shapes.h"

#include <algorithm>

namespace lateforge {

Status checkReal(const char* what, const Meta& m, int rank) {
  LF_REQUIRE(isReal(m.dtype), "ERR_DTYPE", "%s must be real, got %s", what, m.text().c_str());
  LF_REQUIRE(m.rank == rank, "ERR_SHAPE", "%s must have rank %d, got %s", what, rank, m.text().c_str());
  return Status::fine();
}

Status checkSame(const char* what, const Meta& m, const Meta& expected) {
  LF_REQUIRE(
      m.dtype == expected.dtype && m.rank == expected.rank && std::equal(m.dims, m.dims + kMaxRank, expected.dims),
      m.dtype == expected.dtype ? "ERR_SHAPE" : "ERR_DTYPE", "%s must be %s, got %s", what, expected.text().c_str(),
      m.text().c_str());
  return Status::fine();
}

Status checkIndices(const char* what, const Meta& m, int64_t bound) {
  LF_REQUIRE(m.dtype == DType::i32 && m.rank == 1, "ERR_DTYPE", "%s must be int32 [n], got %s", what, m.text().c_str());
  LF_REQUIRE(m.facts, "ERR_ARGUMENT", "%s must come from the host, so that its range is known", what);
  LF_REQUIRE(m.count() == 0 || (m.facts->min >= 0 && m.facts->max < bound), "ERR_ARGUMENT",
             "%s holds values in [%lld, %lld], expected [0, %lld)", what, static_cast<long long>(m.facts->min),
             static_cast<long long>(m.facts->max), static_cast<long long>(bound));
  return Status::fine();
}

Status checkSegments(const char* what, const Meta& m, int64_t rows) {
  LF_REQUIRE(m.dtype == DType::i64 && m.rank == 1 && m.facts && m.facts->values && m.dims[0] >= 1, "ERR_DTYPE",
             "%s must be segments (int64 offsets from the host), got %s", what, m.text().c_str());
  const auto& v = *m.facts->values;
  LF_REQUIRE(v.front() == 0 && v.back() == rows && std::is_sorted(v.begin(), v.end()), "ERR_SHAPE",
             "%s must start at 0, never fall and end at %lld rows, but spans %lld to %lld", what,
             static_cast<long long>(rows), static_cast<long long>(v.front()), static_cast<long long>(v.back()));
  return Status::fine();
}

Status checkSequences(const char* what, const Meta& m, int64_t count) {
  LF_TRY(checkSegments(what, m, m.facts && m.facts->values && !m.facts->values->empty() ? m.facts->values->back() : 0));
  LF_REQUIRE(m.dims[0] == count + 1, "ERR_SHAPE", "%s: segments of %lld sequences, expected %lld", what,
             static_cast<long long>(m.dims[0] - 1), static_cast<long long>(count));
  return Status::fine();
}

Status checkGradient(const char* what, const Meta& gradient, const Meta& parameter) {
  return gradient.present() ? checkSame(what, gradient, gradientOf(parameter)) : Status::fine();
}

}  // namespace lateforge
