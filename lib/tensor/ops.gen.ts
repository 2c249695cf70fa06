// Made by native/tools/genops.mjs from native/ops/list.h: one function per op, without gradients (ops.ts has those).
// biome-ignore-all format: generated
import { type Operand, run } from './dispatch.js'
import type { Tensor } from './tensor.js'

export function zero(x: Tensor): void {
  run(0, [x], [], 0)
}

export function copyRows(x: Tensor, y: Tensor, p: { row: number }): void {
  run(1, [x, y], [p.row], 0)
}

export function add(a: Tensor, b: Tensor): Tensor {
  return run(2, [a, b], [], 1)[0] as Tensor
}

export function addInto(x: Tensor, y: Tensor): void {
  run(3, [x, y], [], 0)
}

export function scale(x: Tensor, factor: Operand, p: { by: number }): Tensor {
  return run(4, [x, factor], [p.by], 1)[0] as Tensor
}

export function rescale(x: Tensor, factor: Operand, p: { by: number }): void {
  run(5, [x, factor], [p.by], 0)
}

export function cast(x: Tensor, y: Tensor): void {
  run(6, [x, y], [], 0)
}

export function activation(x: Tensor, p: { kind: number }): Tensor {
  return run(7, [x], [p.kind], 1)[0] as Tensor
}

export function activationBackward(x: Tensor, dy: Tensor, p: { kind: number }): Tensor {
  return run(8, [x, dy], [p.kind], 1)[0] as Tensor
}

export function geglu(x: Tensor, p: { kind: number }): Tensor {
  return run(9, [x], [p.kind], 1)[0] as Tensor
}

export function gegluBackward(x: Tensor, dy: Tensor, p: { kind: number }): Tensor {
  return run(10, [x, dy], [p.kind], 1)[0] as Tensor
}

export function dropout(x: Tensor, segments: Tensor, seeds: Tensor, p: { p: number; site: number }): Tensor {
  return run(11, [x, segments, seeds], [p.p, p.site], 1)[0] as Tensor
}

export function assertFinite(x: Tensor): void {
  run(12, [x], [], 0)
}

export function gatherRows(x: Tensor, index: Tensor): Tensor {
  return run(13, [x, index], [], 1)[0] as Tensor
}

export function scatterRows(dy: Tensor, index: Tensor, p: { rows: number }): Tensor {
  return run(14, [dy, index], [p.rows], 1)[0] as Tensor
}

export function poolRows(x: Tensor, segments: Tensor, p: { kind: number }): Tensor {
  return run(15, [x, segments], [p.kind], 1)[0] as Tensor
}

export function poolRowsBackward(dy: Tensor, segments: Tensor, p: { kind: number }): Tensor {
  return run(16, [dy, segments], [p.kind], 1)[0] as Tensor
}

export function embedding(table: Tensor, ids: Tensor): Tensor {
  return run(17, [table, ids], [], 1)[0] as Tensor
}

export function embeddingBackward(dy: Tensor, ids: Tensor, dTable: Tensor): void {
  run(18, [dy, ids, dTable], [], 0)
}

export function linear(x: Tensor, w: Tensor, b: Operand): Tensor {
  return run(19, [x, w, b], [], 1)[0] as Tensor
}

export function linearBackward(x: Tensor, w: Tensor, dy: Tensor, dw: Operand, db: Operand, p: { needInput: number }): [dx: Tensor | null] {
  return run(20, [x, w, dy, dw, db], [p.needInput], 1) as [dx: Tensor | null]
}

export function l2Normalize(x: Tensor, p: { eps: number }): [y: Tensor, norm: Tensor] {
  return run(21, [x], [p.eps], 2) as [y: Tensor, norm: Tensor]
}

export function l2NormalizeBackward(y: Tensor, norm: Tensor, dy: Tensor, p: { eps: number }): Tensor {
  return run(22, [y, norm, dy], [p.eps], 1)[0] as Tensor
}

export function layerNorm(x: Tensor, residual: Operand, gamma: Tensor, beta: Operand, p: { eps: number; wantNextResidual: number }): [y: Tensor, sum: Tensor | null, stats: Tensor, nextResidual: Tensor | null] {
  return run(23, [x, residual, gamma, beta], [p.eps, p.wantNextResidual], 4) as [y: Tensor, sum: Tensor | null, stats: Tensor, nextResidual: Tensor | null]
}

export function layerNormBackward(sum: Tensor, gamma: Tensor, stats: Tensor, dy: Tensor, dsum: Operand, dgamma: Operand, dbeta: Operand): Tensor {
  return run(24, [sum, gamma, stats, dy, dsum, dgamma, dbeta], [], 1)[0] as Tensor
}

export function rope(x: Tensor, segments: Tensor, table: Tensor, p: { heads: number; inverse: number }): void {
  run(25, [x, segments, table], [p.heads, p.inverse], 0)
}

export function attention(qkv: Tensor, segments: Tensor, keyLengths: Operand, seeds: Operand, p: { heads: number; window: number; dropout: number; site: number }): [o: Tensor, lse: Tensor] {
  return run(26, [qkv, segments, keyLengths, seeds], [p.heads, p.window, p.dropout, p.site], 2) as [o: Tensor, lse: Tensor]
}

export function attentionBackward(qkv: Tensor, o: Tensor, lse: Tensor, dout: Tensor, segments: Tensor, keyLengths: Operand, seeds: Operand, p: { heads: number; window: number; dropout: number; site: number }): Tensor {
  return run(27, [qkv, o, lse, dout, segments, keyLengths, seeds], [p.heads, p.window, p.dropout, p.site], 1)[0] as Tensor
}

export function maxsim(q: Tensor, qSegments: Tensor, d: Tensor, dSegments: Tensor, pairs: Operand, p: { layout: number; wantArgmax: number; clampNegatives: number }): [scores: Tensor, argmax: Tensor | null] {
  return run(28, [q, qSegments, d, dSegments, pairs], [p.layout, p.wantArgmax, p.clampNegatives], 2) as [scores: Tensor, argmax: Tensor | null]
}

export function maxsimBackward(q: Tensor, qSegments: Tensor, d: Tensor, dSegments: Tensor, pairs: Operand, argmax: Tensor, dscores: Tensor, dq: Operand, dd: Operand, p: { layout: number }): void {
  run(29, [q, qSegments, d, dSegments, pairs, argmax, dscores, dq, dd], [p.layout], 0)
}

export function rowStats(scores: Tensor, logScale: Tensor, dSegments: Tensor, qDuplicates: Operand, dDuplicates: Operand, p: { firstRow: number; documentsPerQuery: number; firstQuery: number; learned: number }): Tensor {
  return run(30, [scores, logScale, dSegments, qDuplicates, dDuplicates], [p.firstRow, p.documentsPerQuery, p.firstQuery, p.learned], 1)[0] as Tensor
}

export function combineStats(parts: Tensor, p: { ranks: number }): Tensor {
  return run(31, [parts], [p.ranks], 1)[0] as Tensor
}

export function contrastiveLoss(stats: Tensor, weights: Operand, loss: Tensor, p: { normalizer: number }): Tensor {
  return run(32, [stats, weights, loss], [p.normalizer], 1)[0] as Tensor
}

export function softmaxGrad(scores: Tensor, lse: Tensor, logScale: Tensor, dSegments: Tensor, qDuplicates: Operand, dDuplicates: Operand, weights: Operand, dLogScale: Operand, p: { firstRow: number; documentsPerQuery: number; firstQuery: number; learned: number; normalizer: number }): void {
  run(33, [scores, lse, logScale, dSegments, qDuplicates, dDuplicates, weights, dLogScale], [p.firstRow, p.documentsPerQuery, p.firstQuery, p.learned, p.normalizer], 0)
}

export function distillLoss(scores: Tensor, teacher: Tensor, querySegments: Tensor, logScale: Tensor, dSegments: Tensor, loss: Tensor, dLogScale: Operand, p: { minMax: number; learned: number; normalizer: number }): Tensor {
  return run(34, [scores, teacher, querySegments, logScale, dSegments, loss, dLogScale], [p.minMax, p.learned, p.normalizer], 1)[0] as Tensor
}

export function marginMse(scores: Tensor, teacher: Tensor, querySegments: Tensor, dSegments: Tensor, loss: Tensor, p: { normalizer: number }): Tensor {
  return run(35, [scores, teacher, querySegments, dSegments, loss], [p.normalizer], 1)[0] as Tensor
}

export function sumSquares(x: Tensor): Tensor {
  return run(36, [x], [], 1)[0] as Tensor
}

export function adamw(param: Tensor, grad: Tensor, m: Tensor, v: Tensor, squaredNorm: Operand, segments: Tensor, rates: Tensor, p: { scale: number; beta1: number; beta2: number; eps: number; step: number; clip: number }): void {
  run(37, [param, grad, m, v, squaredNorm, segments, rates], [p.scale, p.beta1, p.beta2, p.eps, p.step, p.clip], 0)
}
