// Checks and shapes: losses.
#include "../shapes.h"

#include <algorithm>

namespace lateforge {

// Which part of the batch a block is: see native/ops/list.h.
// scores [rows, columns], groups [B + 1]
static Status checkBlock(const char* op, const Meta& scores, const Meta& groups, int64_t firstRow, int64_t firstQuery) {
  LF_TRY(checkReal(op, scores, 2));
  LF_TRY(checkSequences(op, groups, groups.dims[0] - 1));
  const auto& starts = *groups.facts->values;
  const auto queries = static_cast<int64_t>(starts.size()) - 1;
  const auto none = std::adjacent_find(starts.begin(), starts.end());
  LF_REQUIRE(none == starts.end(), "ERR_SHAPE", "%s: query %lld of the groups has no document", op,
             static_cast<long long>(none - starts.begin()));
  LF_REQUIRE(queries <= INT32_MAX, "ERR_SHAPE", "%s: %lld queries; the limit is 2^31 - 1", op,
             static_cast<long long>(queries));
  for (const int64_t place : {firstRow, firstQuery})
    LF_REQUIRE(place >= 0 && place <= queries, "ERR_ARGUMENT", "%s: place %lld of a batch of %lld queries", op,
               static_cast<long long>(place), static_cast<long long>(queries));
  LF_REQUIRE(firstRow + scores.dims[0] <= queries, "ERR_SHAPE",
             "%s: %lld rows from query %lld do not lie in a batch of %lld queries", op,
             static_cast<long long>(scores.dims[0]), static_cast<long long>(firstRow), static_cast<long long>(queries));
  const auto first = starts.begin() + firstQuery;
  LF_REQUIRE(std::binary_search(first, starts.end(), *first + scores.dims[1]), "ERR_SHAPE",
             "%s: %lld columns from query %lld on are not all documents of some of %lld queries, which have %lld", op,
             static_cast<long long>(scores.dims[1]), static_cast<long long>(firstQuery),
             static_cast<long long>(queries), static_cast<long long>(starts.back()));
  return Status::fine();
}

// The same with logScale [1], dSegments [columns + 1], qDuplicates [B], dDuplicates [D]
static Status checkContrast(const char* op, const Meta& scores, const Meta& logScale, const Meta& dSegments,
                            const Meta& groups, const Meta& qDuplicates, const Meta& dDuplicates, int64_t firstRow,
                            int64_t firstQuery) {
  LF_TRY(checkBlock(op, scores, groups, firstRow, firstQuery));
  LF_TRY(checkSame(op, logScale, Meta::of(scores.dtype, {1})));
  LF_TRY(checkSequences(op, dSegments, scores.dims[1]));
  LF_REQUIRE(qDuplicates.present() == dDuplicates.present(), "ERR_ARGUMENT",
             "%s: qDuplicates and dDuplicates go together", op);
  if (!qDuplicates.present()) return Status::fine();
  LF_TRY(checkSame(op, qDuplicates, Meta::of(DType::i32, {groups.dims[0] - 1})));
  return checkSame(op, dDuplicates, Meta::of(DType::i32, {groups.facts->values->back()}));
}

static Status checkStats(const char* op, const Meta& stats) {
  LF_TRY(checkReal(op, stats, 2));
  LF_REQUIRE(stats.dims[1] == 3, "ERR_SHAPE", "%s: stats must be [rows, 3], got %s", op, stats.text().c_str());
  return Status::fine();
}

Status infer_excludeAbove(const params::excludeAbove& p, const Meta* in, Inferred&) {
  LF_TRY(checkBlock("excludeAbove", in[0], in[3], p.firstRow, p.firstQuery));
  LF_TRY(checkSame("excludeAbove: guide", in[1], in[0]));
  return checkSame("excludeAbove: positives", in[2], Meta::of(in[0].dtype, {in[0].dims[0]}));
}

Status infer_rowStats(const params::rowStats& p, const Meta* in, Inferred& r) {
  LF_TRY(checkContrast("rowStats", in[0], in[1], in[2], in[3], in[4], in[5], p.firstRow, p.firstQuery));
  r.out[0] = Meta::of(in[0].dtype, {in[0].dims[0], 3});
  return Status::fine();
}

Status infer_combineStats(const params::combineStats& p, const Meta* in, Inferred& r) {
  LF_TRY(checkStats("combineStats", in[0]));
  LF_REQUIRE(p.ranks >= 1 && in[0].dims[0] % p.ranks == 0, "ERR_SHAPE",
             "combineStats: %lld rows are not those of %lld ranks", static_cast<long long>(in[0].dims[0]),
             static_cast<long long>(p.ranks));
  r.out[0] = Meta::of(in[0].dtype, {in[0].dims[0] / p.ranks, 3});
  return Status::fine();
}

Status infer_contrastiveLoss(const params::contrastiveLoss&, const Meta* in, Inferred& r) {
  LF_TRY(checkStats("contrastiveLoss", in[0]));
  if (in[1].present()) LF_TRY(checkSame("contrastiveLoss: weights", in[1], Meta::of(in[0].dtype, {in[0].dims[0]})));
  LF_TRY(checkSame("contrastiveLoss: loss", in[2], Meta::of(in[0].dtype, {1})));
  r.out[0] = Meta::of(in[0].dtype, {in[0].dims[0]});
  return Status::fine();
}

Status infer_softmaxGrad(const params::softmaxGrad& p, const Meta* in, Inferred&) {
  LF_TRY(checkContrast("softmaxGrad", in[0], in[2], in[3], in[4], in[5], in[6], p.firstRow, p.firstQuery));
  LF_TRY(checkSame("softmaxGrad: lse", in[1], Meta::of(in[0].dtype, {in[0].dims[0]})));
  if (in[7].present()) LF_TRY(checkSame("softmaxGrad: weights", in[7], Meta::of(in[0].dtype, {in[0].dims[0]})));
  if (in[8].present()) LF_TRY(checkSame("softmaxGrad: dLogScale", in[8], Meta::of(in[0].dtype, {1})));
  return Status::fine();
}

static Status checkTeacher(const char* op, const Meta& scores, const Meta& teacher, const Meta& groups,
                           const Meta& dSegments, const Meta& loss) {
  LF_TRY(checkReal(op, scores, 1));
  LF_TRY(checkSame(op, teacher, scores));
  LF_TRY(checkSegments(op, groups, scores.dims[0]));
  LF_TRY(checkSequences(op, dSegments, scores.dims[0]));
  return checkSame(op, loss, Meta::of(scores.dtype, {1}));
}

Status infer_distillLoss(const params::distillLoss&, const Meta* in, Inferred& r) {
  LF_TRY(checkTeacher("distillLoss", in[0], in[1], in[2], in[4], in[5]));
  LF_TRY(checkSame("distillLoss: logScale", in[3], Meta::of(in[0].dtype, {1})));
  if (in[6].present()) LF_TRY(checkSame("distillLoss: dLogScale", in[6], Meta::of(in[0].dtype, {1})));
  r.out[0] = like(in[0]);
  return Status::fine();
}

Status infer_marginMse(const params::marginMse&, const Meta* in, Inferred& r) {
  LF_TRY(checkTeacher("marginMse", in[0], in[1], in[2], in[3], in[4]));
  r.out[0] = like(in[0]);
  return Status::fine();
}

}  // namespace lateforge
