// The kernel behind reductions over ranks.
#pragma once

#include "../../cuda/op.h"

namespace lateforge::cuda {

// out[i] = the sum, or the largest, of parts[r][i] over ranks r in their order, the same bits as
// native/distributed/rank_sum.h; `parts` holds `count` float32 or float64 of each rank. `out` lies outside of them.
// Returns as an op does.
int32_t combineRanks(Context& context, bool largest, DType dtype, void* out, const void* parts, int64_t count,
                     int32_t ranks);

}  // namespace lateforge::cuda
