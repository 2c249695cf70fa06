import { DataError } from '../errors.js'
import type { Colbert } from '../models/colbert.js'
import { type AskedDocument, scorePairs } from '../models/score-pairs.js'
import { above, signal as aSignal, checkOptions, func, type Kinds, whole } from '../options.js'
import { rankHits, type ScoredId, type SystemRun, type TrecRun } from '../retrieval/metrics.js'
import { Turns } from '../turns.js'
import type { Collection } from './collections.js'
import type { ModelRunOptions } from './model.js'

/** Options of `rerankRun`. */
export interface RerankOptions extends Omit<ModelRunOptions, 'topK' | 'group'> {
  /** Documents of each query that are reranked, the best of the run. Default all that it has. */
  depth?: number
}

const rerankOptions: Kinds<RerankOptions> = {
  depth: whole(1),
  microBatchTokens: above(0),
  signal: aSignal,
  onProgress: func,
}

/**
 * A run in the order of a model's scores: what the model is worth behind a first stage. Each document of the run is encoded
 * once, whatever the number of queries that have it, and scored with those alone.
 * @throws DataError ERR_DATA for documents of the run that the collection lacks, and for a run of none of its queries
 */
export async function rerankRun(
  model: Colbert,
  collection: Collection,
  run: TrecRun,
  options: RerankOptions = {},
): Promise<SystemRun> {
  checkOptions('rerankRun', options, rerankOptions)
  const { depth = Number.POSITIVE_INFINITY, onProgress, ...encoding } = options
  const { documents, queries } = collection
  /** Of each document, the queries that have it. */
  const askers = new Map<string, number[]>()
  const reranked = new Map<string, ScoredId[]>()
  let longest = 0
  for (const [q, id] of queries.ids.entries()) {
    const hits = rankHits(id, run.get(id) ?? []).slice(0, depth)
    longest = Math.max(longest, hits.length)
    reranked.set(id, [])
    for (const hit of hits) {
      const known = askers.get(hit.id)
      if (known) known.push(q)
      else askers.set(hit.id, [q])
    }
  }
  if (askers.size === 0)
    throw new DataError('ERR_DATA', `The run has no document for any judged query of ${collection.name}.`, {
      collection: collection.name,
    })
  const wanted: string[] = []
  async function* asked(): AsyncGenerator<AskedDocument> {
    let d = 0
    for await (const text of documents.texts) {
      const id = documents.ids[d++]!
      const queries = askers.get(id)
      if (!queries) continue
      wanted.push(id)
      yield { text, queries }
    }
  }
  const encodedQueries = await model.encodeQueries(queries.texts, encoding)
  let truncatedDocuments = 0
  let done = 0
  const turns = new Turns()
  for await (const part of scorePairs(model, encodedQueries, asked(), encoding)) {
    truncatedDocuments += part.truncated
    let pair = 0
    for (const id of wanted.slice(done, (done += part.documents)))
      for (const q of askers.get(id)!) reranked.get(queries.ids[q]!)!.push({ id, score: part.scores[pair++]! })
    onProgress?.({ ...{ stage: 'evaluating', name: collection.name, done }, total: askers.size, unit: 'documents' })
    if (turns.due) await turns.take()
  }
  if (done < askers.size) {
    const found = new Set(wanted)
    const missing = [...askers.keys()].filter((id) => !found.has(id))
    throw new DataError(
      'ERR_DATA',
      `The run has ${missing.length} documents that ${collection.name} lacks, as "${missing[0]}". Do they belong together?`,
      { collection: collection.name, missing: missing.length, id: missing[0] },
    )
  }
  return { run: reranked, depth: longest, counts: { truncatedQueries: encodedQueries.truncated!, truncatedDocuments } }
}
