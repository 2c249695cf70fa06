import { type ProcessGroup, singleProcess } from '../distributed/group.js'
import { ArgumentError } from '../errors.js'
import type { Colbert } from '../models/colbert.js'
import type { EvaluationDetails } from '../models/options.js'
import {
  above,
  signal as aSignal,
  checkOptions,
  func,
  type Kinds,
  processGroup,
  strings,
  text,
  whole,
} from '../options.js'
import type { OnProgress } from '../progress.js'
import type { Embeddings } from '../retrieval/embeddings.js'
import { depthOf, evaluation, type Metric, type ScoredId, type SystemRun } from '../retrieval/metrics.js'
import type { Hit } from '../retrieval/search.js'
import { Best } from '../retrieval/top-k.js'
import { inTurns, Turns } from '../turns.js'
import { type Collection, type Corpus, loadBeir } from './collections.js'
import { type FindOptions, findCollections } from './find.js'
import { beside } from './self.js'
import { macroInterval, macroWeights } from './significance.js'

/** Options of `modelRun`. */
export interface ModelRunOptions {
  /** Documents kept per query, beside the query itself. Default 100. */
  topK?: number
  /** Tokens encoded at a time. */
  microBatchTokens?: number
  /** Ends the run, with ERR_ABORTED. */
  signal?: AbortSignal
  /** Ranks that hold the same model and call this together: each searches its share of the documents. */
  group?: ProcessGroup
  /** Told how many documents are scored for all queries, of those of this rank. */
  onProgress?: OnProgress
}

const runOptions: Kinds<ModelRunOptions> = {
  topK: whole(1),
  microBatchTokens: above(0),
  signal: aSignal,
  group: processGroup,
  onProgress: func,
}

/**
 * A model's run on a collection: every document is scored for every query (exhaustive MaxSim). Documents are encoded,
 * scored and dropped some at a time, so the memory this takes does not grow with their number.
 * @returns the whole run, on every rank
 */
export async function modelRun(
  model: Colbert,
  collection: Collection,
  options: ModelRunOptions = {},
): Promise<SystemRun> {
  checkOptions('modelRun', options, runOptions)
  const { topK = 100, group = singleProcess, onProgress, ...encoding } = options
  const { documents, queries } = collection
  const { depth, retrieved, kept } = beside(collection, topK)
  const [first, last] = await shareOf(documents, group)
  const encodedQueries = await model.encodeQueries(queries.texts, {
    ...encoding,
    ...(onProgress && { onProgress: (progress) => onProgress({ ...progress, name: collection.name }) }),
  })
  let [cut, done] = [0, 0]
  async function* encoded(): AsyncGenerator<Embeddings<'document'>> {
    for await (const part of model.streamDocuments(between(documents.texts, first, last), encoding)) {
      cut += part.truncated!
      done += part.offsets.length - 1
      yield part
      onProgress?.({ ...{ stage: 'evaluating', name: collection.name, done }, total: last - first, unit: 'documents' })
    }
  }
  const own = await model.search(encodedQueries, encoded(), { topK: retrieved, signal: options.signal })
  // Every rank ends up with all hits: documents have one number everywhere, so equal scores rank as on one rank.
  const shares = (await group.exchange(pack(own, first, cut))).map((bytes) => new Float64Array(bytes.buffer))
  const truncatedDocuments = shares.reduce((sum, share) => sum + share[0]!, 0)
  const run = new Map<string, ScoredId[]>()
  const at = shares.map(() => 1)
  const turns = new Turns()
  for (const id of queries.ids) {
    const best = new Best(retrieved)
    for (const [rank, share] of shares.entries()) {
      const hits = share[at[rank]!++]!
      for (let i = 0; i < hits; i++, at[rank]! += 2) best.offer(share[at[rank]!]!, share[at[rank]! + 1]!)
    }
    run.set(id, kept(id, best.sorted()))
    if (turns.due) await turns.take()
  }
  return { run, depth, counts: { truncatedQueries: encodedQueries.truncated!, truncatedDocuments } }
}

/** The documents of one rank: a range, by length of text, so that ranks finish together. */
async function shareOf({ ids, texts }: Corpus, { rank, size }: ProcessGroup): Promise<[first: number, last: number]> {
  if (size === 1) return [0, ids.length]
  const ends = new Float64Array(ids.length)
  let [total, d] = [0, 0]
  for await (const text of texts) ends[d++] = total += text.length
  const bound = (part: number): number => {
    if (part === size) return ids.length
    let [low, high] = [0, ids.length] // the first document that ends at or behind this part of all text
    while (low < high) {
      const middle = (low + high) >> 1
      if (ends[middle]! < (total * part) / size) low = middle + 1
      else high = middle
    }
    return part === 0 ? 0 : Math.min(low + 1, ids.length)
  }
  return [bound(rank), bound(rank + 1)]
}

/** Texts first … last - 1. */
async function* between(
  texts: Iterable<string> | AsyncIterable<string>,
  first: number,
  last: number,
): AsyncGenerator<string> {
  if (first === last) return
  let at = 0
  for await (const text of texts) {
    if (at >= first) yield text
    if (++at === last) return
  }
}

/** How many documents were cut; then, per query: how many hits, then number and score of each. */
function pack(hits: readonly (readonly Hit[])[], first: number, cut: number): Uint8Array {
  const numbers = new Float64Array(hits.reduce((sum, { length }) => sum + 1 + 2 * length, 1))
  numbers[0] = cut
  let at = 1
  for (const list of hits) {
    numbers[at++] = list.length
    for (const { index, score } of list) {
      numbers[at++] = first + index
      numbers[at++] = score
    }
  }
  return new Uint8Array(numbers.buffer)
}

/** What `train` calls between steps, as `train(config, { evaluate: await beirEvaluator('beir/dev', { split: 'dev' }) })`. */
export type CollectionEvaluator = (
  model: Colbert,
  context?: {
    signal?: AbortSignal
    group?: ProcessGroup
    keep?: (details: EvaluationDetails) => void
    /** Told how each collection stands, and which of several it is. */
    onProgress?: OnProgress
  },
) => Promise<Record<string, number>>

/** Options of `beirEvaluator`. */
export interface EvaluatorOptions
  extends Omit<ModelRunOptions, 'signal' | 'group' | 'onProgress'>,
    Pick<FindOptions, 'split' | 'cacheDir' | 'onProgress'> {
  /** Default nDCG@10, MRR@10, recall@100. */
  metrics?: readonly Metric[]
}

/**
 * An evaluation of models on collections: BEIR folders, names as `findCollections` takes them, or collections that are
 * loaded. It retrieves as deep as its metrics look. Of several collections a metric is the mean of their values (macro-mean,
 * those of a set count as one), and the first metric is also given for each: `scifact ndcg@10`.
 * @throws DataError ERR_DATA and others as `findCollections` and `loadBeir`; ArgumentError ERR_ARGUMENT for a topK above
 *   which a metric looks
 */
export async function beirEvaluator(
  collections: string | Collection | readonly (string | Collection)[],
  options: EvaluatorOptions = {},
): Promise<CollectionEvaluator> {
  const { signal: _, group: __, onProgress: ___, ...known } = runOptions
  checkOptions('beirEvaluator', options, {
    ...known,
    ...{ split: text, metrics: strings, cacheDir: text, onProgress: func },
  })
  const given = (Array.isArray(collections) ? collections : [collections]) as readonly (string | Collection)[]
  const places = given.filter((each) => typeof each === 'string')
  const { split, cacheDir, onProgress, metrics = ['ndcg@10', 'mrr@10', 'recall@100'], ...rest } = options
  for (const [option, value] of Object.entries({ split, cacheDir, onProgress }))
    if (value !== undefined && places.length === 0)
      throw new ArgumentError(
        'ERR_ARGUMENT',
        `beirEvaluator: ${option} has no effect on a collection that is loaded already`,
        { option },
      )
  const deepest = depthOf(metrics)
  const { topK = deepest } = rest
  if (topK < deepest)
    throw new ArgumentError('ERR_ARGUMENT', `topK is ${topK}, but ${metrics.join(', ')} look at ${deepest} documents`, {
      topK,
      deepest,
    })
  const loaded: Evaluated[] = given.flatMap((each) => (typeof each === 'string' ? [] : [{ collection: each }]))
  const found = places.length > 0 ? await findCollections(places, { split, cacheDir, onProgress }) : undefined
  for (const { name, folder, split, set } of found?.collections ?? [])
    loaded.push({
      collection: { ...(await loadBeir(folder, { split, onProgress })), name },
      folder,
      ...(set !== undefined && { set }),
    })
  const names = loaded.map(({ collection }) => collection.name)
  const twice = names.find((name, i) => names.indexOf(name) < i)
  if (names.length === 0 || twice !== undefined)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `beirEvaluator: ${twice === undefined ? 'no collection was given' : `two collections are named "${twice}"`}`,
      { names },
    )
  return collectionEvaluator(loaded, metrics, { ...rest, topK })
}

/** A collection, and the set that it counts towards. */
export interface Evaluated {
  readonly collection: Collection
  readonly set?: string
  /** Where it was read. */
  readonly folder?: string
}

/** Of an interval between training steps, which wait for it. */
const resamples = 2000

const topOf = (run: SystemRun['run'], query: string): string | null =>
  run.get(query)?.find(({ id }) => id !== query)?.id ?? null

/** Says which of several collections it is. @param i from 0 */
export const ofSeveral =
  (onProgress: OnProgress, i: number, count: number): OnProgress =>
  (progress) => {
    if (count === 1) return onProgress(progress)
    const { part, ...rest } = progress
    onProgress({ ...rest, part: `${i + 1} of ${count}${part === undefined ? '' : `, ${part}`}` })
  }

/** The evaluation on collections with different names. */
export function collectionEvaluator(
  evaluated: readonly Evaluated[],
  metrics: readonly Metric[],
  options: Omit<ModelRunOptions, 'signal' | 'group' | 'onProgress'>,
): CollectionEvaluator {
  return async (model, context) => {
    const { signal, group, keep, onProgress } = context ?? {}
    const own: Record<string, number>[] = []
    const found: EvaluationDetails['collections'] = []
    for (const [i, { collection, folder }] of evaluated.entries()) {
      const { run } = await modelRun(model, collection, {
        ...{ ...options, signal, ...(group && { group }) },
        ...(onProgress && { onProgress: ofSeveral(onProgress, i, evaluated.length) }),
      })
      const { means, queries, perQuery } = await inTurns(evaluation(run, collection.qrels, metrics), signal)
      own.push({ ...means })
      const { name, split } = collection
      const values = perQuery[metrics[0]!]!
      const each = queries.map((id, q) => ({ id, value: values[q]!, top: topOf(run, id) }))
      found.push({ name, split, ...(folder !== undefined && { folder }), queries: each })
    }
    const weights = macroWeights(evaluated.map(({ set }) => set))
    if (keep) {
      const values = found.map(({ queries }) => queries.map(({ value }) => value))
      const { low, high } = macroInterval(values, { weights, resamples })
      keep({ metric: metrics[0]!, interval: { low, high }, collections: found })
    }
    if (evaluated.length === 1) return own[0]!
    const macro = (metric: string): number => own.reduce((sum, values, c) => sum + weights[c]! * values[metric]!, 0)
    return {
      ...Object.fromEntries(metrics.map((metric) => [metric, macro(metric)])),
      ...Object.fromEntries(
        evaluated.map(({ collection }, c) => [`${collection.name} ${metrics[0]}`, own[c]![metrics[0]!]!]),
      ),
    }
  }
}
