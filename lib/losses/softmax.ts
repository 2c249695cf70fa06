import type { BatchSlice, Span } from '../distributed/batch-slice.js'
import type { Pending } from '../distributed/group.js'
import * as raw from '../tensor/ops.gen.js'
import { Segments, Tensor } from '../tensor/tensor.js'

/** What all softmaxes of a loss share: temperature, and what they add to. */
interface Common {
  device: Tensor['device']
  /** log(1/τ), [1]; clamped where it is learned. */
  logScale: Tensor
  learned: number
  /** Of the loss: 1 / sum of all weights. */
  normalizer: number
  /** [1], added to. */
  loss: Tensor
  /** [1], the gradient of `logScale`, added to; null: not needed. */
  ds: Tensor | null
}

/** Of the whole batch, in rank order. */
interface Batch {
  /** [B + 1] where the columns of each row start, its positive first. */
  groups: ArrayLike<number>
  /** [B], and one per column: equal ids are never each other's negatives. */
  rowDuplicateIds?: Int32Array
  columnDuplicateIds?: Int32Array
  /** [B] */
  weights: Float64Array | null
}

/** A softmax over the rows of a matrix of scores, of which a block, or a rank, may have some rows and some columns. */
export class Softmax {
  private readonly groups: Segments
  private readonly rowIds: Tensor | null
  private readonly columnIds: Tensor | null

  constructor(
    private readonly common: Common,
    private readonly batch: Batch,
  ) {
    const { device } = common
    const { rowDuplicateIds, columnDuplicateIds } = batch
    this.groups = Segments.of(device, batch.groups)
    this.rowIds = rowDuplicateIds ? Tensor.fromInt32(device, rowDuplicateIds) : null
    this.columnIds = columnDuplicateIds ? Tensor.fromInt32(device, columnDuplicateIds) : null
  }

  /**
   * Largest logit, Σ exp(logit − largest), logit of the positive, [rows, 3], of rows from `firstRow` of the batch and the
   * columns of its queries from `firstQuery`, whose tokens `segments` count: an empty one takes no part.
   */
  stats(scores: Tensor, segments: Segments, firstRow: number, firstQuery: number): Tensor {
    const { logScale, learned } = this.common
    const at = { firstRow, firstQuery, learned }
    return raw.rowStats(scores, logScale, segments, this.groups, this.rowIds, this.columnIds, at)
  }

  /** Adds the loss of rows from `first` of the batch, whose stats are complete. @returns their log-sum-exps, [rows] */
  lossOf(stats: Tensor, first: number): Tensor {
    const { loss, normalizer } = this.common
    return raw.contrastiveLoss(stats, this.weightsOf(first, stats.shape[0]!), loss, { normalizer })
  }

  /**
   * Adds the loss of this rank's rows from the stats of those that are here. @returns the log-sum-exps of the latter
   * @param spread whether other ranks have other columns of them: then each row's stats go to the rank that owns it, which
   *   joins them in rank order, and its log-sum-exp to all
   */
  join(stats: Tensor, { group, counts, own }: BatchSlice, spread: boolean): Pending {
    if (!spread) {
      const lse = this.lossOf(stats, own.first)
      return { wait: () => lse }
    }
    const parts = group.allToAll(stats, counts, Array<number>(group.size).fill(own.count)).wait()
    return group.allGather(this.lossOf(raw.combineStats(parts, { ranks: group.size }), own.first), counts)
  }

  /** Puts the gradient of scores in their place. @param lse of their rows; the rest as in `stats` */
  differentiate(scores: Tensor, lse: Tensor, segments: Segments, firstRow: number, firstQuery: number): void {
    const { logScale, learned, normalizer, ds } = this.common
    const weights = this.weightsOf(firstRow, scores.shape[0]!)
    const params = { firstRow, firstQuery, learned, normalizer }
    raw.softmaxGrad(scores, lse, logScale, segments, this.groups, this.rowIds, this.columnIds, weights, ds, params)
  }

  private weightsOf(first: number, count: number): Tensor | null {
    const { weights } = this.batch
    return weights && Tensor.from(this.common.device, weights.subarray(first, first + count))
  }
}

/** The softmax from documents to queries: its rows are the positives among the columns of the scores, its columns queries. */
export class Turned {
  readonly softmax: Softmax
  private readonly positives: Tensor

  /** @param columns whose documents are here, as `documents` */
  constructor(
    common: Common,
    { groups, rowDuplicateIds, columnDuplicateIds, weights }: Batch,
    documents: Segments,
    private readonly columns: Span,
  ) {
    const total = groups.length - 1
    const { first, count } = columns
    const positives = Int32Array.from({ length: count }, (_, i) => groups[first + i]! - groups[first]!)
    // An empty positive is a row without a loss.
    const own = weights ? Float64Array.from(weights) : new Float64Array(total).fill(1)
    for (const [i, at] of positives.entries())
      if (documents.offsets[at] === documents.offsets[at + 1]) own[first + i] = 0
    this.positives = Tensor.fromInt32(common.device, positives)
    this.softmax = new Softmax(common, {
      groups: Array.from({ length: total + 1 }, (_, i) => i),
      rowDuplicateIds:
        columnDuplicateIds && Int32Array.from({ length: total }, (_, i) => columnDuplicateIds[groups[i]!]!),
      columnDuplicateIds: rowDuplicateIds,
      weights: own,
    })
  }

  /** Of scores [rows, columns] of queries from `firstQuery`: [positives, 3]. */
  stats(scores: Tensor, queries: Segments, firstQuery: number): Tensor {
    return this.softmax.stats(this.turn(scores), queries, this.columns.first, firstQuery)
  }

  /** The gradient of scores, [rows, columns]. */
  gradient(scores: Tensor, lse: Tensor, queries: Segments, firstQuery: number): Tensor {
    const turned = this.turn(scores)
    this.softmax.differentiate(turned, lse, queries, this.columns.first, firstQuery)
    return raw.rowsToColumns(raw.scatterRows(turned, this.positives, { rows: scores.shape[1]! }))
  }

  /** [positives, rows] */
  private turn(scores: Tensor): Tensor {
    return raw.gatherRows(raw.rowsToColumns(scores), this.positives)
  }
}
