// Checks and shapes: MaxSim.
#include "../shapes.h"

namespace lateforge {

// The (query, document) pairs of a layout and the argmax entries they have.
struct PairCounts {
  int64_t pairs = 0, argmax = 0;
};

static Status countPairs(const char* op, int64_t layout, const Meta& qSegments, const Meta& dSegments,
                         const Meta& pairs, PairCounts& counts) {
  const auto& q = *qSegments.facts->values;
  const int64_t nq = qSegments.dims[0] - 1, nd = dSegments.dims[0] - 1;
  switch (static_cast<Layout>(layout)) {
    case Layout::all:
      LF_REQUIRE(!pairs.present(), "ERR_ARGUMENT", "%s: the all-pairs layout takes no pairs", op);
      counts = {nq * nd, nd * q.back()};
      return Status::fine();
    case Layout::grouped: {
      LF_TRY(checkSegments(op, pairs, nd));
      LF_REQUIRE(pairs.dims[0] == nq + 1, "ERR_SHAPE", "%s: %lld groups for %lld queries", op,
                 static_cast<long long>(pairs.dims[0] - 1), static_cast<long long>(nq));
      const auto& g = *pairs.facts->values;
      counts.pairs = nd;
      for (int64_t i = 0; i < nq; ++i) counts.argmax += (g[i + 1] - g[i]) * (q[i + 1] - q[i]);
      return Status::fine();
    }
    case Layout::pairs: {
      // int64 [2n] (query, document), so that the host knows them.
      LF_REQUIRE(
          pairs.dtype == DType::i64 && pairs.rank == 1 && pairs.facts && pairs.facts->values && pairs.dims[0] % 2 == 0,
          "ERR_DTYPE", "%s: pairs must be int64 [2n] from the host, got %s", op, pairs.text().c_str());
      const auto& v = *pairs.facts->values;
      counts.pairs = pairs.dims[0] / 2;
      for (int64_t k = 0; k < counts.pairs; ++k) {
        LF_REQUIRE(v[2 * k] >= 0 && v[2 * k] < nq && v[2 * k + 1] >= 0 && v[2 * k + 1] < nd, "ERR_ARGUMENT",
                   "%s: pair %lld is (%lld, %lld), expected query < %lld and document < %lld", op,
                   static_cast<long long>(k), static_cast<long long>(v[2 * k]), static_cast<long long>(v[2 * k + 1]),
                   static_cast<long long>(nq), static_cast<long long>(nd));
        counts.argmax += q[v[2 * k] + 1] - q[v[2 * k]];
      }
      return Status::fine();
    }
  }
  return Status::error("ERR_ARGUMENT", "%s: unknown layout %lld", op, static_cast<long long>(layout));
}

static Status checkDocuments(const char* op, const Meta* in) {
  LF_REQUIRE(in[0].dims[1] > 0 && in[0].dims[1] % 8 == 0, "ERR_SHAPE",
             "%s: the dimension must be a multiple of 8, got %lld", op, static_cast<long long>(in[0].dims[1]));
  LF_TRY(checkSegments(op, in[1], in[0].dims[0]));
  LF_TRY(checkSegments(op, in[3], in[2].dims[0]));
  LF_REQUIRE(longest(in[3]) < 2147483647, "ERR_SHAPE", "%s: a document of %lld tokens, at most 2147483646", op,
             static_cast<long long>(longest(in[3])));
  return Status::fine();
}

static Status checkTokens(const char* op, const Meta* in, int64_t layout, PairCounts& counts) {
  LF_TRY(checkReal(op, in[0], 2));
  LF_TRY(checkReal(op, in[2], 2));
  LF_REQUIRE(in[0].dtype == in[2].dtype && in[0].dims[1] == in[2].dims[1], "ERR_SHAPE",
             "%s: query tokens %s and document tokens %s differ in dimension or type", op, in[0].text().c_str(),
             in[2].text().c_str());
  LF_TRY(checkDocuments(op, in));
  return countPairs(op, layout, in[1], in[3], in[4], counts);
}

// The smallest type that holds every token of the longest document and, where PyLate's floor of 0 may win, one value
// more: a winner that is no token of its document stands for none. (An empty document has no token anyway.)
static DType argmaxType(const Meta& dSegments, bool clampNegatives) {
  const int64_t values = longest(dSegments) + clampNegatives;
  return values <= 256 ? DType::u8 : values <= 65536 ? DType::u16 : DType::i32;
}
static Meta scoresOf(const Meta* in, int64_t layout, const PairCounts& counts) {
  const DType dtype = accumulatorOf(in[0].dtype);
  if (static_cast<Layout>(layout) == Layout::all) return Meta::of(dtype, {in[1].dims[0] - 1, in[3].dims[0] - 1});
  return Meta::of(dtype, {counts.pairs});
}
Status infer_maxsim(const params::maxsim& p, const Meta* in, Inferred& r) {
  PairCounts counts;
  LF_TRY(checkTokens("maxsim", in, p.layout, counts));
  r.out[0] = scoresOf(in, p.layout, counts);
  if (p.wantArgmax) r.out[1] = Meta::of(argmaxType(in[3], p.clampNegatives != 0), {counts.argmax});
  return Status::fine();
}

Status infer_maxsimStored(const params::maxsimStored& p, const Meta* in, Inferred& r) {
  const Meta &q = in[0], &d = in[2], &scales = in[5];
  LF_TRY(checkReal("maxsimStored", q, 2));
  LF_REQUIRE((d.dtype == DType::f16 || d.dtype == DType::i8) && d.rank == 2 && q.dims[1] == d.dims[1], "ERR_SHAPE",
             "maxsimStored: documents %s for queries %s, expected float16 or int8 of the same dimension",
             d.text().c_str(), q.text().c_str());
  LF_TRY(checkDocuments("maxsimStored", in));
  LF_REQUIRE(scales.present() == (d.dtype == DType::i8), "ERR_ARGUMENT", "maxsimStored: documents %s %s scales",
             d.text().c_str(), scales.present() ? "have no" : "need");
  if (scales.present())
    LF_TRY(checkSame("maxsimStored: scales", scales, Meta::of(accumulatorOf(q.dtype), {d.dims[0]})));
  PairCounts counts;
  LF_TRY(countPairs("maxsimStored", p.layout, in[1], in[3], in[4], counts));
  r.out[0] = scoresOf(in, p.layout, counts);
  return Status::fine();
}

// codes of tokens of so many numbers; what belongs to them: scales, of, centroids, centroidScales, levels.
static Status checkResidual(const char* op, DType real, int64_t dim, const Meta& codes, const Meta* rest) {
  const Meta &scales = rest[0], &of = rest[1], &centroids = rest[2], &centroidScales = rest[3], &levels = rest[4];
  LF_REQUIRE(levels.rank == 1 && (levels.dims[0] == 4 || levels.dims[0] == 16), "ERR_SHAPE",
             "%s: levels %s, expected [4] or [16]", op, levels.text().c_str());
  const int64_t tokens = codes.dims[0], each = levels.dims[0] == 4 ? 4 : 2;  // codes of a byte
  LF_REQUIRE(dim > 0 && dim % 8 == 0, "ERR_SHAPE", "%s: the dimension must be a multiple of 8, got %lld", op,
             static_cast<long long>(dim));
  LF_TRY(checkSame(op, levels, Meta::of(real, {levels.dims[0]})));
  LF_TRY(checkSame(op, codes, Meta::of(DType::u8, {tokens, dim / each})));
  LF_TRY(checkSame(op, scales, Meta::of(DType::f16, {tokens})));
  LF_TRY(checkSame(op, of, Meta::of(DType::i32, {tokens})));
  LF_TRY(checkSame(op, centroids, Meta::of(DType::i8, {centroids.dims[0], dim})));
  return checkSame(op, centroidScales, Meta::of(real, {centroids.dims[0]}));
}

Status infer_maxsimResidual(const params::maxsimResidual& p, const Meta* in, Inferred& r) {
  const Meta& q = in[0];
  LF_TRY(checkReal("maxsimResidual: q", q, 2));
  LF_TRY(checkResidual("maxsimResidual", accumulatorOf(q.dtype), q.dims[1], in[2], in + 5));
  LF_TRY(checkDocuments("maxsimResidual", in));
  PairCounts counts;
  LF_TRY(countPairs("maxsimResidual", p.layout, in[1], in[3], in[4], counts));
  r.out[0] = scoresOf(in, p.layout, counts);
  return Status::fine();
}

Status infer_decodeResidual(const params::decodeResidual&, const Meta* in, Inferred& r) {
  const Meta &codes = in[0], &levels = in[5];
  LF_TRY(checkReal("decodeResidual: levels", levels, 1));
  LF_TRY(checkResidual("decodeResidual", levels.dtype, in[3].dims[1], codes, in + 1));
  r.out[0] = Meta::of(levels.dtype, {codes.dims[0], in[3].dims[1]});
  return Status::fine();
}

Status infer_maxsimBackward(const params::maxsimBackward& p, const Meta* in, Inferred&) {
  PairCounts counts;
  LF_TRY(checkTokens("maxsimBackward", in, p.layout, counts));
  // Whether there was a floor is not known here; kernels take a winner beyond its document for none, so none reaches
  // memory that is not its document's.
  const DType withFloor = argmaxType(in[3], true);
  LF_TRY(checkSame("maxsimBackward: argmax", in[5],
                   Meta::of(in[5].dtype == withFloor ? withFloor : argmaxType(in[3], false), {counts.argmax})));
  LF_TRY(checkSame("maxsimBackward: dscores", in[6], scoresOf(in, p.layout, counts)));
  for (int side = 0; side < 2; ++side) {
    const Meta& gradient = in[7 + side];
    if (!gradient.present()) continue;
    Meta expected = like(in[2 * side]);
    expected.dtype = accumulatorOf(expected.dtype);
    LF_TRY(checkSame(side ? "maxsimBackward: dd" : "maxsimBackward: dq", gradient, expected));
  }
  return Status::fine();
}

}  // namespace lateforge
