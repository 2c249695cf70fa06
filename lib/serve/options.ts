/** What `createHandler` takes, and its limits. */
import { createHash, timingSafeEqual } from 'node:crypto'
import { ArgumentError } from '../errors.js'
import type { Index } from '../indexing/index.js'
import type { Colbert } from '../models/colbert.js'
import { defaultMicroBatch } from '../models/encode.js'
import { checkOptions, func, type Kinds, kind, object, text, whole } from '../options.js'

/** Options of `createHandler`. */
export interface HandlerOptions {
  /** Searched by `/v1/search`. Default: none, and that answers 404. */
  index?: Index
  /** What answers call the model. Default `lateforge`. */
  name?: string
  /** Asked for as `Authorization: Bearer TOKEN`, but for `/health` and `/ready`. Default: nothing is asked for. */
  token?: string
  /** What stands before all paths, as `/api`. Default: nothing. */
  basePath?: string
  /** Bytes of a request's body. Default 2 MiB. */
  maxBodyBytes?: number
  /** Texts of a request. Default 1,000. */
  maxTexts?: number
  /** Tokens of a request. Default 262,144. */
  maxTokens?: number
  /** Requests under way; more are refused at once. Default 2,048. */
  maxRequests?: number
  /** Tokens that wait to be encoded; requests that would add to more are refused. Default 262,144. */
  maxQueueTokens?: number
  /** Tokens of several requests that are encoded together. Default 8,192; 1,024 for int8. */
  batchTokens?: number
  /** Milliseconds in which a body has to arrive. Default 10,000. */
  bodyTimeoutMs?: number
  /** Told of every failure that is no fault of the caller. Default: written to standard error. */
  onError?: (error: unknown) => void
}

/** Numbers a handler goes by. */
export interface Limits {
  maxBodyBytes: number
  /** Of all requests under way together. */
  maxHeldBytes: number
  maxTexts: number
  maxTokens: number
  maxRequests: number
  maxQueueTokens: number
  batchTokens: number
  bodyTimeoutMs: number
}

const path = kind(
  'a path without a slash at its end, as "/api"',
  (v) => typeof v === 'string' && /^(\/[\w.~-]+)*$/.test(v),
)
const known: Kinds<HandlerOptions> = {
  ...{ index: object, name: text, token: text, basePath: path, onError: func },
  ...{ maxBodyBytes: whole(1), maxTexts: whole(1), maxTokens: whole(1), maxRequests: whole(1) },
  ...{ maxQueueTokens: whole(1), batchTokens: whole(1), bodyTimeoutMs: whole(1, 2 ** 31 - 1) },
}

/** Bodies of so many requests of the largest size are held at a time, whatever `maxRequests` is. */
const largest = 32

/** @throws ArgumentError ERR_ARGUMENT */
export function limitsOf(model: Colbert, options: HandlerOptions): Limits {
  checkOptions('createHandler', options, known)
  const { maxBodyBytes = 2 << 20, maxTokens = 1 << 18, maxQueueTokens = 1 << 18 } = options
  if (maxTokens > maxQueueTokens)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `createHandler: maxTokens is ${maxTokens}, more than may wait (maxQueueTokens, ${maxQueueTokens})`,
    )
  return {
    ...{ maxBodyBytes, maxHeldBytes: largest * maxBodyBytes, maxTokens, maxQueueTokens },
    maxTexts: options.maxTexts ?? 1000,
    maxRequests: options.maxRequests ?? 2048,
    batchTokens: options.batchTokens ?? defaultMicroBatch(model),
    bodyTimeoutMs: options.bodyTimeoutMs ?? 10_000,
  }
}

/** Whether an `Authorization` header has the token; the time it takes says nothing of how much of it is right. */
export function tokenCheck(token: string | undefined): (header: string | null) => boolean {
  if (token === undefined) return () => true
  const digest = (given: string) => createHash('sha256').update(given).digest()
  const wanted = digest(token)
  return (header) => {
    const [, given] = /^Bearer +([\x21-\x7e]+) *$/i.exec(header ?? '') ?? []
    return given !== undefined && timingSafeEqual(digest(given), wanted)
  }
}
