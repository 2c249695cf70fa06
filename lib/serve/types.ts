/** What goes over the wire: requests and answers of the server, as JSON. `schemas.ts` checks the former. */
import type { IndexInfo, TokenMatch, Where } from '../indexing/index.js'
import type { Explanation } from '../models/explain.js'
import type { Role } from '../retrieval/embeddings.js'

/** `POST /v1/embed`: token embeddings of texts. */
export interface EmbedRequest {
  /** Which side the texts are on; there is no default. */
  role: Role
  /** The texts, one at least. */
  texts: string[]
}

/** What a request took. */
export interface Usage {
  /** Tokens that were encoded, as the model counts them: special ones and expansion too. */
  tokens: number
  /** Texts that are longer than the model takes, and were cut. */
  truncated: number
}

/**
 * Answer of `/v1/embed` in JSON. Asked for `application/octet-stream` it is a safetensors file instead: `embeddings`,
 * float16 [rows, dim], and `offsets`, int64 [texts + 1].
 */
export interface EmbedResponse {
  /** What the server calls its model. */
  model: string
  /** As it was asked for. */
  role: Role
  /** Length of a token embedding. */
  dim: number
  /** Hash of how text becomes tokens; embeddings of different ones do not go together. */
  recipe: string
  /** [texts][tokens][dim], unit vectors. */
  embeddings: number[][][]
  /** What it took. */
  usage: Usage
}

/** `POST /v1/rank`: the given texts in order of their score for a query. */
export interface RankRequest {
  /** What is looked for. */
  query: string
  /** What is ranked. */
  texts: string[]
  /** How many come back; default all. */
  topK?: number
}

/** A text of a request, with its score. */
export interface RankedText {
  /** Its place in `texts`. */
  index: number
  /** MaxSim, a sum over query tokens. */
  score: number
}

/** Answer of `/v1/rank`. */
export interface RankResponse {
  /** Best first. */
  hits: RankedText[]
  /** Token vectors of the query: a score divided by it is a mean, at most 1. */
  queryTokens: number
  /** What it took. */
  usage: Usage
}

/** `POST /v1/search`: the best documents of the server's index. */
export interface SearchRequest {
  /** What is looked for. */
  queries: string[]
  /** Documents for each query; default 10. */
  topK?: number
  /** Only these documents may be found. */
  ids?: string[]
  /** Only documents whose metadata pass: `{ year: { $gte: 1990 } }`. */
  where?: Where
  /** Gives each hit its text and metadata. */
  withTexts?: boolean
  /** Scores every document, instead of candidates of large segments. */
  exact?: boolean
  /** Says of each hit which token vectors matched. */
  explain?: boolean
}

/** A document that was found. */
export interface SearchHit {
  /** As it was added to the index. */
  id: string
  /** MaxSim, a sum over query tokens. */
  score: number
  /** With `withTexts`, where it was kept. */
  text?: string
  /** With `withTexts`, where there is some. */
  metadata?: Record<string, unknown>
  /** With `explain`, for each token vector of the query: the document's that won, and their product. */
  matches?: TokenMatch[]
}

/** Answer of `/v1/search`. */
export interface SearchResponse {
  /** For each query its hits, best first. */
  results: SearchHit[][]
  /** What it took. */
  usage: Usage
}

/** `POST /v1/explain`: which token of each text answers which token of a query. */
export interface ExplainRequest {
  /** What is looked for. */
  query: string
  /** What is explained. */
  texts: string[]
}

/** Answer of `/v1/explain`: what `explain` says. */
export interface ExplainResponse extends Explanation {
  /** What it took. */
  usage: Usage
}

/** A text, as Cohere and Jina wrap it. */
export interface RerankDocument {
  /** The text. */
  text: string
}

/** `POST /v1/rerank`, `/v2/rerank` and `/rerank`: as Cohere and Jina have it. */
export interface RerankRequest {
  /** If given, it has to be what the server calls its model. */
  model?: string
  /** What is looked for. */
  query: string
  /** Texts, or objects with one. */
  documents: (string | RerankDocument)[]
  /** How many come back; default all. */
  top_n?: number
  /** Gives each result its text. */
  return_documents?: boolean
}

/** A document that was reranked. */
export interface RerankResult {
  /** Its place in `documents`. */
  index: number
  /** MaxSim divided by the query's token vectors: at most 1. */
  relevance_score: number
  /** With `return_documents`. */
  document?: RerankDocument
}

/** What a rerank took, as Jina says it. */
export interface JinaUsage {
  /** Tokens that were encoded. */
  total_tokens: number
}

/** What a rerank took, as Cohere says it; some of its clients look for it. */
export interface CohereMeta {
  /** Tokens. */
  tokens: CohereTokens
}

/** Tokens, as Cohere counts them. */
export interface CohereTokens {
  /** Tokens that were encoded. */
  input_tokens: number
}

/** Answer of `/v1/rerank`. */
export interface RerankResponse {
  /** Of this answer alone. */
  id: string
  /** What the server calls its model. */
  model: string
  /** Best first. */
  results: RerankResult[]
  /** For clients of Jina. */
  usage: JinaUsage
  /** For clients of Cohere. */
  meta: CohereMeta
}

/** A model that is served. */
export interface ServedModel {
  /** What answers call it. */
  name: string
  /** Hash of how text becomes tokens. */
  recipe: string
  /** Length of a token embedding. */
  dim: number
  /** Where it runs. */
  device: string
  /** What it computes with. */
  precision: string
}

/** Answer of `/health`. To a caller without the token, where one is asked for, `status` alone. */
export interface HealthResponse {
  /** `draining`: what is under way is finished, nothing new is taken. `lost`: the device is gone, only a new process helps. */
  status: 'ok' | 'draining' | 'lost'
  /** Of lateforge. */
  version?: string
  /** The model. */
  model?: ServedModel
  /** The index, where there is one. */
  index?: Pick<IndexInfo, 'documents' | 'tokens' | 'segments' | 'bytes' | 'type'> | null
  /** Requests that are under way. */
  inFlight?: number
  /** Tokens that wait to be encoded. */
  waitingTokens?: number
}

/** Every answer that is no success. */
export interface ErrorResponse {
  /** What is wrong. */
  error: {
    /** A stable word: docs/guides/serve.md lists them. */
    reason: string
    /** For a person. */
    message: string
  }
}
