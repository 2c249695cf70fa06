/** What goes over the wire: requests and answers of the server, as JSON. `schemas.ts` checks the former. */
import type { IndexInfo } from '../indexing/index.js'
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

/** Answer of `/v1/rank`. */
export interface RankResponse {
  /** Best first; `index` is the place in `texts`. `score` is MaxSim, a sum over query tokens. */
  hits: { index: number; score: number }[]
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
  matches?: { token: number; score: number }[]
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

/** A token as the model reads it. */
export interface ReadToken {
  /** Its number in the vocabulary. */
  id: number
  /** As the vocabulary has it. */
  text: string
  /** False for one that the model reads and scoring leaves out. */
  scores: boolean
}

/** How a text answers the query. */
export interface ExplainedText {
  /** MaxSim: the sum of the scores of `matches`. */
  score: number
  /** The text's tokens. */
  tokens: ReadToken[]
  /** For each query token that scores: its place among the query's tokens, that of the text's token that answers it (−1: none). */
  matches: { query: number; token: number; score: number }[]
}

/** Answer of `/v1/explain`. */
export interface ExplainResponse {
  /** The query's tokens, expansion included. */
  query: { tokens: ReadToken[] }
  /** In the order given. */
  texts: ExplainedText[]
  /** What it took. */
  usage: Usage
}

/** `POST /v1/rerank`, `/v2/rerank` and `/rerank`: as Cohere and Jina have it. */
export interface RerankRequest {
  /** If given, it has to be what the server calls its model. */
  model?: string
  /** What is looked for. */
  query: string
  /** Texts, or objects with one. */
  documents: (string | { text: string })[]
  /** How many come back; default all. */
  top_n?: number
  /** Gives each result its text. */
  return_documents?: boolean
}

/** Answer of `/v1/rerank`. */
export interface RerankResponse {
  /** Of this answer alone. */
  id: string
  /** What the server calls its model. */
  model: string
  /** Best first. `relevance_score` is MaxSim divided by the query's token vectors: at most 1. */
  results: { index: number; relevance_score: number; document?: { text: string } }[]
  /** Tokens that were encoded, as Jina says it. */
  usage: { total_tokens: number }
  /** The same, as Cohere says it; some of its clients look for it. */
  meta: { tokens: { input_tokens: number } }
}

/** Answer of `/health`. To a caller without the token, where one is asked for, `status` alone. */
export interface HealthResponse {
  /** `draining`: what is under way is finished, nothing new is taken. `lost`: the device is gone, only a new process helps. */
  status: 'ok' | 'draining' | 'lost'
  /** Of lateforge. */
  version?: string
  /** The model. */
  model?: { name: string; recipe: string; dim: number; device: string; precision: string }
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
