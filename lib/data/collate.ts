import { createHash } from 'node:crypto'
import { type RowShards, shardRows } from '../distributed/shard-rows.js'
import { ArgumentError } from '../errors.js'
import { type Choice, native } from '../native.js'
import { offsetsOf } from '../ragged.js'
import type { Featurizer } from '../text/featurizer.js'
import type { Recipe } from '../text/recipe.js'
import { finish, type TokenColumn } from './column.js'
import { requireScores } from './false-negatives.js'
import { createPlan, type Sampling, type SmallSources } from './plan.js'
import { type PrepareOptions, prepareShards, type ShardSource } from './shards.js'
import { type DataEntry, fileSources, type Source } from './sources.js'

/**
 * One rank's rows of a global batch of B queries, and what it has to know of the others'. "Rank order" is all rows of
 * rank 0, then all of rank 1, and so on; one rank has all rows and b = B.
 */
export interface TrainBatch {
  /** The step it is for, from 0. */
  step: number
  /** Name of the source the batch comes from. */
  source: string
  /** This rank's b queries. */
  queries: TokenColumn
  /** Documents of this rank's queries, one query's after the other's, the positive of each first. */
  documents: TokenColumn
  /** [B] how many documents each query has, of all ranks' queries in rank order; 1 at least, D together. */
  documentsPerQuery: Int32Array<ArrayBuffer>
  /** Queries of each rank; they sum to B. */
  counts: number[]
  /** [B] places in the batch of all ranks' rows, in rank order; absent where one rank has all in theirs. */
  order?: Int32Array<ArrayBuffer>
  /** [B + 1] token bounds of all ranks' queries, in rank order. */
  queryOffsets: Float64Array<ArrayBuffer>
  /** [D + 1] bounds of the kept tokens of all ranks' documents, in rank order; null: not asked for. */
  documentOffsets: Float64Array<ArrayBuffer> | null
  /** [B] of all ranks, in rank order: equal text, equal number; dense from 0. */
  queryDuplicateIds: Int32Array<ArrayBuffer>
  /** [D], as `queryDuplicateIds`. */
  documentDuplicateIds: Int32Array<ArrayBuffer>
  /** Teacher scores of this rank's documents, or null. */
  scores: Float32Array<ArrayBuffer> | null
  /** How its texts became tokens. */
  recipe?: Recipe
}

/** Which rank's rows of a batch: `shardRows` tells them. */
export interface BatchPart {
  /** Whose rows. */
  rank: number
  /** Of how many ranks. */
  ranks: number
  /** Whether `documentOffsets` are needed. Default: on one rank only, where they cost nothing. */
  documents?: boolean
  /** As many rows on each rank, give or take one, rather than as many tokens. Default false. */
  even?: boolean
  /** To the ranks that have them in this batch of the same step: the same rows as other tokens. */
  like?: Pick<TrainBatch, 'order' | 'counts'>
}

/** What batches are made of, and how. */
export interface DataOptions extends PrepareOptions {
  /** File patterns (`pairs/*.jsonl.gz`), each file a source, and entries { files } that are one; or `sources`, or both. */
  data?: string | DataEntry | readonly (string | DataEntry)[]
  /** Sources beside those of `data`, e.g. of `memorySource`. */
  sources?: readonly Source[]
  /** Text to tokens, by a recipe. */
  featurizer: Featurizer
  /** Queries of a global batch. */
  batch: number
  /**
   * Most documents beside the positive; they are taken from the front of a row, and a row that has fewer is used as it
   * is. Default: all of them.
   */
  negatives?: number
  /**
   * Of these, so many drawn anew at each step, uniformly and without repeats, as a function of (seed, step, row); a row that
   * has no more gives all. Default: all of them.
   */
  sampleNegatives?: number
  /**
   * Negatives are left out before that whose stored score is so many times the positive's, or more: false negatives, for
   * a value as .95. All sources need scores. Default: none is.
   */
  dropAbove?: number
  /** Decides the order of rows, and draws. */
  seed: number
  /** How often each source gives a batch. Default `proportional`. */
  sampling?: Sampling
  /** A source with fewer rows than a batch is refused, or its rows repeat within a batch. Default `refuse`. */
  smallSources?: SmallSources
}

/** Training data by step; `close` it. */
export interface TrainData {
  /**
   * The batch of a step, or one rank's rows of it: pure in (seed, step, part). The parts of any number of ranks make
   * up the batch, and a row is the same on whichever rank it is.
   * @throws ArgumentError `ERR_ARGUMENT` for a rank that is not one of `ranks`; DisposedError `ERR_DISPOSED` after close.
   */
  at(step: number, part?: BatchPart): Promise<TrainBatch>
  /** Of content, recipe, tokenizer, batch, choice of negatives, seed and sampling: what `at` depends on. */
  readonly fingerprint: string
  /** Rows of all sources. */
  readonly rows: number
  /** Steps of one pass over all sources. */
  readonly stepsPerEpoch: number
  /** The sources' shards. */
  readonly sources: readonly ShardSource[]
  /** Unmaps the shards; safe to call twice. */
  close(): void
}

/**
 * Training data by step: prepares the shards of the sources and plans the steps.
 * @throws DataError `ERR_DATA` when there is no data, or a source is smaller than a batch.
 */
export async function openBatches(options: DataOptions): Promise<TrainData> {
  const { data = [], sources = [], featurizer, batch, negatives, sampleNegatives, dropAbove, seed } = options
  const { sampling, smallSources } = options
  if (negatives !== undefined && (!Number.isInteger(negatives) || negatives < 0)) {
    throw new ArgumentError('ERR_ARGUMENT', `negatives is ${negatives}; expected a whole number ≥ 0.`, { negatives })
  }
  if (sampleNegatives !== undefined && (!Number.isInteger(sampleNegatives) || sampleNegatives < 1)) {
    throw new ArgumentError('ERR_ARGUMENT', `sampleNegatives is ${sampleNegatives}; expected a whole number ≥ 1.`, {
      sampleNegatives,
    })
  }
  if (dropAbove !== undefined && !(dropAbove > 0 && dropAbove <= 1e30)) {
    throw new ArgumentError('ERR_ARGUMENT', `dropAbove is ${dropAbove}; expected a number > 0.`, { dropAbove })
  }
  const set = await prepareShards([...sources, ...(await fileSources(data, options))], featurizer, options)
  try {
    if (dropAbove !== undefined) for (const source of set.sources) requireScores(source)
    const plan = createPlan({ seed, batch, sources: set.sources, sampling, smallSources })
    // Their rows were cut to the shortest once: a checkpoint from then does not go on with other batches.
    const ragged = set.sources
      .filter(({ minDocuments, maxDocuments }) => negatives === undefined && minDocuments < maxDocuments)
      .map(({ name }) => `all documents of ${name}`)
    return {
      async at(step, part) {
        const { source, rows } = plan.at(step)
        const from = set.sources[source]!
        const most = Math.min(from.maxDocuments, 1 + (negatives ?? Number.POSITIVE_INFINITY))
        if (sampleNegatives === undefined && dropAbove === undefined)
          return collateBatch(featurizer, from, rows, most, most, step, part)
        const sample = sampleNegatives ?? most
        const choice: Choice = { most, sample, seed, step, dropAbove: dropAbove ?? 0 }
        // What is dropped makes room for documents from further behind.
        return collateBatch(featurizer, from, rows, choice, dropAbove ? from.maxDocuments : most, step, part)
      },
      fingerprint: createHash('sha256')
        .update(
          JSON.stringify([
            ...[set.fingerprint, batch, negatives ?? null, seed, sampling ?? 'proportional', ...ragged],
            ...(smallSources === 'wrap' ? [smallSources] : []),
            ...(sampleNegatives === undefined ? [] : [`sample ${sampleNegatives}`]),
            ...(dropAbove === undefined ? [] : [`drop above ${dropAbove}`]),
          ]),
        )
        .digest('hex'),
      rows: set.sources.reduce((sum, source) => sum + source.rows, 0),
      stepsPerEpoch: plan.stepsPerEpoch,
      sources: set.sources,
      close: set.close,
    }
  } catch (error) {
    set.close()
    throw error
  }
}

/** One rank's part of the batch of given rows of one source, with at most `most` documents each, or those of a choice, numbered by `stride`. */
async function collateBatch(
  featurizer: Featurizer,
  source: ShardSource,
  rows: Float64Array<ArrayBuffer>,
  most: number | Choice,
  stride: number,
  step: number,
  { rank, ranks, documents: wanted, even, like }: BatchPart = { rank: 0, ranks: 1 },
): Promise<TrainBatch> {
  if (!Number.isInteger(ranks) || !Number.isInteger(rank) || rank < 0 || rank >= ranks) {
    throw new ArgumentError('ERR_ARGUMENT', `rank ${rank} of ${ranks}; expected 0 ≤ rank < ranks.`, { rank, ranks })
  }
  const { shard } = source
  const addon = native()
  const given = await addon.shardCounts(shard, rows, 1, most)
  const deal = (tokens: Float64Array) => (like?.order ? (like as RowShards) : shardRows(tokens, ranks, even))
  const sharded = ranks === 1 ? null : await shardBatch(featurizer, shard, rows, given, most, deal)
  const { rows: all, documentsPerQuery, counts } = sharded ?? { rows, documentsPerQuery: given, counts: [rows.length] }
  const begin = counts.slice(0, rank).reduce((sum, count) => sum + count, 0)
  const end = begin + counts[rank]!
  const own = all.slice(begin, end)
  const { expandTo, maskId, recipe, skip, querySkip } = featurizer
  // No token passes through JavaScript.
  const [queries, documents, places, queryDuplicateIds, documentDuplicateIds, scores, kept] = await Promise.all([
    addon.shardCollate(shard, own, 0, 1, expandTo, maskId, recipe.attendToExpansionTokens, querySkip ?? undefined),
    addon.shardCollate(shard, own, 1, most, 0, maskId, false, skip),
    addon.shardPlaces(shard, own, 1, most),
    addon.shardGroups(shard, all, 0, 1),
    addon.shardGroups(shard, all, 1, most),
    source.scores ? addon.shardScores(shard, own, 1, most) : null,
    sharded && wanted ? addon.shardLengths(shard, all, 1, most, skip) : null,
  ])
  /** A dense model has one row a text, whatever its tokens. */
  const bounds = (tokens: Int32Array) => offsetsOf(recipe.pooling === 'none' ? tokens : tokens.fill(1))
  const columns = {
    queries: finish(queries, own, 0, recipe),
    documents: finish(
      documents,
      documentNumbers(own, documentsPerQuery.subarray(begin, end), places, stride),
      1,
      recipe,
    ),
  }
  return {
    step,
    source: source.name,
    ...columns,
    documentsPerQuery,
    counts,
    ...(sharded && { order: sharded.order }),
    queryOffsets: sharded ? bounds(sharded.queryTokens) : columns.queries.keptOffsets,
    documentOffsets: sharded ? kept && bounds(kept) : columns.documents.keptOffsets,
    queryDuplicateIds,
    documentDuplicateIds,
    scores,
    recipe,
  }
}

/** Rows, scoring tokens of their queries and numbers of their documents in rank order, and the number of rows of each rank. */
async function shardBatch(
  { expandTo, maskId, querySkip }: Featurizer,
  shard: number,
  rows: Float64Array<ArrayBuffer>,
  documentsPerQuery: Int32Array<ArrayBuffer>,
  most: number | Choice,
  deal: (tokens: Float64Array) => RowShards,
): Promise<{
  rows: Float64Array<ArrayBuffer>
  queryTokens: Int32Array
  documentsPerQuery: Int32Array<ArrayBuffer>
  counts: number[]
  order: Int32Array<ArrayBuffer>
}> {
  const [queries, documents, unskipped] = await Promise.all([
    native().shardLengths(shard, rows, 0, 1),
    native().shardLengths(shard, rows, 1, most),
    querySkip && native().shardLengths(shard, rows, 0, 1, querySkip),
  ])
  const expansion = queries.map((length) => Math.max(0, expandTo - length))
  const queryTokens = (unskipped ?? queries).map((length, i) => length + (querySkip?.[maskId] ? 0 : expansion[i]!))
  const tokens = Float64Array.from(queries, (length, i) => length + expansion[i]!)
  let document = 0
  for (const [row, count] of documentsPerQuery.entries())
    for (const end = document + count; document < end; document++) tokens[row]! += documents[document]!
  const { order, counts } = deal(tokens)
  return {
    rows: rows.map((_, i) => rows[order[i]!]!),
    queryTokens: queryTokens.map((_, i) => queryTokens[order[i]!]!),
    documentsPerQuery: documentsPerQuery.map((_, i) => documentsPerQuery[order[i]!]!),
    counts,
    order,
  }
}

/** A number per document, the same in any batch and on any rank: the one at place j of row r is r·stride + j. */
function documentNumbers(
  rows: Float64Array,
  counts: Int32Array,
  places: Int32Array,
  stride: number,
): Float64Array<ArrayBuffer> {
  const numbers = new Float64Array(places.length)
  let document = 0
  for (const [i, count] of counts.entries())
    for (const end = document + count; document < end; document++)
      numbers[document] = rows[i]! * stride + places[document]!
  return numbers
}
