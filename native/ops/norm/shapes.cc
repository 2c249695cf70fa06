// Checks and shapes: normalisation.
#include "../shapes.h"

namespace lateforge {

// Rows of length 1 made from bfloat16 are float16, which is eight times finer between −1 and 1 and costs the same;
// their gradient is float32.
Status infer_l2Normalize(const params::l2Normalize&, const Meta* in, Inferred& r) {
  LF_TRY(checkReal("l2Normalize: x", in[0], 2));
  LF_REQUIRE(in[0].dtype != DType::f16, "ERR_DTYPE", "l2Normalize: x is %s, expected bfloat16 or wider",
             in[0].text().c_str());
  r.out[0] = like(in[0]);
  if (in[0].dtype == DType::bf16) r.out[0].dtype = DType::f16;
  r.out[1] = Meta::of(accumulatorOf(in[0].dtype), {in[0].dims[0]});
  return Status::fine();
}

Status infer_l2NormalizeBackward(const params::l2NormalizeBackward&, const Meta* in, Inferred& r) {
  LF_TRY(checkReal("l2NormalizeBackward: y", in[0], 2));
  LF_TRY(checkSame("l2NormalizeBackward: norm", in[1], Meta::of(accumulatorOf(in[0].dtype), {in[0].dims[0]})));
  LF_TRY(checkSame("l2NormalizeBackward: dy", in[2], gradientOf(in[0])));
  r.out[0] = like(in[0]);
  if (in[0].dtype == DType::f16) r.out[0].dtype = DType::bf16;
  return Status::fine();
}

// Rows as those of x, of its type or of that of its sums.
static Status checkStream(const char* what, const Meta& m, const Meta& x) {
  return m.dtype == x.dtype ? checkSame(what, m, x) : checkSame(what, m, gradientOf(x));
}

Status infer_layerNorm(const params::layerNorm& p, const Meta* in, Inferred& r) {
  LF_TRY(checkReal("layerNorm: x", in[0], 2));
  if (in[1].present()) LF_TRY(checkStream("layerNorm: residual", in[1], in[0]));
  LF_TRY(checkReal("layerNorm: gamma", in[2], 1));
  LF_REQUIRE(in[2].dtype == in[0].dtype, "ERR_DTYPE", "layerNorm: x %s and gamma %s must have one type",
             in[0].text().c_str(), in[2].text().c_str());
  LF_REQUIRE(in[2].dims[0] == in[0].dims[1], "ERR_SHAPE", "layerNorm: gamma %s does not fit x %s", in[2].text().c_str(),
             in[0].text().c_str());
  if (in[3].present()) LF_TRY(checkSame("layerNorm: beta", in[3], in[2]));
  LF_REQUIRE(p.eps > 0, "ERR_ARGUMENT", "layerNorm: eps is %g, expected > 0", p.eps);
  r.out[0] = like(in[0]);
  if (in[1].present()) r.out[1] = gradientOf(in[0]);
  r.out[2] = Meta::of(accumulatorOf(in[0].dtype), {in[0].dims[0], 2});
  LF_REQUIRE(!p.wantNextResidual || in[0].dtype != accumulatorOf(in[0].dtype), "ERR_ARGUMENT",
             "layerNorm: of %s, y is as wide as sums are", nameOf(in[0].dtype));
  if (p.wantNextResidual) r.out[3] = gradientOf(in[0]);
  return Status::fine();
}

Status infer_layerNormBackward(const params::layerNormBackward&, const Meta* in, Inferred& r) {
  LF_TRY(checkReal("layerNormBackward: dy", in[3], 2));
  LF_TRY(checkReal("layerNormBackward: gamma", in[1], 1));
  LF_REQUIRE(in[1].dtype == in[3].dtype, "ERR_DTYPE", "layerNormBackward: dy %s and gamma %s must have one type",
             in[3].text().c_str(), in[1].text().c_str());
  LF_REQUIRE(in[1].dims[0] == in[3].dims[1], "ERR_SHAPE", "layerNormBackward: gamma %s does not fit %s",
             in[1].text().c_str(), in[3].text().c_str());
  LF_TRY(checkStream("layerNormBackward: sum", in[0], in[3]));
  LF_TRY(checkSame("layerNormBackward: stats", in[2], Meta::of(accumulatorOf(in[3].dtype), {in[3].dims[0], 2})));
  if (in[4].present()) LF_TRY(checkSame("layerNormBackward: dsum", in[4], in[3]));
  LF_TRY(checkGradient("layerNormBackward: dgamma", in[5], in[1]));
  LF_TRY(checkGradient("layerNormBackward: dbeta", in[6], in[1]));
  r.out[0] = like(in[3]);
  return Status::fine();
}

}  // namespace lateforge
