// Made by native/tools/genops.mjs from native/ops/list.h: one function per op, without gradients (ops.ts has those).
// biome-ignore-all format: generated
import { type Operand, run } from './dispatch.js'
import type { Tensor } from './tensor.js'

/** x any shape */
export function zero(x: Tensor): void {
  run(0, [x], [], 0)
}

/** x [n, …], y [m, …]: y[row …] = x */
export function copyRows(x: Tensor, y: Tensor, p: { row: number }): void {
  run(1, [x, y], [p.row], 0)
}

/** a, b, y of one shape */
export function add(a: Tensor, b: Tensor): Tensor {
  return run(2, [a, b], [], 1)[0] as Tensor
}

/** x, y of one shape */
export function addInto(x: Tensor, y: Tensor): void {
  run(3, [x, y], [], 0)
}

/** x, y of one shape; factor [1]; y = x · by · factor */
export function scale(x: Tensor, factor: Operand, p: { by: number }): Tensor {
  return run(4, [x, factor], [p.by], 1)[0] as Tensor
}

/** the same in place */
export function rescale(x: Tensor, factor: Operand, p: { by: number }): void {
  run(5, [x, factor], [p.by], 0)
}

/** x, y of one shape; to the type of y, to nearest, ties to even */
export function cast(x: Tensor, y: Tensor): void {
  run(6, [x, y], [], 0)
}

/** x, y of one shape; kind: Activation */
export function activation(x: Tensor, p: { kind: number }): Tensor {
  return run(7, [x], [p.kind], 1)[0] as Tensor
}

/** x, dy, dx of one shape */
export function activationBackward(x: Tensor, dy: Tensor, p: { kind: number }): Tensor {
  return run(8, [x, dy], [p.kind], 1)[0] as Tensor
}

/** x [T, 2 · d], y [T, d] = activation(first half) · second half */
export function geglu(x: Tensor, p: { kind: number }): Tensor {
  return run(9, [x], [p.kind], 1)[0] as Tensor
}

/** x [T, 2 · d], dy [T, d], dx [T, 2 · d] */
export function gegluBackward(x: Tensor, dy: Tensor, p: { kind: number }): Tensor {
  return run(10, [x, dy], [p.kind], 1)[0] as Tensor
}

/** x, y [T, d]; p: probability of dropping; site: counter word that names layer and place */
export function dropout(x: Tensor, segments: Tensor, seeds: Tensor, p: { p: number; site: number }): Tensor {
  return run(11, [x, segments, seeds], [p.p, p.site], 1)[0] as Tensor
}

/** x any shape; an error where it is not */
export function assertFinite(x: Tensor): void {
  run(12, [x], [], 0)
}

/** x [T, d], index int32 [n] rising, y [n, d] */
export function gatherRows(x: Tensor, index: Tensor): Tensor {
  return run(13, [x, index], [], 1)[0] as Tensor
}

/** dy [n, d], index int32 [n] rising, dx [rows, d] */
export function scatterRows(dy: Tensor, index: Tensor, p: { rows: number }): Tensor {
  return run(14, [dy, index], [p.rows], 1)[0] as Tensor
}

/** x [n, m], y [m, n] */
export function rowsToColumns(x: Tensor): Tensor {
  return run(15, [x], [], 1)[0] as Tensor
}

/** x, y [T, d]: each row over the number of rows of its sequence */
export function divideRows(x: Tensor, segments: Tensor): Tensor {
  return run(16, [x, segments], [], 1)[0] as Tensor
}

/** x [T, d], y [n, d]; kind: 0 first row, 1 mean */
export function poolRows(x: Tensor, segments: Tensor, p: { kind: number }): Tensor {
  return run(17, [x, segments], [p.kind], 1)[0] as Tensor
}

/** dy [n, d], dx [T, d] */
export function poolRowsBackward(dy: Tensor, segments: Tensor, p: { kind: number }): Tensor {
  return run(18, [dy, segments], [p.kind], 1)[0] as Tensor
}

/** table [V, d], ids int32 [T], y [T, d] */
export function embedding(table: Tensor, ids: Tensor): Tensor {
  return run(19, [table, ids], [], 1)[0] as Tensor
}

/** dy [T, d], ids int32 [T], dTable [V, d] */
export function embeddingBackward(dy: Tensor, ids: Tensor, dTable: Tensor): void {
  run(20, [dy, ids, dTable], [], 0)
}

/** x [T, in], w [out, in], b [out], y [T, out] = x · wᵀ + b */
export function linear(x: Tensor, w: Tensor, b: Operand): Tensor {
  return run(21, [x, w, b], [], 1)[0] as Tensor
}

/** dy [T, out]; dw, db as w, b; dx [T, in] if needInput */
export function linearBackward(x: Tensor, w: Tensor, dy: Tensor, dw: Operand, db: Operand, p: { needInput: number }): [dx: Tensor | null] {
  return run(22, [x, w, dy, dw, db], [p.needInput], 1) as [dx: Tensor | null]
}

/** w [out, in]; packed int8 [out / 32, in / 4, 32, 4], zeros beyond either end; scales [out] */
export function packInt8(w: Tensor): [packed: Tensor, scales: Tensor] {
  return run(23, [w], [], 2) as [packed: Tensor, scales: Tensor]
}

/** x [T, in], packed and scales of w [out, in], b [out], y [T, out] = x · wᵀ + b, rows of x made int8 for it */
export function linearInt8(x: Tensor, packed: Tensor, scales: Tensor, b: Operand): Tensor {
  return run(24, [x, packed, scales, b], [], 1)[0] as Tensor
}

/** x, y [T, d], norm [T] */
export function l2Normalize(x: Tensor, p: { eps: number }): [y: Tensor, norm: Tensor] {
  return run(25, [x], [p.eps], 2) as [y: Tensor, norm: Tensor]
}

/** y, dy, dx [T, d], norm [T] */
export function l2NormalizeBackward(y: Tensor, norm: Tensor, dy: Tensor, p: { eps: number }): Tensor {
  return run(26, [y, norm, dy], [p.eps], 1)[0] as Tensor
}

/** x, residual, y, sum, nextResidual [T, d]; gamma, beta [d]; stats [T, 2]: mean, 1 / deviation */
export function layerNorm(x: Tensor, residual: Operand, gamma: Tensor, beta: Operand, p: { eps: number; wantNextResidual: number }): [y: Tensor, sum: Tensor | null, stats: Tensor, nextResidual: Tensor | null] {
  return run(27, [x, residual, gamma, beta], [p.eps, p.wantNextResidual], 4) as [y: Tensor, sum: Tensor | null, stats: Tensor, nextResidual: Tensor | null]
}

/** sum, dy, dsum, dx [T, d]; gamma, dgamma, dbeta [d]; stats [T, 2] */
export function layerNormBackward(sum: Tensor, gamma: Tensor, stats: Tensor, dy: Tensor, dsum: Operand, dgamma: Operand, dbeta: Operand): Tensor {
  return run(28, [sum, gamma, stats, dy, dsum, dgamma, dbeta], [], 1)[0] as Tensor
}

/** x [T, 3 · heads · h], q and k of it rotated; table [positions, h]: cosines, sines */
export function rope(x: Tensor, segments: Tensor, table: Tensor, p: { heads: number; inverse: number }): void {
  run(29, [x, segments, table], [p.heads, p.inverse], 0)
}

/** qkv [T, 3 · heads · h], o [T, heads · h], lse [T, heads], keyLengths int32 [n]; window: half width, −1 global */
export function attention(qkv: Tensor, segments: Tensor, keyLengths: Operand, seeds: Operand, p: { heads: number; window: number; dropout: number; site: number }): [o: Tensor, lse: Tensor] {
  return run(30, [qkv, segments, keyLengths, seeds], [p.heads, p.window, p.dropout, p.site], 2) as [o: Tensor, lse: Tensor]
}

/** dqkv as qkv, do as o */
export function attentionBackward(qkv: Tensor, o: Tensor, lse: Tensor, dout: Tensor, segments: Tensor, keyLengths: Operand, seeds: Operand, p: { heads: number; window: number; dropout: number; site: number }): Tensor {
  return run(31, [qkv, o, lse, dout, segments, keyLengths, seeds], [p.heads, p.window, p.dropout, p.site], 1)[0] as Tensor
}

/** q [Tq, d], d [Td, d], pairs int64 [2 · P], or offsets of groups [queries + 1]; scores [queries, documents], or one a pair; layout: Layout */
export function maxsim(q: Tensor, qSegments: Tensor, d: Tensor, dSegments: Tensor, pairs: Operand, p: { layout: number; wantArgmax: number; clampNegatives: number }): [scores: Tensor, argmax: Tensor | null] {
  return run(32, [q, qSegments, d, dSegments, pairs], [p.layout, p.wantArgmax, p.clampNegatives], 2) as [scores: Tensor, argmax: Tensor | null]
}

/** d [Td, d] as it is stored: float16, or int8 times scales [Td]; the rest as in maxsim */
export function maxsimStored(q: Tensor, qSegments: Tensor, d: Tensor, dSegments: Tensor, pairs: Operand, scales: Operand, p: { layout: number; clampNegatives: number }): Tensor {
  return run(33, [q, qSegments, d, dSegments, pairs, scales], [p.layout, p.clampNegatives], 1)[0] as Tensor
}

/** d [Td, d] as residual codes: token t is levels[its code] · scales[t] on top of centroids[of[t]], int8 [n, d] times centroidScales [n]; codes uint8 [Td, d · bits / 8], the first number in the lowest bits; scales float16 [Td]; of int32 [Td], a token of a centroid that is not there is all zeros; levels [4] or [16]; the rest as in maxsim */
export function maxsimResidual(q: Tensor, qSegments: Tensor, codes: Tensor, dSegments: Tensor, pairs: Operand, scales: Tensor, of: Tensor, centroids: Tensor, centroidScales: Tensor, levels: Tensor, p: { layout: number; clampNegatives: number }): Tensor {
  return run(34, [q, qSegments, codes, dSegments, pairs, scales, of, centroids, centroidScales, levels], [p.layout, p.clampNegatives], 1)[0] as Tensor
}

/** y [T, d]: the numbers that residual codes stand for, as in maxsimResidual */
export function decodeResidual(codes: Tensor, scales: Tensor, of: Tensor, centroids: Tensor, centroidScales: Tensor, levels: Tensor): Tensor {
  return run(35, [codes, scales, of, centroids, centroidScales, levels], [], 1)[0] as Tensor
}

/** dscores as scores, dq as q, dd as d */
export function maxsimBackward(q: Tensor, qSegments: Tensor, d: Tensor, dSegments: Tensor, pairs: Operand, argmax: Tensor, dscores: Tensor, dq: Operand, dd: Operand, p: { layout: number }): void {
  run(36, [q, qSegments, d, dSegments, pairs, argmax, dscores, dq, dd], [p.layout], 0)
}

/** x [T, d], w [n, d]; scores, rows int32 [T, most]: of the largest products of each row of x with rows of w, largest first, of equal ones the lower row; −∞ and −1 where fewer are numbers above −∞ */
export function nearest(x: Tensor, w: Tensor, p: { most: number }): [scores: Tensor, rows: Tensor] {
  return run(37, [x, w], [p.most], 2) as [scores: Tensor, rows: Tensor]
}

/** x [T, d], w int8 [n, d] times scales [n], cells: segments of the rows of w; chosen int32 [T, m]: in which of them each row of x looks, −1: in none; scores, rows as in nearest */
export function nearestWithin(x: Tensor, w: Tensor, scales: Tensor, cells: Tensor, chosen: Tensor, p: { most: number }): [scores: Tensor, rows: Tensor] {
  return run(38, [x, w, scales, cells, chosen], [p.most], 2) as [scores: Tensor, rows: Tensor]
}

/** scores, guide [rows, columns], positives [rows]: the guide's; −∞ where it is above positive − margin, with relative margin · |positive| */
export function excludeAbove(scores: Tensor, guide: Tensor, positives: Tensor, groups: Tensor, p: { firstRow: number; firstQuery: number; relative: number; margin: number }): void {
  run(39, [scores, guide, positives, groups], [p.firstRow, p.firstQuery, p.relative, p.margin], 0)
}

/** scores [rows, columns], logScale [1], groups int64 [B + 1], qDuplicates int32 [B], dDuplicates int32 [D], stats [rows, 3] */
export function rowStats(scores: Tensor, logScale: Tensor, dSegments: Tensor, groups: Tensor, qDuplicates: Operand, dDuplicates: Operand, p: { firstRow: number; firstQuery: number; learned: number }): Tensor {
  return run(40, [scores, logScale, dSegments, groups, qDuplicates, dDuplicates], [p.firstRow, p.firstQuery, p.learned], 1)[0] as Tensor
}

/** parts [ranks · rows, 3], rank by rank; stats [rows, 3] */
export function combineStats(parts: Tensor, p: { ranks: number }): Tensor {
  return run(41, [parts], [p.ranks], 1)[0] as Tensor
}

/** stats [rows, 3], weights, lse [rows], loss [1]; normalizer: 1 / sum of all weights */
export function contrastiveLoss(stats: Tensor, weights: Operand, loss: Tensor, p: { normalizer: number }): Tensor {
  return run(42, [stats, weights, loss], [p.normalizer], 1)[0] as Tensor
}

/** scores [rows, columns] become their gradient; lse, weights [rows], logScale, dLogScale [1]; the rest as in rowStats */
export function softmaxGrad(scores: Tensor, lse: Tensor, logScale: Tensor, dSegments: Tensor, groups: Tensor, qDuplicates: Operand, dDuplicates: Operand, weights: Operand, dLogScale: Operand, p: { firstRow: number; firstQuery: number; learned: number; normalizer: number }): void {
  run(43, [scores, lse, logScale, dSegments, groups, qDuplicates, dDuplicates, weights, dLogScale], [p.firstRow, p.firstQuery, p.learned, p.normalizer], 0)
}

/** scores, teacher, dscores [P]; querySegments int64 [n + 1]: of P, by query; logScale, loss, dLogScale [1] */
export function distillLoss(scores: Tensor, teacher: Tensor, querySegments: Tensor, logScale: Tensor, dSegments: Tensor, loss: Tensor, dLogScale: Operand, p: { minMax: number; learned: number; normalizer: number }): Tensor {
  return run(44, [scores, teacher, querySegments, logScale, dSegments, loss, dLogScale], [p.minMax, p.learned, p.normalizer], 1)[0] as Tensor
}

/** the same without a temperature */
export function marginMse(scores: Tensor, teacher: Tensor, querySegments: Tensor, dSegments: Tensor, loss: Tensor, p: { normalizer: number }): Tensor {
  return run(45, [scores, teacher, querySegments, dSegments, loss], [p.normalizer], 1)[0] as Tensor
}

/** x [n], y [1] */
export function sumSquares(x: Tensor): Tensor {
  return run(46, [x], [], 1)[0] as Tensor
}

/** param, grad, m, v [n]; squaredNorm [1]; rates [n segments, 2]: learning rate, decay; lr · scale; clip 0: none */
export function adamw(param: Tensor, grad: Tensor, m: Tensor, v: Tensor, squaredNorm: Operand, segments: Tensor, rates: Tensor, p: { scale: number; beta1: number; beta2: number; eps: number; step: number; clip: number }): void {
  run(47, [param, grad, m, v, squaredNorm, segments, rates], [p.scale, p.beta1, p.beta2, p.eps, p.step, p.clip], 0)
}
