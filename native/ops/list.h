// THE op list. The backend table, the validation table, the binding, the TypeScript types (lib/tensor/ops.gen.ts) and
// the coverage of the op tests all follow from it.
//
// LF_OPS(OP): OP(name, scratch, inputs, outputs, backward, params)
//   scratch  workspace where kernels need memory while they run, else none
//   inputs   names in order; suffix ? optional, + accumulated into (read and written), ! overwritten in place
//   outputs  names in order; suffix ? absent unless asked for
//   backward the op that carries the gradient, "tape" where the tape does it with other ops, "self" for a backward and
//            for an op that has no differentiable input
//   params   INT(name) int64, REAL(name) double: the fields of its params struct, of 8 bytes each
// The folder of each family has what its ops check and make (shapes.cc) and their kernels (cpu.cc, cuda.cu).
//
// Laws: parameter gradients accumulate, activation gradients are assigned; reductions run in a fixed order over blocks
// whose size depends on shapes only; a missing optional gradient input means "not needed".
// Shapes: T token rows, n sequences, d features, h features of a head. `segments` are int64 offsets [n+1] known to the
// host. `seeds` are uint32 pairs [n,2] (as int32): the Philox key of each sequence.
//
// Residual streams: where x is of 16 bits, layerNorm's residual may be float32, and `sum` and `nextResidual`
// (y, for the next layer) are: what runs through all layers is rounded once, not once a layer.
//
// Contrastive blocks: scores [rows, columns] are a part of all B queries by all D documents. groups int64 [B + 1] say
// which documents are whose: query i has documents groups[i] … groups[i + 1], one at least, and the first of them is
// its positive. Row r is query firstRow + r; column j is document groups[firstQuery] + j, and the columns are all
// documents of some queries. groups, qDuplicates [B] and dDuplicates [D] are those of the whole batch; dSegments are
// the columns' own. stats [rows, 3]: largest logit, Σ exp(logit − largest), logit of the positive; (−∞, 0, −∞) where a
// row has no columns here, or no positive. An empty document is no positive, and a score of −∞ (excludeAbove) takes no
// part. contrastiveLoss gives rows without a positive a loss of 0 and lse +∞, where softmaxGrad writes exact zeros.
// logScale is log(1 / temperature): with `learned` it is a parameter, clamped at ln 100 as CLIP's is, else taken as
// given.
//
// argmax of maxsim: for all pairs [document][query row], else pair by pair; the winner of each query row, a token of
// its document, lowest index first; uint8, uint16 or int32, the first that fits the longest document. What is not below
// its document's length is no winner: the forward writes the largest value for an empty document and for a floor of 0
// that won, and the backward skips any.
#pragma once

#include <cstdint>

// clang-format off
#define LF_OPS(OP) \
  /* pointwise/ */ \
  /* x any shape */ \
  OP(zero, none, "x!", "", "self") \
  /* x [n, …], y [m, …]: y[row …] = x */ \
  OP(copyRows, none, "x y!", "", "self", INT(row)) \
  /* a, b, y of one shape */ \
  OP(add, none, "a b", "y", "tape") \
  /* x, y of one shape */ \
  OP(addInto, none, "x y+", "", "self") \
  /* x, y of one shape; factor [1]; y = x · by · factor */ \
  OP(scale, none, "x factor?", "y", "tape", REAL(by)) \
  /* the same in place */ \
  OP(rescale, none, "x! factor?", "", "self", REAL(by)) \
  /* x, y of one shape; to the type of y, to nearest, ties to even */ \
  OP(cast, none, "x y!", "", "self") \
  /* x, y of one shape; kind: Activation */ \
  OP(activation, none, "x", "y", "activationBackward", INT(kind)) \
  /* x, dy, dx of one shape */ \
  OP(activationBackward, none, "x dy", "dx", "self", INT(kind)) \
  /* x [T, 2 · d], y [T, d] = activation(first half) · second half */ \
  OP(geglu, none, "x", "y", "gegluBackward", INT(kind)) \
  /* x [T, 2 · d], dy [T, d], dx [T, 2 · d] */ \
  OP(gegluBackward, none, "x dy", "dx", "self", INT(kind)) \
  /* x, y [T, d]; p: probability of dropping; site: counter word that names layer and place */ \
  OP(dropout, none, "x segments seeds", "y", "tape", REAL(p) INT(site)) \
  /* x any shape; an error where it is not */ \
  OP(assertFinite, none, "x", "", "self") \
  /* rows/ */ \
  /* x [T, d], index int32 [n] rising, y [n, d] */ \
  OP(gatherRows, none, "x index", "y", "scatterRows") \
  /* dy [n, d], index int32 [n] rising, dx [rows, d] */ \
  OP(scatterRows, none, "dy index", "dx", "self", INT(rows)) \
  /* x [n, m], y [m, n] */ \
  OP(rowsToColumns, none, "x", "y", "tape") \
  /* x, y [T, d]: each row over the number of rows of its sequence */ \
  OP(divideRows, none, "x segments", "y", "tape") \
  /* x [T, d], y [n, d]; kind: 0 first row, 1 mean */ \
  OP(poolRows, none, "x segments", "y", "poolRowsBackward", INT(kind)) \
  /* dy [n, d], dx [T, d] */ \
  OP(poolRowsBackward, none, "dy segments", "dx", "self", INT(kind)) \
  /* table [V, d], ids int32 [T], y [T, d] */ \
  OP(embedding, none, "table ids", "y", "embeddingBackward") \
  /* dy [T, d], ids int32 [T], dTable [V, d] */ \
  OP(embeddingBackward, workspace, "dy ids dTable+", "", "self") \
  /* linear/ */ \
  /* x [T, in], w [out, in], b [out], y [T, out] = x · wᵀ + b */ \
  OP(linear, workspace, "x w b?", "y", "linearBackward") \
  /* dy [T, out]; dw, db as w, b; dx [T, in] if needInput */ \
  OP(linearBackward, workspace, "x w dy dw+? db+?", "dx?", "self", INT(needInput)) \
  /* w [out, in]; packed int8 [out / 32, in / 4, 32, 4], zeros beyond either end; scales [out] */ \
  OP(packInt8, none, "w", "packed scales", "self") \
  /* x [T, in], packed and scales of w [out, in], b [out], y [T, out] = x · wᵀ + b, rows of x made int8 for it */ \
  OP(linearInt8, workspace, "x packed scales b?", "y", "self") \
  /* norm/ */ \
  /* x, y [T, d], norm [T] */ \
  OP(l2Normalize, none, "x", "y norm", "l2NormalizeBackward", REAL(eps)) \
  /* y, dy, dx [T, d], norm [T] */ \
  OP(l2NormalizeBackward, none, "y norm dy", "dx", "self", REAL(eps)) \
  /* x, residual, y, sum, nextResidual [T, d]; gamma, beta [d]; stats [T, 2]: mean, 1 / deviation */ \
  OP(layerNorm, none, "x residual? gamma beta?", "y sum? stats nextResidual?", "layerNormBackward", REAL(eps) INT(wantNextResidual)) \
  /* sum, dy, dsum, dx [T, d]; gamma, dgamma, dbeta [d]; stats [T, 2] */ \
  OP(layerNormBackward, workspace, "sum gamma stats dy dsum? dgamma+? dbeta+?", "dx", "self") \
  /* rope/ */ \
  /* x [T, 3 · heads · h], q and k of it rotated; table [positions, h]: cosines, sines */ \
  OP(rope, none, "x! segments table", "", "tape", INT(heads) INT(inverse)) \
  /* attention/ */ \
  /* qkv [T, 3 · heads · h], o [T, heads · h], lse [T, heads], keyLengths int32 [n]; window: half width, −1 global */ \
  OP(attention, workspace, "qkv segments keyLengths? seeds?", "o lse", "attentionBackward", INT(heads) INT(window) REAL(dropout) INT(site)) \
  /* dqkv as qkv, do as o */ \
  OP(attentionBackward, workspace, "qkv o lse do segments keyLengths? seeds?", "dqkv", "self", INT(heads) INT(window) REAL(dropout) INT(site)) \
  /* maxsim/ */ \
  /* q [Tq, d], d [Td, d], pairs int64 [2 · P], or offsets of groups [queries + 1]; scores [queries, documents], or one a pair; layout: Layout */ \
  OP(maxsim, workspace, "q qSegments d dSegments pairs?", "scores argmax?", "maxsimBackward", INT(layout) INT(wantArgmax) INT(clampNegatives)) \
  /* d [Td, d] as it is stored: float16, or int8 times scales [Td]; the rest as in maxsim */ \
  OP(maxsimStored, workspace, "q qSegments d dSegments pairs? scales?", "scores", "self", INT(layout) INT(clampNegatives)) \
  /* d [Td, d] as residual codes: token t is levels[its code] · scales[t] on top of centroids[of[t]], int8 [n, d] times centroidScales [n]; codes uint8 [Td, d · bits / 8], the first number in the lowest bits; scales float16 [Td]; of int32 [Td], a token of a centroid that is not there is all zeros; levels [4] or [16]; the rest as in maxsim */ \
  OP(maxsimResidual, workspace, "q qSegments codes dSegments pairs? scales of centroids centroidScales levels", "scores", "self", INT(layout) INT(clampNegatives)) \
  /* y [T, d]: the numbers that residual codes stand for, as in maxsimResidual */ \
  OP(decodeResidual, workspace, "codes scales of centroids centroidScales levels", "y", "self") \
  /* dscores as scores, dq as q, dd as d */ \
  OP(maxsimBackward, workspace, "q qSegments d dSegments pairs? argmax dscores dq+? dd+?", "", "self", INT(layout)) \
  /* nearest/ */ \
  /* x [T, d], w [n, d]; scores, rows int32 [T, most]: of the largest products of each row of x with rows of w, largest first, of equal ones the lower row; −∞ and −1 where fewer are numbers above −∞ */ \
  OP(nearest, workspace, "x w", "scores rows", "self", INT(most)) \
  /* x [T, d], w int8 [n, d] times scales [n], cells: segments of the rows of w; chosen int32 [T, m]: in which of them each row of x looks, −1: in none; scores, rows as in nearest */ \
  OP(nearestWithin, workspace, "x w scales cells chosen", "scores rows", "self", INT(most)) \
  /* loss/ */ \
  /* scores, guide [rows, columns], positives [rows]: the guide's; −∞ where it is above positive − margin, with relative margin · |positive| */ \
  OP(excludeAbove, none, "scores! guide positives groups", "", "self", INT(firstRow) INT(firstQuery) INT(relative) REAL(margin)) \
  /* scores [rows, columns], logScale [1], groups int64 [B + 1], qDuplicates int32 [B], dDuplicates int32 [D], stats [rows, 3] */ \
  OP(rowStats, workspace, "scores logScale dSegments groups qDuplicates? dDuplicates?", "stats", "self", INT(firstRow) INT(firstQuery) INT(learned)) \
  /* parts [ranks · rows, 3], rank by rank; stats [rows, 3] */ \
  OP(combineStats, none, "parts", "stats", "self", INT(ranks)) \
  /* stats [rows, 3], weights, lse [rows], loss [1]; normalizer: 1 / sum of all weights */ \
  OP(contrastiveLoss, none, "stats weights? loss+", "lse", "self", REAL(normalizer)) \
  /* scores [rows, columns] become their gradient; lse, weights [rows], logScale, dLogScale [1]; the rest as in rowStats */ \
  OP(softmaxGrad, workspace, "scores! lse logScale dSegments groups qDuplicates? dDuplicates? weights? dLogScale+?", "", "self", INT(firstRow) INT(firstQuery) INT(learned) REAL(normalizer)) \
  /* scores, teacher, dscores [P]; querySegments int64 [n + 1]: of P, by query; logScale, loss, dLogScale [1] */ \
  OP(distillLoss, workspace, "scores teacher querySegments logScale dSegments loss+ dLogScale+?", "dscores", "self", INT(minMax) INT(learned) REAL(normalizer)) \
  /* the same without a temperature */ \
  OP(marginMse, workspace, "scores teacher querySegments dSegments loss+", "dscores", "self", REAL(normalizer)) \
  /* optim/ */ \
  /* x [n], y [1] */ \
  OP(sumSquares, workspace, "x", "y", "self") \
  /* param, grad, m, v [n]; squaredNorm [1]; rates [n segments, 2]: learning rate, decay; lr · scale; clip 0: none */ \
  OP(adamw, none, "param! grad m! v! squaredNorm? segments rates", "", "self", REAL(scale) REAL(beta1) REAL(beta2) REAL(eps) INT(step) REAL(clip))
// clang-format on

namespace lateforge {

enum class Activation : int64_t { gelu = 0, geluTanh = 1, relu = 2, tanh = 3, sigmoid = 4, silu = 5 };
enum class Layout : int64_t { all = 0, grouped = 1, pairs = 2 };

enum class Op : int32_t {
#define OP(name, ...) name,
  LF_OPS(OP)
#undef OP
      count
};
constexpr int kOpCount = static_cast<int>(Op::count);

namespace params {
#define INT(name) int64_t name;
#define REAL(name) double name;
#define OP(name, scratch, inputs, outputs, backward, ...) \
  struct name {                                           \
    __VA_ARGS__                                           \
  };
LF_OPS(OP)
#undef OP
#undef INT
#undef REAL
}  // namespace params

}  // namespace lateforge
