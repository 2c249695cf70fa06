// Checks and shapes: the largest products.
#include "../shapes.h"

namespace lateforge {

Status infer_nearest(const params::nearest& p, const Meta* in, Inferred& r) {
  const Meta &x = in[0], &w = in[1];
  LF_TRY(checkReal("nearest: x", x, 2));
  LF_TRY(checkReal("nearest: w", w, 2));
  LF_REQUIRE(x.dims[1] == w.dims[1], "ERR_SHAPE", "nearest: x %s does not fit w %s (expected [rows, d])",
             x.text().c_str(), w.text().c_str());
  LF_REQUIRE(x.dtype == w.dtype, "ERR_DTYPE", "nearest: x %s and w %s must have one type", x.text().c_str(),
             w.text().c_str());
  LF_REQUIRE(p.most >= 1 && p.most <= w.dims[0], "ERR_ARGUMENT",
             "nearest: most is %lld, expected 1 to the %lld rows of w", static_cast<long long>(p.most),
             static_cast<long long>(w.dims[0]));
  LF_REQUIRE(w.dims[0] <= INT32_MAX, "ERR_SHAPE", "nearest: w %s has more rows than an int32 counts", w.text().c_str());
  r.out[0] = Meta::of(x.dtype, {x.dims[0], p.most});
  r.out[1] = Meta::of(DType::i32, {x.dims[0], p.most});
  return Status::fine();
}

Status infer_nearestWithin(const params::nearestWithin& p, const Meta* in, Inferred& r) {
  const Meta &x = in[0], &w = in[1], &chosen = in[4];
  LF_TRY(checkReal("nearestWithin: x", x, 2));
  LF_TRY(checkSame("nearestWithin: w", w, Meta::of(DType::i8, {w.dims[0], x.dims[1]})));
  LF_TRY(checkSame("nearestWithin: scales", in[2], Meta::of(accumulatorOf(x.dtype), {w.dims[0]})));
  LF_TRY(checkSegments("nearestWithin: cells", in[3], w.dims[0]));
  LF_TRY(checkSame("nearestWithin: chosen", chosen, Meta::of(DType::i32, {x.dims[0], chosen.dims[1]})));
  LF_REQUIRE(p.most >= 1 && p.most <= w.dims[0], "ERR_ARGUMENT",
             "nearestWithin: most is %lld, expected 1 to the %lld rows of w", static_cast<long long>(p.most),
             static_cast<long long>(w.dims[0]));
  LF_REQUIRE(w.dims[0] <= INT32_MAX, "ERR_SHAPE", "nearestWithin: w %s has more rows than an int32 counts",
             w.text().c_str());
  r.out[0] = Meta::of(x.dtype, {x.dims[0], p.most});
  r.out[1] = Meta::of(DType::i32, {x.dims[0], p.most});
  return Status::fine();
}

}  // namespace lateforge
