import { createHash } from 'node:crypto'
import { shardRows } from '../distributed/shard-rows.js'
import { ArgumentError, DataError } from '../errors.js'
import { native } from '../native.js'
import type { Featurizer } from '../text/featurizer.js'
import { finish, type TokenColumn } from './column.js'
import { createPlan, type Sampling, type SmallSources } from './plan.js'
import { type PrepareOptions, prepareShards, type ShardSource } from './shards.js'
import { type DataEntry, fileSources, type ResolveDataFiles, type Source } from './sources.js'

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
  /** Of this rank, query-major: document j of query i is sequence i·documentsPerQuery + j, j = 0 the positive. */
  documents: TokenColumn
  /** Documents of each query, the positive included. */
  documentsPerQuery: number
  /** Queries of each rank; they sum to B. */
  counts: number[]
  /** [B + 1] token bounds of all ranks' queries, in rank order. */
  queryOffsets: Float64Array<ArrayBuffer>
  /** [B·documentsPerQuery + 1] bounds of the kept tokens of all ranks' documents, in rank order; null: not asked for. */
  documentOffsets: Float64Array<ArrayBuffer> | null
  /** [B] and [B·documentsPerQuery] of all ranks, in rank order: equal text, equal number; dense from 0. */
  queryDuplicateIds: Int32Array<ArrayBuffer>
  /** [B · documentsPerQuery], as `queryDuplicateIds`. */
  documentDuplicateIds: Int32Array<ArrayBuffer>
  /** Teacher scores of this rank's documents, or null. */
  scores: Float32Array<ArrayBuffer> | null
}

/** Which rank's rows of a batch: `shardRows` tells them. */
export interface BatchPart {
  /** Whose rows. */
  rank: number
  /** Of how many ranks. */
  ranks: number
  /** Whether `documentOffsets` are needed. Default: on one rank only, where they cost nothing. */
  documents?: boolean
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
  /** Documents beside the positive, taken from the front of each row; default: as many as every row of the source has. */
  negatives?: number
  /** Decides the order of rows. */
  seed: number
  /** How often each source gives a batch. Default `proportional`. */
  sampling?: Sampling
  /** A source with fewer rows than a batch is refused, or its rows repeat within a batch. Default `refuse`. */
  smallSources?: SmallSources
  /** Turns names of data sets, `hf://datasets/…`, into local files. */
  resolveDataFiles?: ResolveDataFiles
}

/** Training data by step; `close` it. */
export interface TrainData {
  /**
   * The batch of a step, or one rank's rows of it: pure in (seed, step, part). The parts of any number of ranks make
   * up the batch, and a row is the same on whichever rank it is.
   * @throws ArgumentError `ERR_ARGUMENT` for a rank that is not one of `ranks`; DisposedError `ERR_DISPOSED` after close.
   */
  at(step: number, part?: BatchPart): Promise<TrainBatch>
  /** Of content, recipe, tokenizer, batch, negatives, seed and sampling: what `at` depends on. */
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
 * @throws DataError `ERR_DATA` when there is no data, a source is smaller than a batch, or a row lacks negatives.
 */
export async function openBatches(options: DataOptions): Promise<TrainData> {
  const { data = [], sources = [], featurizer, batch, negatives, seed, sampling, smallSources } = options
  if (negatives !== undefined && (!Number.isInteger(negatives) || negatives < 0)) {
    throw new ArgumentError('ERR_ARGUMENT', `negatives is ${negatives}; expected a whole number ≥ 0.`, { negatives })
  }
  const set = await prepareShards([...sources, ...(await fileSources(data, options))], featurizer, options)
  try {
    for (const { name, minDocuments } of set.sources) {
      if (negatives !== undefined && minDocuments < 1 + negatives) {
        throw new DataError(
          'ERR_DATA',
          `source "${name}" has rows with ${minDocuments - 1} negatives; ${negatives} are asked for.`,
          { source: name, negatives, fewest: minDocuments - 1 },
        )
      }
    }
    const plan = createPlan({ seed, batch, sources: set.sources, sampling, smallSources })
    return {
      async at(step, part) {
        const { source, rows } = plan.at(step)
        const from = set.sources[source]!
        const documentsPerQuery = negatives === undefined ? from.minDocuments : 1 + negatives
        return collateBatch(featurizer, from, rows, documentsPerQuery, step, part)
      },
      fingerprint: createHash('sha256')
        .update(
          JSON.stringify([
            set.fingerprint,
            batch,
            negatives ?? null,
            seed,
            sampling ?? 'proportional',
            smallSources ?? 'refuse',
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

/** One rank's part of the batch of given rows of one source, with `documentsPerQuery` documents each. */
async function collateBatch(
  featurizer: Featurizer,
  source: ShardSource,
  rows: Float64Array<ArrayBuffer>,
  documentsPerQuery: number,
  step: number,
  { rank, ranks, documents: wanted }: BatchPart = { rank: 0, ranks: 1 },
): Promise<TrainBatch> {
  if (!Number.isInteger(ranks) || !Number.isInteger(rank) || rank < 0 || rank >= ranks) {
    throw new ArgumentError('ERR_ARGUMENT', `rank ${rank} of ${ranks}; expected 0 ≤ rank < ranks.`, { rank, ranks })
  }
  const { shard } = source
  const sharded = ranks === 1 ? null : await shardBatch(featurizer, shard, rows, documentsPerQuery, ranks)
  const all = sharded?.rows ?? rows
  const counts = sharded?.counts ?? [rows.length]
  const begin = counts.slice(0, rank).reduce((sum, count) => sum + count, 0)
  const own = all.slice(begin, begin + counts[rank]!)
  const addon = native()
  const [queries, documents, queryDuplicateIds, documentDuplicateIds, scores, kept] = await Promise.all([
    collateColumn(featurizer, shard, own, 'query', 1),
    collateColumn(featurizer, shard, own, 'document', documentsPerQuery),
    addon.shardGroups(shard, all, 0, 0, 1),
    addon.shardGroups(shard, all, 1, 0, documentsPerQuery),
    source.scores ? addon.shardScores(shard, own, 1, 0, documentsPerQuery) : null,
    sharded && wanted ? addon.shardLengths(shard, all, 1, 0, documentsPerQuery, featurizer.skip) : null,
  ])
  return {
    step,
    source: source.name,
    queries,
    documents,
    documentsPerQuery,
    counts,
    queryOffsets: sharded ? boundsOf(sharded.queryTokens) : queries.keptOffsets,
    documentOffsets: sharded ? kept && boundsOf(kept) : documents.keptOffsets,
    queryDuplicateIds,
    documentDuplicateIds,
    scores,
  }
}

/** Rows and tokens of their queries in rank order, and the number of rows of each rank. */
async function shardBatch(
  { expandTo }: Featurizer,
  shard: number,
  rows: Float64Array<ArrayBuffer>,
  documentsPerQuery: number,
  ranks: number,
): Promise<{ rows: Float64Array<ArrayBuffer>; queryTokens: Int32Array; counts: number[] }> {
  const [queries, documents] = await Promise.all([
    native().shardLengths(shard, rows, 0, 0, 1),
    native().shardLengths(shard, rows, 1, 0, documentsPerQuery),
  ])
  const queryTokens = queries.map((length) => Math.max(length, expandTo))
  const tokens = Float64Array.from(queryTokens)
  for (let i = 0; i < documents.length; i++) tokens[Math.floor(i / documentsPerQuery)]! += documents[i]!
  const { order, counts } = shardRows(tokens, ranks)
  return {
    rows: rows.map((_, i) => rows[order[i]!]!),
    queryTokens: queryTokens.map((_, i) => queryTokens[order[i]!]!),
    counts,
  }
}

function boundsOf(lengths: Int32Array): Float64Array<ArrayBuffer> {
  const bounds = new Float64Array(lengths.length + 1)
  for (let i = 0; i < lengths.length; i++) bounds[i + 1] = bounds[i]! + lengths[i]!
  return bounds
}

/** Queries (`count` 1), or the first `count` documents, of rows of a shard. No token passes through JavaScript. */
async function collateColumn(
  featurizer: Featurizer,
  shard: number,
  rows: Float64Array<ArrayBuffer>,
  role: 'query' | 'document',
  count: number,
): Promise<TokenColumn> {
  const { expandTo, maskId, recipe, skip } = featurizer
  const { kept, keyLengths, ...rest } =
    role === 'query'
      ? await native().shardCollate(shard, rows, 0, 0, 1, expandTo, maskId, recipe.attendToExpansionTokens)
      : await native().shardCollate(shard, rows, 1, 0, count, 0, maskId, false, skip)
  const packed = { ...rest, keyLengths }
  return role === 'query' ? finish(packed, kept, rows, 0) : finish(packed, kept, documentNumbers(rows, count), 1)
}

/** A number per document: the j-th of row r is r·count + j. */
function documentNumbers(rows: Float64Array, count: number): Float64Array<ArrayBuffer> {
  const numbers = new Float64Array(rows.length * count)
  for (let i = 0; i < numbers.length; i++) numbers[i] = rows[Math.floor(i / count)]! * count + (i % count)
  return numbers
}
