/** A batch spread over ranks by any assignment, as lib/data would shard it. */
import type { TrainBatch } from '../../lib/data/collate.js'
import type { TokenColumn } from '../../lib/data/column.js'
import { offsetsOf } from '../../lib/ragged.js'

/** Sequences of a column, in the order given. */
function pick(column: TokenColumn, sequences: readonly number[]): TokenColumn {
  const bounds = (offsets: Float64Array) => {
    const picked = new Float64Array(sequences.length + 1)
    for (const [i, s] of sequences.entries()) picked[i + 1] = picked[i]! + offsets[s + 1]! - offsets[s]!
    return picked
  }
  const offsets = bounds(column.offsets)
  const ids = sequences.flatMap((s) => [...column.ids.subarray(column.offsets[s]!, column.offsets[s + 1]!)])
  const keep = column.keep
  const kept = sequences.flatMap((s, i) =>
    keep
      ? [...keep.subarray(column.keptOffsets[s]!, column.keptOffsets[s + 1]!)].map(
          (row) => row - column.offsets[s]! + offsets[i]!,
        )
      : [],
  )
  return {
    ids: Int32Array.from(ids),
    offsets,
    keyLengths: Int32Array.from(sequences, (s) => column.keyLengths[s]!),
    keep: keep && Int32Array.from(kept),
    keptOffsets: bounds(column.keptOffsets),
    rows: Float64Array.from(sequences, (s) => column.rows[s]!),
    column: column.column,
  }
}

/** A rank's part as a batch of its own, for one process: what a rank trains on that gathers nothing. */
export function shareAlone(
  whole: TrainBatch,
  order: readonly number[],
  counts: readonly number[],
  rank: number,
): TrainBatch {
  const first = counts.slice(0, rank).reduce((sum, n) => sum + n, 0)
  const count = counts[rank]!
  return share(whole, order.slice(first, first + count), [count], 0)
}

/** One rank's part: rows `order` of the whole batch, the first counts[0] of which are rank 0's, and so on. */
export function share(
  whole: TrainBatch,
  order: readonly number[],
  counts: readonly number[],
  rank: number,
): TrainBatch {
  const { documentsPerQuery, queryDuplicateIds, documentDuplicateIds, scores } = whole
  const starts = offsetsOf(documentsPerQuery)
  const documentsOf = (rows: readonly number[]) =>
    rows.flatMap((row) => Array.from({ length: documentsPerQuery[row]! }, (_, k) => starts[row]! + k))
  const first = counts.slice(0, rank).reduce((sum, n) => sum + n, 0)
  const own = order.slice(first, first + counts[rank]!)
  return {
    ...whole,
    queries: pick(whole.queries, own),
    documents: pick(whole.documents, documentsOf(own)),
    documentsPerQuery: Int32Array.from(order, (row) => documentsPerQuery[row]!),
    counts: [...counts],
    queryOffsets: pick(whole.queries, order).keptOffsets,
    documentOffsets: pick(whole.documents, documentsOf(order)).keptOffsets,
    queryDuplicateIds: Int32Array.from(order, (row) => queryDuplicateIds[row]!),
    documentDuplicateIds: Int32Array.from(documentsOf(order), (d) => documentDuplicateIds[d]!),
    scores: scores && Float32Array.from(documentsOf(own), (d) => scores[d]!),
  }
}
