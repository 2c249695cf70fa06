// Checks and shapes: element-wise ops, rows, reductions, the optimiser.
#include <algorithm>

#include "infer.h"

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

int64_t longest(const Meta& segments) {
  int64_t most = 0;
  const auto& v = *segments.facts->values;
  for (size_t i = 1; i < v.size(); ++i) most = std::max(most, v[i] - v[i - 1]);
  return most;
}

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

Status infer_gatherRows(const params::gatherRows&, const Meta* in, Inferred& r) {
  LF_TRY(checkReal("gatherRows: x", in[0], 2));
  LF_TRY(checkIndices("gatherRows: index", in[1], in[0].dims[0]));
  LF_REQUIRE(in[1].facts->increasing, "ERR_ARGUMENT",
             "gatherRows: index must rise strictly, so that each row has one owner");
  r.out[0] = Meta::of(in[0].dtype, {in[1].dims[0], in[0].dims[1]});
  return Status::fine();
}

Status infer_scatterRows(const params::scatterRows& p, const Meta* in, Inferred& r) {
  LF_TRY(checkReal("scatterRows: dy", in[0], 2));
  LF_TRY(checkIndices("scatterRows: index", in[1], p.rows));
  LF_REQUIRE(in[1].facts->increasing && in[1].dims[0] == in[0].dims[0], "ERR_ARGUMENT",
             "scatterRows: index must rise strictly and name every row of dy");
  r.out[0] = Meta::of(in[0].dtype, {p.rows, in[0].dims[1]});
  return Status::fine();
}

Status infer_poolRows(const params::poolRows& p, const Meta* in, Inferred& r) {
  LF_TRY(checkReal("poolRows: x", in[0], 2));
  LF_TRY(checkSegments("poolRows: segments", in[1], in[0].dims[0]));
  LF_REQUIRE(p.kind == 0 || p.kind == 1, "ERR_ARGUMENT", "poolRows: kind must be 0 (first row) or 1 (mean)");
  r.out[0] = Meta::of(in[0].dtype, {in[1].dims[0] - 1, in[0].dims[1]});
  return Status::fine();
}

Status infer_poolRowsBackward(const params::poolRowsBackward&, const Meta* in, Inferred& r) {
  LF_TRY(checkReal("poolRowsBackward: dy", in[0], 2));
  LF_TRY(checkSequences("poolRowsBackward: segments", in[1], in[0].dims[0]));
  r.out[0] = Meta::of(in[0].dtype, {in[1].facts->values->back(), in[0].dims[1]});
  return Status::fine();
}

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
  LF_TRY(checkSame("adamw: groups", in[6], Meta::of(state.dtype, {in[5].dims[0] - 1, 2})));
  LF_REQUIRE(p.step >= 1, "ERR_ARGUMENT", "adamw: step counts from 1, got %lld", static_cast<long long>(p.step));
  LF_REQUIRE(p.clip <= 0 || in[4].present(), "ERR_ARGUMENT", "adamw: clipping needs the squared norm");
  return Status::fine();
}

Status infer_assertFinite(const params::assertFinite&, const Meta* in, Inferred&) {
  LF_REQUIRE(isReal(in[0].dtype), "ERR_DTYPE", "assertFinite: x must be real, got %s", in[0].text().c_str());
  return Status::fine();
}

}  // namespace lateforge
