import type { BatchSlice } from '../distributed/batch-slice.js'
import { ArgumentError } from '../errors.js'
import { checkOptions, flag, type Kinds, number, object, required } from '../options.js'
import * as raw from '../tensor/ops.gen.js'
import type { TokenEmbeddings } from '../tensor/ops.js'
import { Segments, type Tensor } from '../tensor/tensor.js'

/**
 * What another model makes of the same texts. By its scores a document is no negative of a query where it comes too near
 * to the positive, or before it: false negatives, as in GISTEmbed (Solatorio 2024).
 */
export interface Guide {
  /** Of the queries that the loss is given, in their order; of any dimension, one vector a text for a dense model. */
  queries: TokenEmbeddings
  /** Of the documents that the loss is given. */
  documents: TokenEmbeddings
  /** Left out is what scores above the positive's score less this; in units of the guide's scores. Default 0. */
  margin?: number
  /** The margin is a share of the positive's score, of its size where that is negative. Default false. */
  relative?: boolean
}

const kinds: Kinds<Guide> = { queries: object, documents: object, margin: number(), relative: flag }

/** Leaves out documents of a batch by a guide: their scores become −∞, which no softmax counts. */
export class FalseNegatives {
  private readonly groups: Segments
  /** [rows], the guide's scores of the positives. */
  private readonly positives: Tensor

  /** @param groups [B + 1] where the documents of each query of the batch start */
  constructor(
    private readonly guide: Guide,
    private readonly slice: BatchSlice,
    groups: ArrayLike<number>,
  ) {
    checkOptions('contrastive: guide', guide, kinds)
    for (const side of ['queries', 'documents'] as const) required('contrastive: guide', side, guide[side], kinds[side])
    const { group, counts, gathered, own, rows, columns } = slice
    const { queries, documents } = guide
    /** Where the documents of a query of the batch start. */
    const columnOf = (query: number): number => groups[query]! - groups[columns.first]!
    const found = [queries.segments.count, documents.segments.count]
    const expected = [rows.count, columnOf(columns.first + columns.count)]
    if (found.join() !== expected.join())
      throw new ArgumentError(
        'ERR_ARGUMENT',
        `contrastive: the guide has ${found[0]} queries and ${found[1]} documents, the loss ${expected[0]} and ${expected[1]}`,
        { option: 'guide' },
      )
    const { device } = queries.tokens
    this.groups = Segments.of(device, groups)
    const pairs = Array.from({ length: own.count }, (_, i) => [own.first - rows.first + i, columnOf(own.first + i)])
    const scores = this.scores(queries.tokens, queries.segments, Segments.of(device, pairs.flat()))
    const spread = gathered === 'queries' && group.size > 1
    this.positives = spread ? group.allGather(scores, counts).wait() : scores
  }

  /** @param scores [rows, documents] of queries [first, last) of those that are here, in place */
  exclude(scores: Tensor, first: number, last: number): void {
    const { guide, slice, positives } = this
    const { offsets } = guide.queries.segments
    const tokens = guide.queries.tokens.rows(offsets[first]!, offsets[last]!)
    const guides = this.scores(tokens, guide.queries.segments.slice(first, last), null)
    raw.excludeAbove(scores, guides, positives.rows(first, last), this.groups, {
      firstRow: slice.rows.first + first,
      firstQuery: slice.columns.first,
      relative: guide.relative ? 1 : 0,
      margin: guide.margin ?? 0,
    })
  }

  private scores(tokens: Tensor, segments: Segments, pairs: Segments | null): Tensor {
    const { documents, queries } = this.guide
    const clampNegatives = queries.clampNegatives ? 1 : 0
    const params = { layout: pairs ? 2 : 0, wantArgmax: 0, clampNegatives }
    return raw.maxsim(tokens, segments, documents.tokens, documents.segments, pairs, params)[0]
  }
}
