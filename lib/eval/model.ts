import type { Colbert } from '../models/colbert.js'
import { type Collection, loadBeir } from './collections.js'
import { evaluate, type Metric, type Run, type ScoredId } from './metrics.js'

export interface ModelRunOptions {
  /** Documents kept per query. Default 100. */
  topK?: number
  /** Tokens encoded at a time. */
  chunkTokens?: number
  signal?: AbortSignal
}

/** A model's run on a collection: every document is scored for every query (exhaustive MaxSim). */
export async function modelRun(model: Colbert, collection: Collection, options: ModelRunOptions = {}): Promise<Run> {
  const { topK = 100, ...encoding } = options
  const { documents, queries } = collection
  const encodedDocuments = await model.encodeDocuments(documents.texts, { ...encoding, ids: documents.ids })
  const encodedQueries = await model.encodeQueries(queries.texts, encoding)
  const hits = await model.search(encodedQueries, encodedDocuments, { topK, signal: options.signal })
  const run = new Map<string, ScoredId[]>()
  for (const [q, id] of queries.ids.entries())
    run.set(
      id,
      hits[q]!.map(({ index, score }) => ({ id: documents.ids[index]!, score })),
    )
  return run
}

/** What `train` calls between steps, as `train(config, { evaluate: await beirEvaluator('beir/dev', { split: 'dev' }) })`. */
export type CollectionEvaluator = (
  model: Colbert,
  context?: { signal?: AbortSignal },
) => Promise<Record<string, number>>

/**
 * An evaluation of models on a BEIR folder, or on a collection.
 * @throws DataError ERR_DATA for a folder that is none
 */
export async function beirEvaluator(
  collection: string | Collection,
  options: { split?: string; metrics?: readonly Metric[] } & Omit<ModelRunOptions, 'signal'> = {},
): Promise<CollectionEvaluator> {
  const { split, metrics = ['ndcg@10', 'mrr@10', 'recall@100'], ...rest } = options
  const loaded = typeof collection === 'string' ? await loadBeir(collection, { split }) : collection
  return async (model, context) => {
    const run = await modelRun(model, loaded, { ...rest, signal: context?.signal })
    return { ...evaluate(run, loaded.qrels, metrics).means }
  }
}
