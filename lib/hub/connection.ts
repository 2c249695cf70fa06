/**
 * What every request to the Hub has in common, as the `fetch` that Hugging Face's client is given: the token, patience
 * with a Hub that is silent, busy or cut off, and errors that say what to do.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import type * as Client from '@huggingface/hub'
import { AbortedError, HubError, LateforgeError } from '../errors.js'
import { loadPackage, packageVersion } from '../packages.js'
import { described, type RepositoryName, sitePath } from './name.js'
import type { HubSettings } from './settings.js'

/** How often a request is made that fails for a reason that may pass: a question, and one in a long download. */
const TRIES = 5
const STREAM_TRIES = 8
/** How often a question, where there is no way to the Hub at all: many machines have no network. */
const LOST_TRIES = 2
const lost = /^(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|EHOSTUNREACH|ENETUNREACH|UND_ERR_CONNECT_TIMEOUT)$/
/** Longest wait between them, ms; a Hub that asks for more is told of in an error. */
const LONGEST_MS = 5 * 60_000
const LONGEST_BACKOFF_MS = 30_000

/** Hugging Face's own client, loaded when the Hub is first asked for something. */
export const client = (): typeof Client => loadPackage<typeof Client>('@huggingface/hub')

export interface ConnectionOptions {
  signal?: AbortSignal | undefined
  /** Told why it waits, before it does. */
  onWait?: ((reason: string) => void) | undefined
  tries?: number
  /** Whoever reads the answer bears it being cut off; else it is read here, and asked for again. */
  streams?: boolean
}

/** Requests about one repository. */
export class Connection {
  readonly settings: HubSettings
  readonly repository: RepositoryName
  private readonly options: ConnectionOptions
  private readonly origin: string
  private readonly tries: number

  constructor(settings: HubSettings, repository: RepositoryName, options: ConnectionOptions = {}) {
    this.settings = settings
    this.repository = repository
    this.options = options
    this.origin = new URL(settings.endpoint).origin
    this.tries = options.tries ?? (options.streams ? STREAM_TRIES : TRIES)
  }

  /** What the client's functions take: which Hub, and how to talk to it. The token is not theirs: see `fetch`. */
  get params(): { hubUrl: string; fetch: typeof fetch } {
    return { hubUrl: this.settings.endpoint, fetch: this.fetch }
  }

  /**
   * Like the global `fetch`, but answers are `ok`, or an error is thrown. The token goes to the endpoint's origin alone:
   * neither to another host that the Hub names, nor (as `fetch` itself has it) to one that it redirects to.
   * @throws HubError ERR_HUB; AbortedError ERR_ABORTED
   */
  readonly fetch: typeof fetch = async (input, init = {}) => {
    const url = new URL(input instanceof Request ? input.url : String(input))
    const headers = new Headers(init.headers)
    headers.delete('authorization') // the client's, which knows no token
    const { token } = this.settings
    if (token !== undefined && url.origin === this.origin) headers.set('authorization', `Bearer ${token}`)
    headers.set('user-agent', `lateforge/${packageVersion()}; node/${process.versions.node}`)
    const method = init.method ?? 'GET'
    const { tries } = this
    const { streams } = this.options
    for (let attempt = 1; ; attempt++) {
      let reason: string
      let wait = backoff(this.settings, attempt)
      try {
        const response = await this.once(url, { ...init, headers })
        if (response.ok) return streams ? response : await whole(response)
        if (!mayPass(response.status) || attempt >= tries) throw await this.refusal(url, response)
        reason = `the Hub answered ${response.status} ${response.statusText}`.trim()
        wait = askedToWait(response) ?? wait
        if (wait > LONGEST_MS) throw await this.refusal(url, response, wait)
        await response.body?.cancel()
      } catch (error) {
        if (this.aborted || init.signal?.aborted) throw this.abortion()
        if (error instanceof LateforgeError) throw error
        // What was asked for by POST may have been done before the line was cut.
        const most = !streams && lost.test(codeOf(error)) ? LOST_TRIES : tries
        if (method === 'POST' || attempt >= Math.min(tries, most)) throw this.unreachable(url, error)
        reason = reasonOf(error)
      }
      await this.pause(wait, reason)
    }
  }

  get aborted(): boolean {
    return this.options.signal?.aborted === true
  }

  abortion(): AbortedError {
    return new AbortedError(
      'ERR_ABORTED',
      `${described(this.repository)}: aborted`,
      {},
      {
        cause: this.options.signal?.reason,
      },
    )
  }

  /** Waits, unless it is aborted meanwhile. */
  async pause(ms: number, reason: string): Promise<void> {
    this.options.onWait?.(`${reason}; once more in ${Math.ceil(ms / 1000)} s`)
    await sleep(ms, undefined, { signal: this.options.signal }).catch(() => {
      throw this.abortion()
    })
  }

  unreachable(url: URL, error: unknown): HubError {
    return this.error('unreachable', `${url.host} cannot be reached: ${reasonOf(error)}. ${offlineHint}`, {
      ...at(url),
      cause: error,
    })
  }

  error(reason: string, message: string, { cause, ...details }: Record<string, unknown> = {}): HubError {
    const { type, name, revision } = this.repository
    return new HubError(
      'ERR_HUB',
      `${described(this.repository)}: ${message}`,
      { reason, type, name, ...(revision !== undefined && { revision }), ...details },
      { cause },
    )
  }

  /** One request; it fails when the Hub is silent for longer than it may be, within the answer too. */
  private async once(url: URL, init: RequestInit): Promise<Response> {
    const silence = new AbortController()
    const { timeoutMs } = this.settings
    /** Waits for bytes, or for the headers. */
    const heard = async <T>(bytes: Promise<T>): Promise<T> => {
      const timer = setTimeout(() => silence.abort(new Error(`silent for ${timeoutMs / 1000} s`)), timeoutMs)
      return bytes.finally(() => clearTimeout(timer))
    }
    const signals = [silence.signal, this.options.signal, init.signal].filter((signal) => signal != null)
    // An upload is silent until all of it is sent; how long that may take nobody knows.
    const request = fetch(url, { ...init, signal: AbortSignal.any(signals) })
    const response = await (init.method === 'PUT' ? request : heard(request))
    if (response.body === null) return response
    const reader = response.body.getReader()
    const body = new ReadableStream<Uint8Array>(
      {
        async pull(controller) {
          const { done, value } = await heard(reader.read())
          if (done) controller.close()
          else controller.enqueue(value)
        },
        cancel: (reason) => reader.cancel(reason),
      },
      { highWaterMark: 0 },
    )
    const { status, statusText, headers } = response
    return new Response(body, { status, statusText, headers })
  }

  private async refusal(url: URL, response: Response, wait?: number): Promise<HubError> {
    const { status, headers } = response
    const said = await saidBy(response)
    const code = headers.get('x-error-code') ?? ''
    const details = { ...at(url), status, code }
    const { endpoint, token, tokenFrom } = this.settings
    const page = `${endpoint}/${sitePath(this.repository)}`
    const login =
      token === undefined
        ? 'set HF_TOKEN to a token of an account that may read it'
        : `the token is that of ${tokenFrom}`
    if (code === 'GatedRepo')
      return this.error(
        'gated',
        `access has to be granted first. Ask for it at ${page} and ${token === undefined ? 'set HF_TOKEN to a token of that account' : `check whose token ${tokenFrom} holds`}`,
        details,
      )
    if (status === 401 && token !== undefined && code !== 'RepoNotFound')
      return this.error(
        'unauthorized',
        `the token of ${tokenFrom} was not accepted: ${said}. Make a new one at ${endpoint}/settings/tokens`,
        details,
      )
    if (status === 401 || code === 'RepoNotFound')
      return this.error(
        'repository',
        `there is none at ${endpoint}, or it is private. Check the name; if it is private, ${login}`,
        details,
      )
    if (code === 'RevisionNotFound')
      return this.error(
        'revision',
        `it has no revision "${this.repository.revision ?? 'main'}". Its branches and tags: ${page}/tree/main`,
        details,
      )
    if (code === 'EntryNotFound') return this.error('file', `it has no file ${fileOf(url)}`, details)
    if (status === 403) return this.error('forbidden', `not allowed: ${said}; ${login}`, details)
    if (status === 404) return this.error('repository', `nothing at ${at(url).url}: ${said}`, details)
    if (status === 429)
      return this.error(
        'rate-limit',
        `too many requests${wait === undefined ? `, ${this.tries} times in a row` : `; the Hub asks to wait ${Math.ceil(wait / 60_000)} minutes`}. ` +
          (token === undefined ? 'With a token (HF_TOKEN) more are allowed' : 'Try again later'),
        details,
      )
    const reason = status >= 500 ? 'server' : 'refused'
    return this.error(reason, `${url.host} answered ${status}: ${said}`, details)
  }
}

/** An answer with all of its body here. */
async function whole(response: Response): Promise<Response> {
  if (response.body === null) return response
  const { status, statusText, headers } = response
  return new Response(await response.arrayBuffer(), { status, statusText, headers })
}

const offlineHint = 'HF_HUB_OFFLINE=1 works with what is in the cache; HF_ENDPOINT names another Hub'

/** Before the n-th repetition, ms. */
export function backoff({ retryMs }: HubSettings, attempt: number): number {
  return Math.min(LONGEST_BACKOFF_MS, retryMs * 2 ** (attempt - 1))
}

const mayPass = (status: number): boolean => status === 408 || status === 429 || status >= 500

/** `Retry-After` in seconds or as a date, or what the Hub's own `RateLimit: …;t=55` says. */
function askedToWait({ headers }: Response): number | undefined {
  const after = headers.get('retry-after')
  if (after !== null) {
    const ms = /^\d+$/.test(after) ? 1000 * Number(after) : Date.parse(after) - Date.now()
    if (ms >= 0) return ms
  }
  const [, seconds] = /;\s*t=(\d+)/.exec(headers.get('ratelimit') ?? '') ?? []
  return seconds === undefined ? undefined : 1000 * Number(seconds)
}

/** Without its query, which may hold a signature that lets in whoever has it. */
const at = (url: URL): { url: string } => ({ url: `${url.origin}${url.pathname}` })

const fileOf = ({ pathname }: URL): string =>
  decodeURIComponent(/\/resolve\/[^/]+\/(.*)$/.exec(pathname)?.[1] ?? pathname)

/** The message of an answer: of its header, its JSON, or its first line. */
async function saidBy(response: Response): Promise<string> {
  const header = response.headers.get('x-error-message')
  const text = await response.text().catch(() => '')
  if (header) return header
  try {
    const { error, message } = JSON.parse(text)
    return String(error ?? message ?? response.statusText)
  } catch {
    return text.split('\n')[0]!.slice(0, 200) || response.statusText
  }
}

const codeOf = (error: unknown): string => String(((error as Error).cause as NodeJS.ErrnoException | undefined)?.code)

/** What undici says of a failed request is in its cause. */
export function reasonOf(error: unknown): string {
  const { message, cause } = (error ?? {}) as Error
  const inner = cause as NodeJS.ErrnoException | undefined
  return (inner?.message || inner?.code || message || String(error)).split('\n')[0]!
}
