/** A model small enough to check by hand, with dropout, for tests of the training pieces. */
import type { TrainBatch } from '../../lib/data/collate.js'
import type { TokenColumn } from '../../lib/data/column.js'
import type { StepKey } from '../../lib/nn/index.js'
import { Parameters } from '../../lib/nn/parameters.js'
import { type Device, ops, Segments, scope, Tensor } from '../../lib/tensor/index.js'
import type { EmbeddingModel } from '../../lib/train/gradcache.js'
import { Random } from '../random.js'

export const vocabulary = 50

export class ToyModel implements EmbeddingModel {
  readonly dim = 16
  readonly parameters: Parameters
  constructor(
    readonly device: Device,
    seed: number,
    private readonly dropout = 0.2,
  ) {
    this.parameters = new Parameters(device, [
      { name: 'table', shape: [vocabulary, 24] },
      { name: 'qkv', shape: [72, 24] },
      { name: 'norm', shape: [24] },
      { name: 'projection', shape: [16, 24] },
    ])
    const random = new Random(seed)
    const values = random.normals(this.parameters.count, 0.5)
    this.parameters.values.write(device.real === 'float64' ? values : Float32Array.from(values))
  }

  embed(column: TokenColumn, first: number, last: number, key: StepKey | null) {
    const { device } = this
    return scope(() => {
      const offsets = column.offsets.slice(first, last + 1).map((o) => o - column.offsets[first]!)
      const segments = Segments.of(device, offsets)
      const ids = Tensor.fromInt32(device, column.ids.slice(column.offsets[first]!, column.offsets[last]!))
      const seeds = new Int32Array(2 * (last - first))
      for (let i = first; i < last; i++)
        seeds.set([(key?.step ?? 0) * 2 + column.column, column.rows[i]!], 2 * (i - first))
      const drop = (site: number) =>
        key && this.dropout
          ? { p: this.dropout, site, seeds: Tensor.fromInt32(device, seeds, [last - first, 2]) }
          : null
      let x = ops.embedding(this.parameters.get('table'), ids)
      const attended = ops.attention(ops.linear(x, this.parameters.get('qkv')), segments, null, {
        heads: 3,
        window: null,
        dropout: drop(1),
      })
      x = ops.layerNorm(ops.dropout(attended, segments, drop(2)), this.parameters.get('norm'), null, 1e-5, x).y
      return { tokens: ops.l2Normalize(ops.linear(x, this.parameters.get('projection'))), segments }
    })
  }
}

/** A column in which every token is attended to and kept. */
export function plainColumn(
  ids: Int32Array<ArrayBuffer>,
  offsets: Float64Array<ArrayBuffer>,
  column: number,
): TokenColumn {
  const keyLengths = Int32Array.from(offsets.subarray(1), (end, i) => end - offsets[i]!)
  return {
    ids,
    offsets,
    keyLengths,
    keep: null,
    keptOffsets: offsets,
    rows: Float64Array.from(keyLengths.keys()),
    column,
  }
}

/**
 * @param documents of each query: as many for all, or how many each has
 * @param empty documents without tokens
 */
export function toyBatch(
  seed: number,
  queries: number,
  documents: number | readonly number[],
  empty: number[] = [],
): TrainBatch {
  const random = new Random(seed)
  const documentsPerQuery = Int32Array.from({ length: queries }, (_, i) =>
    typeof documents === 'number' ? documents : documents[i]!,
  )
  const count = documentsPerQuery.reduce((sum, n) => sum + n, 0)
  const column = (count: number, longest: number, number: number): TokenColumn => {
    const offsets = new Float64Array(count + 1)
    for (let i = 0; i < count; i++) {
      const length = 1 + random.integer(longest)
      offsets[i + 1] = offsets[i]! + (number === 1 && empty.includes(i) ? 0 : length)
    }
    const ids = Int32Array.from({ length: offsets[count]! }, () => random.integer(vocabulary))
    return plainColumn(ids, offsets, number)
  }
  const columns = { queries: column(queries, 6, 0), documents: column(count, 20, 1) }
  return {
    step: 0,
    source: 'toy',
    ...columns,
    documentsPerQuery,
    counts: [queries],
    queryOffsets: columns.queries.keptOffsets,
    documentOffsets: columns.documents.keptOffsets,
    queryDuplicateIds: Int32Array.from({ length: queries }, (_, i) => i),
    documentDuplicateIds: Int32Array.from({ length: count }, (_, i) => i),
    scores: null,
  }
}
