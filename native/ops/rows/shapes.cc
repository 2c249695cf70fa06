// Checks and shapes: rows of a matrix.
#include "../shapes.h"

namespace lateforge {

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

Status infer_rowsToColumns(const params::rowsToColumns&, const Meta* in, Inferred& r) {
  LF_TRY(checkReal("rowsToColumns: x", in[0], 2));
  r.out[0] = Meta::of(in[0].dtype, {in[0].dims[1], in[0].dims[0]});
  return Status::fine();
}

Status infer_divideRows(const params::divideRows&, const Meta* in, Inferred& r) {
  LF_TRY(checkReal("divideRows: x", in[0], 2));
  LF_TRY(checkSegments("divideRows: segments", in[1], in[0].dims[0]));
  r.out[0] = like(in[0]);
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

}  // namespace lateforge
