/** Bodies of requests: read within limits of bytes and time, and taken for nothing else than JSON in UTF-8. */
import type { z } from 'zod'
import { RequestError } from '../errors.js'
import { left, refusal } from './refusal.js'

/** What a body may be. */
export interface BodyLimits {
  /** Bytes. */
  maxBodyBytes: number
  /** Milliseconds until it is there. */
  bodyTimeoutMs: number
  /** Told of bytes as they come; throws when there are too many in all requests together. */
  hold(bytes: number): void
}

/** @throws RequestError for a body that is too long, too slow, or of another kind */
export async function readBody(request: Request, limits: BodyLimits): Promise<Buffer> {
  checkHeaders(request, limits.maxBodyBytes)
  if (!request.body) throw refusal('invalid', 'the request has no body; expected a JSON object')
  const reader = request.body.getReader() as ReadableStreamDefaultReader<Uint8Array>
  let stop: (reason: unknown) => void
  const stopped = new Promise<never>((_, reject) => {
    stop = reject
  })
  stopped.catch(() => {}) // a body that is there in time waits for it no longer
  const slow = () => stop(refusal('timeout', `the body did not arrive within ${limits.bodyTimeoutMs} ms`))
  const timer = setTimeout(slow, limits.bodyTimeoutMs)
  const gone = () => stop(left())
  request.signal.addEventListener('abort', gone, { once: true })
  try {
    if (request.signal.aborted) throw left()
    return await collected(reader, stopped, limits)
  } catch (error) {
    reader.cancel().catch(() => {})
    // The stream of a body fails when its client goes, before or after the signal says so.
    throw error instanceof RequestError ? error : left()
  } finally {
    clearTimeout(timer)
    request.signal.removeEventListener('abort', gone)
  }
}

async function collected(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  stopped: Promise<never>,
  { maxBodyBytes, hold }: BodyLimits,
): Promise<Buffer> {
  const parts: Uint8Array[] = []
  let size = 0
  for (;;) {
    const { done, value } = await Promise.race([reader.read(), stopped])
    if (done) return Buffer.concat(parts, size)
    size += value.length
    if (size > maxBodyBytes) throw tooLong(maxBodyBytes)
    hold(value.length)
    parts.push(value)
  }
}

const tooLong = (most: number) => refusal('body', `the body is larger than ${most} bytes`)

function checkHeaders({ headers }: Request, most: number): void {
  const type = headers.get('content-type') ?? ''
  const [, media = '', rest = ''] = /^\s*([^\s;]*)\s*(.*)$/s.exec(type) ?? []
  if (media.toLowerCase() !== 'application/json')
    throw refusal('media', `content-type is "${shown(type)}", expected application/json`)
  const charset = /;\s*charset\s*=\s*"?([^";\s]*)/i.exec(rest)?.[1]
  if (charset !== undefined && charset.toLowerCase() !== 'utf-8')
    throw refusal('media', `charset is "${shown(charset)}", expected utf-8`)
  const encoding = headers.get('content-encoding')
  if (encoding !== null && encoding.toLowerCase() !== 'identity')
    throw refusal('media', `content-encoding is "${shown(encoding)}"; send the body as it is`)
  if (Number(headers.get('content-length') ?? 0) > most) throw tooLong(most)
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

/** The value of a body, checked. @throws RequestError for what is not JSON, and for what the schema does not allow */
export function parsed<T>(body: Buffer, schema: z.ZodType<T>): T {
  let value: unknown
  try {
    value = JSON.parse(utf8.decode(body))
  } catch (error) {
    const what = error instanceof SyntaxError ? `JSON: ${shown(error.message)}` : 'UTF-8'
    throw refusal('invalid', `the body is not ${what}`)
  }
  const { success, data, error } = schema.safeParse(value)
  if (success) return data
  const all = error.issues
    .slice(0, 5)
    .map(({ path, message }) => `${shown(path.join('.')) || 'body'}: ${shown(message)}`)
  throw refusal('invalid', all.join('; '))
}

/** What a caller sent, short enough to send back. */
export const shown = (text: string): string => (text.length > 120 ? `${text.slice(0, 117)}…` : text)
