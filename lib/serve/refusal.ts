/** Answers that are no success: a status, a stable reason, and a sentence for a person. */
import { LateforgeError, RequestError } from '../errors.js'
import type { ErrorResponse } from './types.js'

/** Statuses by reason: all that a server says no with. */
export const statuses = {
  invalid: 400,
  unauthorized: 401,
  path: 404,
  model: 404,
  index: 404,
  method: 405,
  accept: 406,
  timeout: 408,
  body: 413,
  tokens: 413,
  media: 415,
  unsupported: 422,
  full: 429,
  left: 499,
  failed: 500,
  draining: 503,
  memory: 503,
} as const

/** Why a server says no. */
export type Reason = keyof typeof statuses

/** An error that becomes an answer. */
export function refusal(reason: Reason, message: string, headers: Record<string, string> = {}): RequestError {
  return new RequestError('ERR_REQUEST', message, { status: statuses[reason], reason, headers })
}

/** A client that has gone is told nothing; whoever looks at the metrics is. */
export const left = (): RequestError => refusal('left', 'the client has left')

/** What an error of the library means to whoever asked. Undefined for a fault of ours. */
function understood(error: unknown): RequestError | undefined {
  if (error instanceof RequestError) return error
  if (!(error instanceof LateforgeError)) return undefined
  if (error.code === 'ERR_ABORTED') return left()
  if (error.code === 'ERR_OUT_OF_MEMORY')
    return refusal('memory', 'the device has no memory left for this; try again, or with less', { 'retry-after': '1' })
  return undefined
}

/** The answer to a request that failed, and its reason. Faults that are not the caller's go to `onError`. */
export function answerTo(error: unknown, onError: (error: unknown) => void): { response: Response; reason: Reason } {
  const known = understood(error)
  if (!known || known.details.reason === 'memory') onError(error)
  const { message, details } = known ?? refusal('failed', 'the request failed; the server has written down why')
  const { status, reason, headers } = details as { status: number; reason: Reason; headers: Record<string, string> }
  return { response: json({ error: { reason, message } } satisfies ErrorResponse, status, headers), reason }
}

/** An answer in JSON. */
export function json(value: object, status = 200, headers: Record<string, string> = {}): Response {
  const body = Buffer.from(`${JSON.stringify(value)}\n`)
  return new Response(body, {
    status,
    headers: {
      'content-type': 'application/json; charset=utf-8',
      'content-length': `${body.length}`,
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      ...headers,
    },
  })
}
