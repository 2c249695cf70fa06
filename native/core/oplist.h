// THE op list. The backend table, the validation table, the binding, the TypeScript types (lib/tensor/ops.gen.ts) and
// the coverage of the op tests all follow from it.
//
// LF_OPS(OP): OP(name, inputs, outputs, backward)
//   inputs   names in order; suffix ? optional, + accumulated into (read and written), ! overwritten in place
//   outputs  names in order; suffix ? absent unless asked for
//   backward the op that carries the gradient, "" where a gradient is undefined, "self" for an op that *is* a backward
//            or has no differentiable input
// Params of op X are declared by LF_PARAMS_X(I, F): I(name) int64, F(name) double; every field is 8 bytes.
//
// Laws: parameter gradients accumulate, activation gradients are assigned; reductions run in a fixed order over blocks
// whose size depends on shapes only; a missing optional gradient input means "not needed".
// Shapes: T token rows, n sequences, d features. `segments` are int64 offsets [n+1] known to the host.
// `seeds` are uint32 pairs [n,2] (as int32): the Philox key of each sequence.
//
// Residual streams: where x is of 16 bits, layerNorm's residual may be float32, and `sum` and `wide` (y, for the next
// residual) are: what runs through all layers is rounded once, not once a layer.
//
// Contrastive blocks: scores [rows, columns] are a part of all B queries by all B · perQuery documents. Row r is query
// firstRow + r, column j is document firstQuery · perQuery + j, and query i's positive is document i · perQuery.
// qGroups [B] and dGroups [B · perQuery] are those of the whole batch; dSegments are the columns' own.
// stats [rows, 3]: largest logit, Σ exp(logit − largest), logit of the positive; (−∞, 0, −∞) where a row has no columns
// here, or no positive. An empty document is no positive. contrastiveLoss gives rows without one a loss of 0 and
// lse +∞, where softmaxGrad writes exact zeros.
// logScale is log(1 / temperature): with `learned` it is a parameter, clamped at ln 100 as CLIP's is, else taken as given.
//
// argmax of maxsim: for all pairs [document][query row], else pair by pair; the winner of each query row, a token of
// its document, lowest index first; uint8, uint16 or int32, the first that fits the longest document. What is not below
// its document's length is no winner: the forward writes the largest value for an empty document and for a floor of 0
// that won, and the backward skips any.
#pragma once

#include <cstdint>

#define LF_OPS(OP)                                                                                     \
  OP(zero, "x!", "", "self")                                                                           \
  OP(copyRows, "x y!", "", "self")                                                                     \
  OP(add, "a b", "y", "tape")                                                                          \
  OP(addInto, "x y+", "", "self")                                                                      \
  OP(scale, "x factor?", "y", "tape")                                                                  \
  OP(rescale, "x! factor?", "", "self")                                                                \
  OP(cast, "x y!", "", "self")                                                                         \
  OP(activation, "x", "y", "activationBackward")                                                       \
  OP(activationBackward, "x dy", "dx", "self")                                                         \
  OP(geglu, "x", "y", "gegluBackward")                                                                 \
  OP(gegluBackward, "x dy", "dx", "self")                                                              \
  OP(dropout, "x segments seeds", "y", "tape")                                                         \
  OP(l2Normalize, "x", "y norm", "l2NormalizeBackward")                                                \
  OP(l2NormalizeBackward, "y norm dy", "dx", "self")                                                   \
  OP(gatherRows, "x index", "y", "scatterRows")                                                        \
  OP(scatterRows, "dy index", "dx", "self")                                                            \
  OP(poolRows, "x segments", "y", "poolRowsBackward")                                                  \
  OP(poolRowsBackward, "dy segments", "dx", "self")                                                    \
  OP(embedding, "table ids", "y", "embeddingBackward")                                                 \
  OP(embeddingBackward, "dy ids dTable+", "", "self")                                                  \
  OP(linear, "x w b?", "y", "linearBackward")                                                          \
  OP(linearBackward, "x w dy dw+? db+?", "dx?", "self")                                                \
  OP(layerNorm, "x residual? gamma beta?", "y sum? stats wide?", "layerNormBackward")                  \
  OP(layerNormBackward, "sum gamma stats dy dsum? dgamma+? dbeta+?", "dx", "self")                     \
  OP(rope, "x! segments table", "", "tape")                                                            \
  OP(attention, "qkv segments keyCounts? seeds?", "o lse", "attentionBackward")                        \
  OP(attentionBackward, "qkv o lse do segments keyCounts? seeds?", "dqkv", "self")                     \
  OP(maxsim, "q qSegments d dSegments pairs?", "scores argmax?", "maxsimBackward")                     \
  OP(maxsimBackward, "q qSegments d dSegments pairs? argmax dscores dq+? dd+?", "", "self")            \
  OP(rowStats, "scores logScale dSegments qGroups? dGroups?", "stats", "self")                         \
  OP(combineStats, "parts", "stats", "self")                                                           \
  OP(contrastiveLoss, "stats weights? loss+", "lse", "self")                                           \
  OP(softmaxGrad, "scores! lse logScale dSegments qGroups? dGroups? weights? dLogScale+?", "", "self") \
  OP(distillLoss, "scores teacher groups logScale dSegments loss+ dLogScale+?", "dscores", "self")     \
  OP(marginMse, "scores teacher groups dSegments loss+", "dscores", "self")                            \
  OP(sumSquares, "x", "y", "self")                                                                     \
  OP(adamw, "param! grad m! v! squaredNorm? segments groups", "", "self")                              \
  OP(assertFinite, "x", "", "self")

#define LF_PARAMS_zero(I, F)
#define LF_PARAMS_copyRows(I, F) I(row) /* first row of y that is written */
#define LF_PARAMS_add(I, F)
#define LF_PARAMS_addInto(I, F)
#define LF_PARAMS_scale(I, F) F(by)        /* y = x · by · factor[0] */
#define LF_PARAMS_rescale(I, F) F(by)      /* the same in place */
#define LF_PARAMS_cast(I, F)               /* to the type of y; to nearest, ties to even */
#define LF_PARAMS_activation(I, F) I(kind) /* Activation */
#define LF_PARAMS_activationBackward(I, F) I(kind)
#define LF_PARAMS_geglu(I, F) I(kind)
#define LF_PARAMS_gegluBackward(I, F) I(kind)
#define LF_PARAMS_dropout(I, F) F(p) I(site) /* probability of dropping; counter word that names layer and place */
#define LF_PARAMS_l2Normalize(I, F) F(eps)
#define LF_PARAMS_l2NormalizeBackward(I, F) F(eps)
#define LF_PARAMS_gatherRows(I, F)
#define LF_PARAMS_scatterRows(I, F) I(rows) /* rows of dx */
#define LF_PARAMS_poolRows(I, F) I(kind)    /* 0 first row, 1 mean */
#define LF_PARAMS_poolRowsBackward(I, F) I(kind)
#define LF_PARAMS_embedding(I, F)
#define LF_PARAMS_embeddingBackward(I, F)
#define LF_PARAMS_linear(I, F)
#define LF_PARAMS_linearBackward(I, F) I(needInput)
#define LF_PARAMS_layerNorm(I, F) F(eps) I(wantWide) /* see above */
#define LF_PARAMS_layerNormBackward(I, F)
#define LF_PARAMS_rope(I, F) I(heads) I(inverse)
#define LF_PARAMS_attention(I, F) I(heads) I(window) F(dropout) I(site) /* window: half width, −1 global */
#define LF_PARAMS_attentionBackward(I, F) I(heads) I(window) F(dropout) I(site)
#define LF_PARAMS_maxsim(I, F) I(layout) I(wantArgmax) I(floorZero) /* Layout; PyLate's zero mask */
#define LF_PARAMS_maxsimBackward(I, F) I(layout)
#define LF_PARAMS_rowStats(I, F) I(firstRow) I(perQuery) I(firstQuery) I(learned) /* see above */
#define LF_PARAMS_combineStats(I, F) I(ranks)                                      /* parts: rank-major [ranks · rows, 3] */
#define LF_PARAMS_contrastiveLoss(I, F) F(normalizer)                              /* 1 / sum of all weights */
#define LF_PARAMS_softmaxGrad(I, F) I(firstRow) I(perQuery) I(firstQuery) I(learned) F(normalizer)
#define LF_PARAMS_distillLoss(I, F) I(minMax) I(learned) F(normalizer)
#define LF_PARAMS_marginMse(I, F) F(normalizer)
#define LF_PARAMS_sumSquares(I, F)
#define LF_PARAMS_adamw(I, F) F(scale) F(beta1) F(beta2) F(eps) I(step) F(clip) /* lr · scale; clip 0: none */
#define LF_PARAMS_assertFinite(I, F)

namespace lateforge {

enum class Activation : int64_t { gelu = 0, geluTanh = 1, relu = 2, tanh = 3, sigmoid = 4, silu = 5 };
enum class Layout : int64_t { all = 0, groups = 1, pairs = 2 };

enum class Op : int32_t {
#define OP(name, inputs, outputs, backward) name,
  LF_OPS(OP)
#undef OP
      count
};
constexpr int kOpCount = static_cast<int>(Op::count);

namespace params {
#define LF_INT(name) int64_t name;
#define LF_REAL(name) double name;
#define OP(name, inputs, outputs, backward) \
  struct name {                             \
    LF_PARAMS_##name(LF_INT, LF_REAL)       \
  };
LF_OPS(OP)
#undef OP
#undef LF_INT
#undef LF_REAL
}  // namespace params

}  // namespace lateforge
