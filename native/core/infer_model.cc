// Checks and shapes: the encoder's ops.
#include <algorithm>

#include "infer.h"

namespace lateforge {

static Status checkGradient(const char* what, const Meta& gradient, const Meta& parameter) {
  return gradient.present() ? checkSame(what, gradient, gradientOf(parameter)) : Status::fine();
}

Status infer_embedding(const params::embedding&, const Meta* in, Inferred& r) {
  LF_TRY(checkReal("embedding: table", in[0], 2));
  LF_TRY(checkIndices("embedding: ids", in[1], in[0].dims[0]));
  r.out[0] = Meta::of(in[0].dtype, {in[1].dims[0], in[0].dims[1]});
  return Status::fine();
}

Status infer_embeddingBackward(const params::embeddingBackward&, const Meta* in, Inferred&) {
  LF_TRY(checkReal("embeddingBackward: dy", in[0], 2));
  LF_TRY(checkReal("embeddingBackward: dTable", in[2], 2));
  LF_TRY(checkIndices("embeddingBackward: ids", in[1], in[2].dims[0]));
  LF_REQUIRE(in[2].dtype == accumulatorOf(in[0].dtype), "ERR_DTYPE", "embeddingBackward: dTable must be %s, got %s",
             nameOf(accumulatorOf(in[0].dtype)), in[2].text().c_str());
  LF_REQUIRE(in[1].dims[0] == in[0].dims[0] && in[0].dims[1] == in[2].dims[1], "ERR_SHAPE",
             "embeddingBackward: dy %s, ids %s and dTable %s do not fit", in[0].text().c_str(), in[1].text().c_str(),
             in[2].text().c_str());
  return Status::fine();
}

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
  LF_REQUIRE(!p.wantWide || in[0].dtype != accumulatorOf(in[0].dtype), "ERR_ARGUMENT",
             "layerNorm: of %s, y is as wide as sums are", nameOf(in[0].dtype));
  if (p.wantWide) r.out[3] = gradientOf(in[0]);
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

static Status checkAttention(const char* op, const params::attention& p, const Meta& qkv, const Meta& segments,
                             const Meta& keyCounts, const Meta& seeds) {
  LF_TRY(checkReal(op, qkv, 2));
  LF_TRY(checkSegments(op, segments, qkv.dims[0]));
  LF_REQUIRE(p.heads > 0 && p.heads <= qkv.dims[1] && qkv.dims[1] % (3 * p.heads) == 0, "ERR_SHAPE",
             "%s: qkv %s is no [T, 3 · %lld heads · head dim]", op, qkv.text().c_str(),
             static_cast<long long>(p.heads));
  const int64_t n = segments.dims[0] - 1;
  if (keyCounts.present()) {
    LF_REQUIRE(keyCounts.dims[0] == n, "ERR_SHAPE", "%s: %lld key counts for %lld sequences", op,
               static_cast<long long>(keyCounts.dims[0]), static_cast<long long>(n));
    LF_TRY(checkIndices(op, keyCounts, longest(segments) + 1));
    const auto& starts = *segments.facts->values;
    LF_REQUIRE(keyCounts.facts->counts, "ERR_ARGUMENT", "%s: key counts must be int32 [n] from the host", op);
    for (int64_t i = 0; i < n; ++i)
      LF_REQUIRE((*keyCounts.facts->counts)[i] <= starts[i + 1] - starts[i], "ERR_ARGUMENT",
                 "%s: sequence %lld has %d keys, but %lld tokens", op, static_cast<long long>(i),
                 (*keyCounts.facts->counts)[i], static_cast<long long>(starts[i + 1] - starts[i]));
  }
  LF_REQUIRE(p.dropout >= 0 && p.dropout < 1, "ERR_ARGUMENT", "%s: dropout is %g, expected [0, 1)", op, p.dropout);
  LF_REQUIRE(p.dropout == 0 || seeds.present(), "ERR_ARGUMENT", "%s: dropout needs seeds", op);
  if (seeds.present()) LF_TRY(checkSame(op, seeds, Meta::of(DType::i32, {n, 2})));
  return Status::fine();
}

Status infer_attention(const params::attention& p, const Meta* in, Inferred& r) {
  LF_TRY(checkAttention("attention", p, in[0], in[1], in[2], in[3]));
  r.out[0] = Meta::of(in[0].dtype, {in[0].dims[0], in[0].dims[1] / 3});
  r.out[1] = Meta::of(accumulatorOf(in[0].dtype), {in[0].dims[0], p.heads});
  return Status::fine();
}

Status infer_attentionBackward(const params::attentionBackward& p, const Meta* in, Inferred& r) {
  LF_TRY(checkAttention("attentionBackward", {p.heads, p.window, p.dropout, p.site}, in[0], in[4], in[5], in[6]));
  const Meta o = Meta::of(in[0].dtype, {in[0].dims[0], in[0].dims[1] / 3});
  LF_TRY(checkSame("attentionBackward: o", in[1], o));
  LF_TRY(checkSame("attentionBackward: lse", in[2], Meta::of(accumulatorOf(o.dtype), {o.dims[0], p.heads})));
  LF_TRY(checkSame("attentionBackward: do", in[3], o));
  r.out[0] = like(in[0]);
  return Status::fine();
}

}  // namespace lateforge
