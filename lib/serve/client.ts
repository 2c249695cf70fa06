/** A client of the server, for anything that has `fetch`: it loads nothing native, and nothing of Node. */
import { RequestError } from '../errors.js'
import { fromHalf } from '../io/numbers.js'
import type * as wire from './types.js'

/** Options of `createClient`. */
export interface ClientOptions {
  /** Sent as `Authorization: Bearer TOKEN`. */
  token?: string
  /** How often a request is sent again that the server was too full for, each time after as long as it asked for. Default 2. */
  retries?: number
  /** Instead of the global one. */
  fetch?: typeof fetch
}

/** Options of a call. */
export interface CallOptions {
  /** Ends the call; the server drops what it has not computed. */
  signal?: AbortSignal
}

/** Token embeddings as they come over the wire: float16 numbers as float32. */
export interface ClientEmbeddings {
  /** [rows, dim], row-major. */
  data: Float32Array
  /** [texts + 1], in rows. */
  offsets: number[]
  /** Length of a token embedding. */
  dim: number
  /** What the server calls its model. */
  model: string
  /** Hash of how text becomes tokens. */
  recipe: string
  /** What it took. */
  usage: wire.Usage
}

/** Calls of a server, one for each of its endpoints. */
export interface Client {
  /** Token embeddings of texts, sent as float16. */
  embed(request: wire.EmbedRequest, options?: CallOptions): Promise<ClientEmbeddings>
  /** The given texts in order of their score for a query. */
  rank(request: wire.RankRequest, options?: CallOptions): Promise<wire.RankResponse>
  /** The best documents of the server's index. */
  search(request: wire.SearchRequest, options?: CallOptions): Promise<wire.SearchResponse>
  /** Which token of each text answers which token of a query. */
  explain(request: wire.ExplainRequest, options?: CallOptions): Promise<wire.ExplainResponse>
  /** `rank` in the shape of Cohere and Jina. */
  rerank(request: wire.RerankRequest, options?: CallOptions): Promise<wire.RerankResponse>
  /** What the server is and serves. */
  health(options?: CallOptions): Promise<wire.HealthResponse>
}

/**
 * Calls the server at a URL, as `http://127.0.0.1:8080`. Calls reject with a RequestError (ERR_REQUEST): `details` has `status` and `reason`, or `reason`
 * `unreachable`. An aborted one rejects with the signal's reason.
 */
export function createClient(server: string, options: ClientOptions = {}): Client {
  const url = server.replace(/\/+$/, '')
  const call = async <R>(path: string, { signal }: CallOptions = {}, body?: unknown, accept?: string): Promise<R> => {
    const response = await send(url + path, options, { signal, body, accept })
    const read: Promise<unknown> = accept ? response.arrayBuffer() : response.json()
    return read.catch((cause) => unreached(url, cause, signal)) as Promise<R>
  }
  return {
    embed: (body, given) => call<ArrayBuffer>('/v1/embed', given, body, 'application/octet-stream').then(embeddingsIn),
    rank: (body, given) => call('/v1/rank', given, body),
    search: (body, given) => call('/v1/search', given, body),
    explain: (body, given) => call('/v1/explain', given, body),
    rerank: (body, given) => call('/v1/rerank', given, body),
    health: (given) => call('/health', given),
  }
}

/** What a call ends with that got no answer, or half of one. */
function unreached(url: string, cause: Error, signal: AbortSignal | undefined): never {
  if (signal?.aborted) throw signal.reason
  const why = cause?.cause instanceof Error ? cause.cause.message : cause?.message
  throw new RequestError('ERR_REQUEST', `${url} cannot be reached: ${why}`, { reason: 'unreachable' }, { cause })
}

interface Call extends CallOptions {
  body?: unknown
  accept?: string
}

async function send(url: string, options: ClientOptions, call: Call): Promise<Response> {
  const { token, retries = 2, fetch: request = fetch } = options
  const { body, accept = 'application/json', signal } = call
  for (let left = retries; ; left--) {
    const response = await request(url, {
      method: body === undefined ? 'GET' : 'POST',
      headers: {
        accept,
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      ...(signal && { signal }),
    }).catch((cause) => unreached(url, cause, signal))
    if (response.ok) return response
    const error = await errorOf(response, url)
    const { retryAfter } = error.details
    if (left <= 0 || typeof retryAfter !== 'number') throw error
    await pause(1000 * retryAfter, signal)
  }
}

async function errorOf(response: Response, url: string): Promise<RequestError> {
  const { status } = response
  const text = await response.text().catch(() => '')
  let found: Partial<wire.ErrorResponse> = {}
  try {
    found = JSON.parse(text)
  } catch {
    // Not from the server but from something before it.
  }
  const { reason = 'response', message = text.slice(0, 200) } = found.error ?? {}
  const seconds = Number(response.headers.get('retry-after') ?? Number.NaN)
  const retryAfter = Number.isFinite(seconds) && (status === 429 || status === 503) ? { retryAfter: seconds } : {}
  return new RequestError('ERR_REQUEST', `${url}: ${status}, ${message}`, { status, reason, ...retryAfter })
}

function pause(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer)
      reject(signal!.reason)
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop)
      resolve()
    }, milliseconds)
    signal?.addEventListener('abort', stop, { once: true })
  })
}

interface Header {
  __metadata__: Record<'model' | 'recipe' | 'dim' | 'tokens' | 'truncated', string>
  embeddings: { data_offsets: [number, number] }
  offsets: { data_offsets: [number, number] }
}

/** Reads what `/v1/embed` sends in `application/octet-stream`: a safetensors file. */
function embeddingsIn(buffer: ArrayBuffer): ClientEmbeddings {
  const start = 8 + Number(new DataView(buffer).getBigUint64(0, true))
  const header: Header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, start - 8)))
  const { model, recipe, dim, tokens, truncated } = header.__metadata__
  const bytes = ([from, to]: [number, number]) => buffer.slice(start + from, start + to)
  const offsets = Array.from(new BigInt64Array(bytes(header.offsets.data_offsets)), Number)
  const data = fromHalf(new Uint16Array(bytes(header.embeddings.data_offsets)))
  return {
    data,
    offsets,
    dim: Number(dim),
    model,
    recipe,
    usage: { tokens: Number(tokens), truncated: Number(truncated) },
  }
}
