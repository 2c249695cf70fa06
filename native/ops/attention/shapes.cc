// Checks and shapes: attention.
#include "../shapes.h"

namespace lateforge {

static Status checkAttention(const char* op, const params::attention& p, const Meta& qkv, const Meta& segments,
                             const Meta& keyLengths, const Meta& seeds) {
  LF_TRY(checkReal(op, qkv, 2));
  LF_TRY(checkSegments(op, segments, qkv.dims[0]));
  LF_REQUIRE(p.heads > 0 && p.heads <= qkv.dims[1] && qkv.dims[1] % (3 * p.heads) == 0, "ERR_SHAPE",
             "%s: qkv %s is no [T, 3 · %lld heads · head dim]", op, qkv.text().c_str(),
             static_cast<long long>(p.heads));
  const int64_t n = segments.dims[0] - 1;
  if (keyLengths.present()) {
    LF_REQUIRE(keyLengths.dims[0] == n, "ERR_SHAPE", "%s: %lld key lengths for %lld sequences", op,
               static_cast<long long>(keyLengths.dims[0]), static_cast<long long>(n));
    LF_TRY(checkIndices(op, keyLengths, longest(segments) + 1));
    const auto& starts = *segments.facts->values;
    LF_REQUIRE(keyLengths.facts->counts, "ERR_ARGUMENT", "%s: key lengths must be int32 [n] from the host", op);
    for (int64_t i = 0; i < n; ++i)
      LF_REQUIRE((*keyLengths.facts->counts)[i] <= starts[i + 1] - starts[i], "ERR_ARGUMENT",
                 "%s: sequence %lld has %d keys, but %lld tokens", op, static_cast<long long>(i),
                 (*keyLengths.facts->counts)[i], static_cast<long long>(starts[i + 1] - starts[i]));
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
