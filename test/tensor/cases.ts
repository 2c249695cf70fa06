/**
 * One case per op of the op list: inputs on a device, and how a scalar follows from them. The suite (ops.test.ts) checks
 * gradients against central differences on the float64 backend and both backends against each other; an op of the list
 * that is neither a case here nor named as covered by one fails it.
 */
import { type Device, ops, raw, Segments, Tensor as T, type Tensor } from '../../lib/tensor/index.js'
import type { Random } from '../random.js'

export interface Case {
  name: string
  /** Real inputs, by name: shape and spread; these are differentiated. */
  inputs: Record<string, { shape: number[]; scale?: number; unit?: boolean }>
  /** Ops of the list that running forward and backward exercises. */
  covers: string[]
  /** Builds the output from the inputs; everything else it needs it makes from `random` (same draws every call). */
  build(x: Record<string, Tensor>, device: Device, random: Random): Tensor
  /** Kinks (ties of a maximum, relu) make a difference quotient wrong with small probability: skip those entries. */
  step?: number
}

const lengths = [1, 5, 3, 9]
const rows = lengths.reduce((a, b) => a + b)

function seedsOf(device: Device, n: number, random: Random): Tensor {
  return T.fromInt32(
    device,
    Int32Array.from({ length: 2 * n }, () => (random.next() * 4294967296) | 0),
    [n, 2],
  )
}

const activationCases: Case[] = ops.activations.map((name) => ({
  name: `activation ${name}`,
  inputs: { x: { shape: [7, 13], scale: 2 } },
  covers: ['activation', 'activationBackward'],
  build: ({ x }) => ops.activation(x!, name),
}))

const attentionCase = (
  name: string,
  heads: number,
  headDim: number,
  window: number | null,
  p: number,
  partial: boolean,
): Case => ({
  name: `attention ${name}`,
  inputs: { qkv: { shape: [rows, 3 * heads * headDim] } },
  covers: ['attention', 'attentionBackward'],
  build: ({ qkv }, device, random) =>
    ops.attention(
      qkv!,
      Segments.fromLengths(device, lengths),
      partial ? T.fromInt32(device, Int32Array.from([1, 2, 3, 4])) : null,
      { heads, window, dropout: p ? { p, seeds: seedsOf(device, lengths.length, random), site: 3 } : null },
    ),
})

const queryLengths = [3, 1, 4]
const documentLengths = [5, 2, 1, 7, 0, 3]
const maxsimInputs = {
  q: { shape: [8, 16], unit: true },
  d: { shape: [18, 16], unit: true },
}
const maxsimCase = (name: string, layout: ops.Layout, pairs: number[] | null, clampNegatives = false): Case => ({
  name: `maxsim ${name}`,
  inputs: maxsimInputs,
  covers: ['maxsim', 'maxsimBackward'],
  build: ({ q, d }, device) =>
    ops.maxsim(
      q!,
      Segments.fromLengths(device, queryLengths),
      d!,
      Segments.fromLengths(device, documentLengths),
      layout,
      pairs && Segments.of(device, pairs),
      clampNegatives,
    ),
  step: 1e-6,
})

export const cases: Case[] = [
  {
    name: 'add',
    inputs: { a: { shape: [5, 3] }, b: { shape: [5, 3] } },
    covers: ['add'],
    build: ({ a, b }) => ops.add(a!, b!),
  },
  {
    name: 'add, one input twice',
    inputs: { a: { shape: [5, 3] } },
    covers: ['add'],
    build: ({ a }) => ops.add(ops.scale(a!, 2), a!),
  },
  { name: 'scale', inputs: { x: { shape: [4, 9] } }, covers: ['scale'], build: ({ x }) => ops.scale(x!, -1.75) },
  ...activationCases,
  {
    name: 'geglu',
    inputs: { x: { shape: [6, 34], scale: 2 } },
    covers: ['geglu', 'gegluBackward'],
    build: ({ x }) => ops.geglu(x!),
  },
  {
    name: 'geglu, tanh form',
    inputs: { x: { shape: [3, 10], scale: 2 } },
    covers: ['geglu', 'gegluBackward'],
    build: ({ x }) => ops.geglu(x!, 'geluTanh'),
  },
  {
    name: 'dropout',
    inputs: { x: { shape: [rows, 11] } },
    covers: ['dropout'],
    build: ({ x }, device, random) =>
      ops.dropout(x!, Segments.fromLengths(device, lengths), {
        p: 0.3,
        seeds: seedsOf(device, lengths.length, random),
        site: 7,
      }),
  },
  {
    name: 'l2Normalize',
    inputs: { x: { shape: [9, 19] } },
    covers: ['l2Normalize', 'l2NormalizeBackward'],
    build: ({ x }) => ops.l2Normalize(x!),
  },
  {
    name: 'gatherRows',
    inputs: { x: { shape: [10, 7] } },
    covers: ['gatherRows', 'scatterRows'],
    build: ({ x }, device) => ops.gatherRows(x!, T.fromInt32(device, Int32Array.from([0, 3, 4, 9]))),
  },
  {
    name: 'rowsToColumns',
    inputs: { x: { shape: [37, 70] } },
    covers: ['rowsToColumns'],
    build: ({ x }) => ops.rowsToColumns(x!),
  },
  {
    name: 'divideRows',
    inputs: { x: { shape: [rows, 6] } },
    covers: ['divideRows'],
    build: ({ x }, device) => ops.divideRows(x!, Segments.fromLengths(device, [...lengths, 0])),
  },
  ...(['cls', 'mean'] as const).map(
    (how): Case => ({
      name: `poolRows ${how}`,
      inputs: { x: { shape: [rows, 6] } },
      covers: ['poolRows', 'poolRowsBackward'],
      build: ({ x }, device) => ops.poolRows(x!, Segments.fromLengths(device, [...lengths, 0]), how),
    }),
  ),
  {
    name: 'embedding',
    inputs: { table: { shape: [12, 9] } },
    covers: ['embedding', 'embeddingBackward'],
    build: ({ table }, device, random) =>
      ops.embedding(
        table!,
        T.fromInt32(
          device,
          Int32Array.from({ length: 31 }, () => random.integer(12)),
        ),
      ),
  },
  {
    name: 'linear',
    inputs: { x: { shape: [9, 17] }, w: { shape: [13, 17] }, b: { shape: [13] } },
    covers: ['linear', 'linearBackward'],
    build: ({ x, w, b }) => ops.linear(x!, w!, b),
  },
  {
    name: 'linear without bias',
    inputs: { x: { shape: [33, 8] }, w: { shape: [5, 8] } },
    covers: ['linear', 'linearBackward'],
    build: ({ x, w }) => ops.linear(x!, w!),
  },
  {
    name: 'layerNorm',
    inputs: { x: { shape: [7, 24] }, g: { shape: [24] } },
    covers: ['layerNorm', 'layerNormBackward'],
    build: ({ x, g }) => ops.layerNorm(x!, g!, null, 1e-5).y,
  },
  {
    name: 'layerNorm with residual and bias, both outputs used',
    inputs: { x: { shape: [7, 23] }, r: { shape: [7, 23] }, g: { shape: [23] }, b: { shape: [23] } },
    covers: ['layerNorm', 'layerNormBackward'],
    build: ({ x, r, g, b }) => {
      const { y, sum } = ops.layerNorm(x!, g!, b!, 1e-5, r)
      return ops.layerNorm(y, g!, null, 1e-5, sum).y
    },
  },
  {
    name: 'layerNorm whose result is the next residual too',
    inputs: { x: { shape: [7, 24] }, r: { shape: [7, 24] }, g: { shape: [24] }, b: { shape: [24] } },
    covers: ['layerNorm', 'layerNormBackward'],
    build: ({ x, r, g, b }) => {
      const { y, nextResidual } = ops.layerNorm(x!, g!, b!, 1e-5, r, true)
      return ops.layerNorm(ops.scale(y, 0.5), g!, null, 1e-5, nextResidual).y
    },
  },
  {
    name: 'layerNorm with residual, sum unused',
    inputs: { x: { shape: [3, 8] }, r: { shape: [3, 8] }, g: { shape: [8] }, b: { shape: [8] } },
    covers: ['layerNorm', 'layerNormBackward'],
    build: ({ x, r, g, b }) => ops.layerNorm(x!, g!, b!, 1e-12, r).y,
  },
  {
    name: 'rope',
    inputs: { x: { shape: [rows, 3 * 2 * 8] } },
    covers: ['rope'],
    build: ({ x }, device) =>
      ops.rope(
        ops.scale(x!, 1),
        Segments.fromLengths(device, lengths),
        T.from(device, ops.ropeTable(16, 8, 100), [16, 8]),
        2,
      ),
  },
  attentionCase('global', 2, 32, null, 0, false),
  attentionCase('window 2, head dim 64', 1, 64, 2, 0, false),
  attentionCase('fewer keys than queries', 2, 8, null, 0, true),
  attentionCase('fewer keys, window 1', 1, 16, 1, 0, true),
  attentionCase('dropout', 2, 8, null, 0.25, false),
  maxsimCase('all pairs', 'all', null),
  maxsimCase('grouped', 'grouped', [0, 2, 3, 6]),
  maxsimCase('pairs', 'pairs', [0, 1, 2, 3, 0, 1, 1, 5, 2, 4]),
  maxsimCase('all pairs, floor 0', 'all', null, true),
]

/** Ops that move or change data in place, or are parts of a loss: the file below test/ that calls each by its name. */
export const coveredElsewhere: Record<string, string> = {
  zero: 'tensor/inplace.test.ts',
  copyRows: 'tensor/inplace.test.ts',
  addInto: 'tensor/inplace.test.ts',
  rescale: 'tensor/inplace.test.ts',
  maxsimStored: 'native/stored_test.cc',
  maxsimResidual: 'native/stored_test.cc',
  decodeResidual: 'native/stored_test.cc',
  packInt8: 'native/int8_test.cc',
  linearInt8: 'native/int8_test.cc',
  nearest: 'native/nearest_test.cc',
  nearestWithin: 'native/nearest_test.cc',
  assertFinite: 'tensor/stream.test.ts',
  cast: 'tensor/cast.test.ts',
  excludeAbove: 'native/loss_test.cc',
  rowStats: 'native/loss_test.cc',
  combineStats: 'native/loss_test.cc',
  contrastiveLoss: 'native/loss_test.cc',
  softmaxGrad: 'native/loss_test.cc',
  distillLoss: 'native/loss_test.cc',
  marginMse: 'native/loss_test.cc',
  sumSquares: 'native/kernels_test.cc',
  adamw: 'native/kernels_test.cc',
}

export { raw }
