// Checks and shapes: element by element.
#include "../shapes.h"

#include <algorithm>

namespace lateforge {

Status infer_zero(const params::zero&, const Meta*, Inferred&) { return Status::fine(); }

Status infer_copyRows(const params::copyRows& p, const Meta* in, Inferred&) {
  const Meta &x = in[0], &y = in[1];
  LF_REQUIRE(x.dtype == y.dtype && x.rank == y.rank && std::equal(x.dims + 1, x.dims + kMaxRank, y.dims + 1),
             "ERR_SHAPE", "copyRows: x and y must differ in rows only, got %s and %s", x.text().c_str(),
             y.text().c_str());
  LF_REQUIRE(p.row >= 0 && p.row <= y.dims[0] - x.dims[0], "ERR_SHAPE",
             "copyRows: %lld rows at row %lld do not fit in %s", static_cast<long long>(x.dims[0]),
             static_cast<long long>(p.row), y.text().c_str());
  return Status::fine();
}

Status infer_add(const params::add&, const Meta* in, Inferred& r) {
  LF_TRY(checkSame("add: b", in[1], in[0]));
  r.out[0] = like(in[0]);
  return Status::fine();
}

Status infer_addInto(const params::addInto&, const Meta* in, Inferred&) {
  return checkSame("addInto: y", in[1], in[0]);
}

Status infer_scale(const params::scale&, const Meta* in, Inferred& r) {
  LF_REQUIRE(isReal(in[0].dtype), "ERR_DTYPE", "scale: x must be real, got %s", in[0].text().c_str());
  if (in[1].present()) LF_TRY(checkSame("scale: factor", in[1], Meta::of(accumulatorOf(in[0].dtype), {1})));
  r.out[0] = like(in[0]);
  return Status::fine();
}

Status infer_rescale(const params::rescale& p, const Meta* in, Inferred&) {
  Inferred unused;
  return infer_scale({p.by}, in, unused);
}

Status infer_cast(const params::cast&, const Meta* in, Inferred&) {
  const Meta &x = in[0], &y = in[1];
  LF_REQUIRE(isReal(x.dtype) && isReal(y.dtype), "ERR_DTYPE", "cast: x and y must be real, got %s and %s",
             x.text().c_str(), y.text().c_str());
  LF_REQUIRE(x.rank == y.rank && std::equal(x.dims, x.dims + kMaxRank, y.dims), "ERR_SHAPE",
             "cast: x and y must have one shape, got %s and %s", x.text().c_str(), y.text().c_str());
  return Status::fine();
}

static Status checkKind(const char* op, int64_t kind) {
  LF_REQUIRE(kind >= 0 && kind <= static_cast<int64_t>(Activation::silu), "ERR_ARGUMENT", "%s: unknown activation %lld",
             op, static_cast<long long>(kind));
  return Status::fine();
}

Status infer_activation(const params::activation& p, const Meta* in, Inferred& r) {
  LF_TRY(checkKind("activation", p.kind));
  LF_TRY(checkReal("activation: x", in[0], 2));
  r.out[0] = like(in[0]);
  return Status::fine();
}

Status infer_activationBackward(const params::activationBackward& p, const Meta* in, Inferred& r) {
  LF_TRY(checkKind("activationBackward", p.kind));
  LF_TRY(checkReal("activationBackward: x", in[0], 2));
  LF_TRY(checkSame("activationBackward: dy", in[1], in[0]));
  r.out[0] = like(in[0]);
  return Status::fine();
}

Status infer_geglu(const params::geglu& p, const Meta* in, Inferred& r) {
  LF_TRY(checkKind("geglu", p.kind));
  LF_TRY(checkReal("geglu: x", in[0], 2));
  LF_REQUIRE(in[0].dims[1] % 2 == 0, "ERR_SHAPE", "geglu: x must have an even number of columns, got %s",
             in[0].text().c_str());
  r.out[0] = Meta::of(in[0].dtype, {in[0].dims[0], in[0].dims[1] / 2});
  return Status::fine();
}

Status infer_gegluBackward(const params::gegluBackward& p, const Meta* in, Inferred& r) {
  Inferred forward;
  LF_TRY(infer_geglu({p.kind}, in, forward));
  LF_TRY(checkSame("gegluBackward: dy", in[1], forward.out[0]));
  r.out[0] = like(in[0]);
  return Status::fine();
}

Status infer_dropout(const params::dropout& p, const Meta* in, Inferred& r) {
  LF_TRY(checkReal("dropout: x", in[0], 2));
  LF_TRY(checkSegments("dropout: segments", in[1], in[0].dims[0]));
  LF_TRY(checkSame("dropout: seeds", in[2], Meta::of(DType::i32, {in[1].dims[0] - 1, 2})));
  LF_REQUIRE(p.p >= 0 && p.p < 1, "ERR_ARGUMENT", "dropout: p is %g, expected [0, 1)", p.p);
  r.out[0] = like(in[0]);
  return Status::fine();
}

Status infer_assertFinite(const params::assertFinite&, const Meta* in, Inferred&) {
  LF_REQUIRE(isReal(in[0].dtype), "ERR_DTYPE", "assertFinite: x must be real, got %s", in[0].text().c_str());
  return Status::fine();
}

}  // namespace lateforge
