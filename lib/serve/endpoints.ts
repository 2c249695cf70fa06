/** Everything the server answers: one table, which the handler goes by and the OpenAPI description is made of. */
import type { Schemas } from './schemas.js'
import { type Asked, embed, explain, type Parts, rank, rerank, search } from './service.js'

/** Work: a POST with a body that is read, checked, let in and answered. */
export interface Work {
  paths: readonly string[]
  request: keyof Schemas & `${string}Request`
  response: keyof Schemas & `${string}Response`
  /** Whether it can answer in `application/octet-stream`. */
  binary?: boolean
  summary: string
  answer(parts: Parts, asked: Asked<never>): Promise<Response>
}

export const works: readonly Work[] = [
  {
    paths: ['/v1/embed'],
    ...{ request: 'EmbedRequest', response: 'EmbedResponse', binary: true, answer: embed },
    summary: 'Token embeddings of texts, as JSON or as float16 in a safetensors file',
  },
  {
    paths: ['/v1/rank'],
    ...{ request: 'RankRequest', response: 'RankResponse', answer: rank },
    summary: 'The given texts in order of their score for a query',
  },
  {
    paths: ['/v1/search'],
    ...{ request: 'SearchRequest', response: 'SearchResponse', answer: search },
    summary: "The best documents of the server's index",
  },
  {
    paths: ['/v1/explain'],
    ...{ request: 'ExplainRequest', response: 'ExplainResponse', answer: explain },
    summary: 'Which token of each text answers which token of a query',
  },
  {
    paths: ['/v1/rerank', '/v2/rerank', '/rerank'],
    ...{ request: 'RerankRequest', response: 'RerankResponse', answer: rerank },
    summary: 'The given texts in order of their relevance for a query, in the shape of Cohere and Jina',
  },
]

/** What is looked at with a GET. */
export interface Look {
  path: string
  /** Whether it is answered without the token. */
  open: boolean
  type: 'application/json' | 'text/plain'
  summary: string
}

export const looks = {
  health: {
    path: '/health',
    ...{ open: true, type: 'application/json' },
    summary: 'Whether the process lives, and what it serves',
  },
  ready: {
    path: '/ready',
    ...{ open: true, type: 'application/json' },
    summary: '200 while requests are taken, else 503',
  },
  metrics: { path: '/metrics', ...{ open: false, type: 'text/plain' }, summary: 'Counts for Prometheus' },
  openapi: { path: '/openapi.json', ...{ open: false, type: 'application/json' }, summary: 'This description' },
} as const satisfies Record<string, Look>
