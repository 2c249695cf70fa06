// Checks and shapes: dense layers.
#include "../shapes.h"

namespace lateforge {

Status infer_linear(const params::linear&, const Meta* in, Inferred& r) {
  LF_TRY(checkReal("linear: x", in[0], 2));
  LF_TRY(checkReal("linear: w", in[1], 2));
  LF_REQUIRE(in[0].dims[1] == in[1].dims[1], "ERR_SHAPE", "linear: x %s does not fit w %s (expected [out, in])",
             in[0].text().c_str(), in[1].text().c_str());
  LF_REQUIRE(in[0].dtype == in[1].dtype, "ERR_DTYPE", "linear: x %s and w %s must have one type", in[0].text().c_str(),
             in[1].text().c_str());
  if (in[2].present()) LF_TRY(checkSame("linear: b", in[2], Meta::of(in[1].dtype, {in[1].dims[0]})));
  r.out[0] = Meta::of(in[0].dtype, {in[0].dims[0], in[1].dims[0]});
  return Status::fine();
}

Status infer_linearBackward(const params::linearBackward& p, const Meta* in, Inferred& r) {
  Inferred forward;
  const Meta product[] = {in[0], in[1], Meta{}};
  LF_TRY(infer_linear({}, product, forward));
  LF_TRY(checkSame("linearBackward: dy", in[2], forward.out[0]));
  LF_TRY(checkGradient("linearBackward: dw", in[3], in[1]));
  if (in[4].present())
    LF_TRY(checkSame("linearBackward: db", in[4], Meta::of(accumulatorOf(in[1].dtype), {in[1].dims[0]})));
  if (p.needInput) r.out[0] = like(in[0]);
  return Status::fine();
}

// int8 [out / 32, in / 4, 32, 4], rounded up.
static Meta packedShape(int64_t out, int64_t in) { return Meta::of(DType::i8, {(out + 31) / 32, (in + 3) / 4, 32, 4}); }

Status infer_packInt8(const params::packInt8&, const Meta* in, Inferred& r) {
  LF_TRY(checkReal("packInt8: w", in[0], 2));
  r.out[0] = packedShape(in[0].dims[0], in[0].dims[1]);
  r.out[1] = Meta::of(in[0].dtype, {in[0].dims[0]});
  return Status::fine();
}

Status infer_linearInt8(const params::linearInt8&, const Meta* in, Inferred& r) {
  const Meta &x = in[0], &scales = in[2];
  LF_TRY(checkReal("linearInt8: x", x, 2));
  LF_TRY(checkSame("linearInt8: scales", scales, Meta::of(x.dtype, {scales.dims[0]})));
  LF_TRY(checkSame("linearInt8: packed", in[1], packedShape(scales.dims[0], x.dims[1])));
  // A sum of so many products of int8, and 128 times a sum of int8, stay below 2^31.
  LF_REQUIRE(x.dims[1] <= 65536, "ERR_SHAPE", "linearInt8: x %s has rows of more than 65536 numbers", x.text().c_str());
  if (in[3].present()) LF_TRY(checkSame("linearInt8: b", in[3], scales));
  r.out[0] = Meta::of(x.dtype, {x.dims[0], scales.dims[0]});
  return Status::fine();
}

}  // namespace lateforge
