import type { Colbert } from '../models/colbert.js'
import { Best, type Hit } from '../retrieval/search.js'
import { type Group, self } from '../tensor/group.js'
import { type Collection, loadBeir } from './collections.js'
import { evaluate, type Metric, type Run, type ScoredId } from './metrics.js'

export interface ModelRunOptions {
  /** Documents kept per query. Default 100. */
  topK?: number
  /** Tokens encoded at a time. */
  chunkTokens?: number
  signal?: AbortSignal
  /** Ranks that hold the same model and call this together: each searches its share of the documents. */
  group?: Group
}

/**
 * A model's run on a collection: every document is scored for every query (exhaustive MaxSim).
 * @returns the whole run, on every rank
 */
export async function modelRun(model: Colbert, collection: Collection, options: ModelRunOptions = {}): Promise<Run> {
  const { topK = 100, group = self, ...encoding } = options
  const { documents, queries } = collection
  const [first, last] = shareOf(documents.texts, group)
  const encodedQueries = await model.encodeQueries(queries.texts, encoding)
  const encodedDocuments = await model.encodeDocuments(documents.texts.slice(first, last), encoding)
  const own = await model.search(encodedQueries, encodedDocuments, { topK, signal: options.signal })
  // Ranks hold rising document numbers and are merged in order, so equal scores rank as on one rank.
  const shares = (await group.exchange(pack(own, first))).map((bytes) => new Float64Array(bytes.buffer))
  const run = new Map<string, ScoredId[]>()
  const at = shares.map(() => 0)
  for (const id of queries.ids) {
    const best = new Best(topK)
    for (const [rank, share] of shares.entries()) {
      const hits = share[at[rank]!++]!
      for (let i = 0; i < hits; i++, at[rank]! += 2) best.offer(share[at[rank]!]!, share[at[rank]! + 1]!)
    }
    run.set(
      id,
      best.hits.map(({ index, score }) => ({ id: documents.ids[index]!, score })),
    )
  }
  return run
}

/** The documents of one rank: a range, by length of text, so that ranks finish together. */
function shareOf(texts: readonly string[], { rank, size }: Group): [first: number, last: number] {
  const total = texts.reduce((sum, text) => sum + text.length, 0)
  const bound = (part: number): number => {
    if (part === size) return texts.length
    let [index, before] = [0, 0]
    while (before < (total * part) / size) before += texts[index++]!.length
    return index
  }
  return [bound(rank), bound(rank + 1)]
}

/** Per query: how many hits, then number and score of each. */
function pack(hits: readonly (readonly Hit[])[], first: number): Uint8Array {
  const numbers = hits.flatMap((list) => [list.length, ...list.flatMap(({ index, score }) => [first + index, score])])
  return new Uint8Array(Float64Array.from(numbers).buffer)
}

/** What `train` calls between steps, as `train(config, { evaluate: await beirEvaluator('beir/dev', { split: 'dev' }) })`. */
export type CollectionEvaluator = (
  model: Colbert,
  context?: { signal?: AbortSignal; group?: Group },
) => Promise<Record<string, number>>

/**
 * An evaluation of models on a BEIR folder, or on a collection.
 * @throws DataError ERR_DATA for a folder that is none
 */
export async function beirEvaluator(
  collection: string | Collection,
  options: { split?: string; metrics?: readonly Metric[] } & Omit<ModelRunOptions, 'signal' | 'group'> = {},
): Promise<CollectionEvaluator> {
  const { split, metrics = ['ndcg@10', 'mrr@10', 'recall@100'], ...rest } = options
  const loaded = typeof collection === 'string' ? await loadBeir(collection, { split }) : collection
  return async (model, context) => {
    const { signal, group } = context ?? {}
    const run = await modelRun(model, loaded, { ...rest, signal, ...(group && { group }) })
    return { ...evaluate(run, loaded.qrels, metrics).means }
  }
}
