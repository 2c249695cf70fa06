// Checks and shapes: the optimiser.
#include "../shapes.h"

namespace lateforge {

Status infer_sumSquares(const params::sumSquares&, const Meta* in, Inferred& r) {
  LF_TRY(checkReal("sumSquares: x", in[0], 1));
  r.out[0] = Meta::of(accumulatorOf(in[0].dtype), {1});
  return Status::fine();
}

Status infer_adamw(const params::adamw& p, const Meta* in, Inferred&) {
  LF_TRY(checkReal("adamw: param", in[0], 1));
  const Meta state = Meta::of(accumulatorOf(in[0].dtype), {in[0].dims[0]});
  LF_TRY(checkSame("adamw: grad", in[1], state));
  LF_TRY(checkSame("adamw: m", in[2], state));
  LF_TRY(checkSame("adamw: v", in[3], state));
  if (in[4].present()) LF_TRY(checkSame("adamw: squaredNorm", in[4], Meta::of(state.dtype, {1})));
  LF_TRY(checkSegments("adamw: segments", in[5], in[0].dims[0]));
  LF_TRY(checkSame("adamw: rates", in[6], Meta::of(state.dtype, {in[5].dims[0] - 1, 2})));
  LF_REQUIRE(p.step >= 1, "ERR_ARGUMENT", "adamw: step counts from 1, got %lld", static_cast<long long>(p.step));
  LF_REQUIRE(p.clip <= 0 || in[4].present(), "ERR_ARGUMENT", "adamw: clipping needs the squared norm");
  return Status::fine();
}

}  // namespace lateforge
