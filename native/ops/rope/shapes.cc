// Checks and shapes: rotary positions.
#include "../shapes.h"

namespace lateforge {

Status infer_rope(const params::rope& p, const Meta* in, Inferred&) {
  LF_TRY(checkReal("rope: x", in[0], 2));
  LF_TRY(checkSegments("rope: segments", in[1], in[0].dims[0]));
  LF_REQUIRE(p.heads > 0 && p.heads <= in[0].dims[1] && in[0].dims[1] % (3 * p.heads) == 0, "ERR_SHAPE",
             "rope: %s is no [T, 3 · %lld heads · head dim]", in[0].text().c_str(), static_cast<long long>(p.heads));
  const int64_t headDim = in[0].dims[1] / (3 * p.heads);
  LF_REQUIRE(in[2].rank == 2 && in[2].dtype == accumulatorOf(in[0].dtype) && in[2].dims[1] == headDim, "ERR_SHAPE",
             "rope: table must be [positions, %lld] (cosines, then sines), got %s", static_cast<long long>(headDim),
             in[2].text().c_str());
  LF_REQUIRE(longest(in[1]) <= in[2].dims[0], "ERR_SHAPE",
             "rope: a sequence of %lld tokens, but the table ends at %lld", static_cast<long long>(longest(in[1])),
             static_cast<long long>(in[2].dims[0]));
  return Status::fine();
}

}  // namespace lateforge
