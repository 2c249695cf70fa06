/** What the server does for those it lets in: tokens, embeddings, scores. */
import { randomUUID } from 'node:crypto'
import { DataError } from '../errors.js'
import type { Index } from '../indexing/index.js'
import type { Colbert } from '../models/colbert.js'
import { explainedInSteps } from '../models/explain.js'
import { type Embeddings, type Role, rowsOf } from '../retrieval/embeddings.js'
import type { Hit } from '../retrieval/search.js'
import type { TextFeatures } from '../text/featurizer.js'
import type { Batcher } from './batcher.js'
import type { Rankings, Searches } from './gather.js'
import type { Lane } from './lane.js'
import { json, refusal } from './refusal.js'
import { asSafetensors, entriesAsJson, inChunks, rowsAsJson, streamed, withList } from './stream.js'
import type * as wire from './types.js'

/** Hits of all queries of a request. */
const mostHits = 10_000

/** What all endpoints work with. */
export interface Parts {
  model: Colbert
  index: Index | undefined
  name: string
  lane: Lane
  batcher: Batcher
  rankings: Rankings
  searches: Searches | undefined
}

/** A request that was read, checked and let in. */
export interface Asked<T> {
  body: T
  signal: AbortSignal
  /** Whether the client takes `application/octet-stream`. */
  binary: boolean
  /** The request is under way until what this gives is called: for answers that are sent in pieces. */
  keep(): () => void
}

/** Texts of a request, by side. */
type Texts = Partial<Record<Role, readonly string[]>>

interface Encoded {
  embeddings: { query: Embeddings<'query'>; document: Embeddings<'document'> }
  usage: wire.Usage
}

/** Tokens, then embeddings, of all texts of a request. */
async function encoded({ model, lane, batcher }: Parts, texts: Texts, signal: AbortSignal): Promise<Encoded> {
  const { featurizer } = model
  const features = await lane.run(function* () {
    const made: Record<Role, readonly TextFeatures[]> = { query: [], document: [] }
    for (const role of ['query', 'document'] as const) {
      const list: TextFeatures[] = []
      for (const text of texts[role] ?? []) list.push(yield* featurizer.featuresInSteps(text, role))
      made[role] = list
    }
    return made
  }, signal)
  const tokens = batcher.tokensOf(features.query, 'query') + batcher.tokensOf(features.document, 'document')
  batcher.admit(tokens)
  const [query, document] = await Promise.all([
    batcher.encode('query', features.query, signal),
    batcher.encode('document', features.document, signal),
  ])
  const truncated = query.truncated! + document.truncated!
  return { embeddings: { query, document }, usage: { tokens, truncated } }
}

/** Numbers looked at in a step. */
const step = 1 << 16

/** JSON has no word for what is not finite, and nobody a use. @throws DataError ERR_DATA */
function* checkFinite({ data }: Embeddings): Generator<void, void> {
  for (let at = 0; at < data.length; at += step) {
    if (!data.subarray(at, at + step).every(Number.isFinite))
      throw new DataError('ERR_DATA', 'the model has made an embedding that is not finite: its weights are damaged')
    yield
  }
}

const jsonType = { 'content-type': 'application/json; charset=utf-8' }

/** `POST /v1/embed` */
export async function embed(parts: Parts, asked: Asked<wire.EmbedRequest>): Promise<Response> {
  const { model, name, lane } = parts
  const { role, texts } = asked.body
  const { embeddings, usage } = await encoded(parts, { [role]: texts }, asked.signal)
  const made = embeddings[role]
  await lane.run(() => checkFinite(made), asked.signal)
  const about = { model: name, role, dim: model.dim, recipe: model.recipeHash }
  if (!asked.binary) {
    const head: Omit<wire.EmbedResponse, 'embeddings'> = { ...about, usage }
    return streamed(withList(head, 'embeddings', rowsAsJson(made)), jsonType, asked.keep())
  }
  const numbers = { dim: `${model.dim}`, tokens: `${usage.tokens}`, truncated: `${usage.truncated}` }
  const pieces = await lane.run(() => asSafetensors(made, { ...about, ...numbers }), asked.signal)
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0)
  const headers = { 'content-type': 'application/octet-stream', 'content-length': `${length}` }
  return streamed(inChunks(pieces), headers, asked.keep())
}

/** The texts of a request in order of their scores for its query. */
async function ranked(
  parts: Parts,
  query: string,
  texts: readonly string[],
  topK: number | undefined,
  signal: AbortSignal,
): Promise<{ hits: Hit[]; queryTokens: number; usage: wire.Usage }> {
  const { embeddings, usage } = await encoded(parts, { query: [query], document: texts }, signal)
  const { query: asked, document: documents } = embeddings
  const hits = await parts.rankings.ask({ query: asked, documents, topK: topK ?? texts.length }, signal)
  return { hits, queryTokens: rowsOf(asked), usage }
}

/** `POST /v1/rank` */
export async function rank(parts: Parts, { body, signal }: Asked<wire.RankRequest>): Promise<Response> {
  const answer: wire.RankResponse = await ranked(parts, body.query, body.texts, body.topK, signal)
  return json(answer)
}

/** `POST /v1/rerank`, `/v2/rerank`, `/rerank` */
export async function rerank(parts: Parts, { body, signal }: Asked<wire.RerankRequest>): Promise<Response> {
  const { name } = parts
  if (body.model !== undefined && body.model !== name)
    throw refusal('model', `there is no model "${body.model}" here; this server's is "${name}"`)
  const texts = body.documents.map((document) => (typeof document === 'string' ? document : document.text))
  const { hits, queryTokens, usage } = await ranked(parts, body.query, texts, body.top_n, signal)
  const answer: wire.RerankResponse = {
    id: randomUUID(),
    model: name,
    results: hits.map(({ index, score }) => ({
      index,
      relevance_score: score / Math.max(1, queryTokens),
      ...(body.return_documents && { document: { text: texts[index]! } }),
    })),
    usage: { total_tokens: usage.tokens },
    meta: { tokens: { input_tokens: usage.tokens } },
  }
  return json(answer)
}

/** `POST /v1/search` */
export async function search(parts: Parts, asked: Asked<wire.SearchRequest>): Promise<Response> {
  const { queries, topK = 10, ...way } = asked.body
  if (!parts.searches) throw refusal('index', 'this server has no index; start it with one, or rank texts of your own')
  if (queries.length * topK > mostHits)
    throw refusal('invalid', `topK: ${queries.length} queries with ${topK} hits each are more than ${mostHits} hits`)
  const { embeddings, usage } = await encoded(parts, { query: queries }, asked.signal)
  const results = await parts.searches.ask(
    { queries: embeddings.query, way: { topK, ...way } },
    asked.signal,
    JSON.stringify({ topK, ...way }),
  )
  const lists: wire.SearchHit[][] = results
  return streamed(withList({ usage }, 'results', entriesAsJson(lists)), jsonType, asked.keep())
}

/** `POST /v1/explain` */
export async function explain(parts: Parts, asked: Asked<wire.ExplainRequest>): Promise<Response> {
  const { model } = parts
  const { query, texts } = asked.body
  if (model.recipe.pooling !== 'none')
    throw refusal('unsupported', 'this model makes one vector of a whole text, so no token answers another')
  const { embeddings, usage } = await encoded(parts, { query: [query], document: texts }, asked.signal)
  const steps = () => explainedInSteps(model, query, embeddings.query, texts, embeddings.document)
  const { documents, ...about } = await parts.lane.run(steps, asked.signal)
  return streamed(withList({ ...about, usage }, 'documents', entriesAsJson(documents)), jsonType, asked.keep())
}
