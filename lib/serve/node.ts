/** The handler behind `node:http`: as a listener, and as a server that ends in good order. */
import { createServer, type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { typed } from '../errors.js'
import { checkOptions, type Kinds, text, whole } from '../options.js'
import type { Handler } from './handler.js'
import { json } from './refusal.js'

/** What a listener needs of a handler: any function from a Web request to a Web response is one. */
export type FetchHandler = ((request: Request) => Promise<Response>) & {
  /** As of `Handler`: connections are not kept once it is false. */
  readonly ready?: boolean
}

/** A handler as a listener of `node:http`: `createServer(nodeListener(handler))`. A client that leaves fires the request's signal. */
export function nodeListener(handler: FetchHandler): (request: IncomingMessage, response: ServerResponse) => void {
  return (incoming, outgoing) => {
    const gone = new AbortController()
    outgoing.on('close', () => outgoing.writableFinished || gone.abort())
    outgoing.on('error', () => gone.abort())
    const body = bodyOf(incoming)
    void Promise.resolve()
      .then(() => requestOf(incoming, body.stream, gone.signal))
      .then((request) => (request instanceof Response ? request : handler(request)))
      .then((response) => {
        if (handler.ready === false && !outgoing.headersSent) outgoing.setHeader('connection', 'close')
        return send(response, outgoing)
      })
      .catch(() => outgoing.destroy())
      // Whatever of the body nobody has read goes by, so that the connection can be used again.
      .finally(body.discard)
  }
}

/** A body as a Web stream that is read no faster than it is taken. Giving it up leaves the connection alone. */
function bodyOf(incoming: IncomingMessage): { stream: ReadableStream<Uint8Array>; discard: () => void } {
  let open = true
  const discard = () => {
    open = false
    incoming.resume()
  }
  const stream = new ReadableStream<Uint8Array>(
    {
      start(controller) {
        const end = (how: () => void) => () => {
          if (open) how()
          open = false
        }
        incoming.on('data', (part: Buffer) => {
          if (!open) return
          controller.enqueue(part)
          if (controller.desiredSize! <= 0) incoming.pause()
        })
        incoming.pause()
        incoming.on(
          'end',
          end(() => controller.close()),
        )
        incoming.on(
          'close',
          end(() => controller.error(new Error('the client has left'))),
        )
        incoming.on(
          'error',
          end(() => controller.error(new Error('the client has left'))),
        )
      },
      pull: () => void incoming.resume(),
      cancel: discard,
    },
    { highWaterMark: 0 },
  )
  return { stream, discard }
}

/** What the Web's Request does not have. */
const unheard = ['CONNECT', 'TRACE', 'TRACK']

const badRequest = (status: number, reason: string, message: string, headers?: Record<string, string>) =>
  json({ error: { reason, message } }, status, headers)

/** The request as the Web has it, or the answer to one that the Web does not have. */
function requestOf(
  incoming: IncomingMessage,
  stream: ReadableStream<Uint8Array>,
  signal: AbortSignal,
): Request | Response {
  const { method = 'GET', url = '/', httpVersion } = incoming
  if (incoming.headers.host === undefined && httpVersion !== '1.0')
    return badRequest(400, 'invalid', 'the request has no Host header')
  if (unheard.includes(method)) return badRequest(405, 'method', `${method} is not taken`, { allow: 'GET, HEAD, POST' })
  // A path that means another one once it is tidied up would pass by whatever has looked at it before.
  const address = `http://localhost${url}`
  const parsed = url.startsWith('/') && URL.canParse(address) ? new URL(address) : null
  if (parsed === null || parsed.pathname + parsed.search !== url)
    return badRequest(400, 'invalid', 'the path has to be written out plainly, as /v1/rank')
  const bodiless = method === 'GET' || method === 'HEAD'
  try {
    const headers = new Headers()
    for (let i = 0; i < incoming.rawHeaders.length; i += 2)
      headers.append(incoming.rawHeaders[i]!, incoming.rawHeaders[i + 1]!)
    return new Request(parsed, { method, headers, signal, ...(!bodiless && { body: stream, duplex: 'half' }) })
  } catch (error) {
    return badRequest(400, 'invalid', `method or headers cannot be: ${(error as Error).message}`)
  }
}

/** Milliseconds in which a client has to take something of its answer. */
const silence = 60_000

async function send(response: Response, outgoing: ServerResponse): Promise<void> {
  if (outgoing.destroyed) return void response.body?.cancel()
  if (response.status === 408) outgoing.setHeader('connection', 'close') // the rest of that body is not waited for
  outgoing.setTimeout(silence)
  outgoing.writeHead(response.status, Object.fromEntries(response.headers))
  if (!response.body) return void outgoing.end()
  const reader = response.body.getReader()
  const cancel = () => void reader.cancel().catch(() => {})
  outgoing.once('close', cancel)
  for (;;) {
    const { done, value } = await reader.read()
    if (done) break
    if (!outgoing.write(value)) await drained(outgoing)
  }
  outgoing.end()
}

/** Resolves when more can be written, or nobody is there any more. */
function drained(outgoing: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const go = () => {
      outgoing.off('drain', go).off('close', go)
      resolve()
    }
    if (outgoing.destroyed) return resolve()
    outgoing.on('drain', go).on('close', go)
  })
}

/** Options of `listen`. */
export interface ListenOptions {
  /** Default 8080; 0 for any that is free. */
  port?: number
  /** Where it can be reached from. Default 127.0.0.1: this machine alone. */
  host?: string
  /** Milliseconds that requests under way are given when it closes. Default 30,000. */
  drainMs?: number
}

const listenOptions: Kinds<ListenOptions> = { port: whole(0, 65_535), host: text, drainMs: whole(0, 2 ** 31 - 1) }

/** A server that listens. */
export interface Listening {
  /** Where, as `http://127.0.0.1:8080`. */
  readonly url: string
  /** The server itself. */
  readonly server: Server
  /**
   * Ends in good order: nothing new is taken, what is under way is answered, then connections are closed. Safe to call twice.
   * @returns how many requests were still under way when their time was over, and were cut off
   */
  close(): Promise<number>
}

/** Milliseconds that a head and a whole request may take. */
const patience = { headersTimeout: 30_000, requestTimeout: 60_000, connectionsCheckingInterval: 2_000 }
/** Longer than proxies keep an idle connection: whoever closes it first, it should not be this side. */
const keepAliveTimeout = 75_000
/** `requestOf` looks for it, and says so. */
const requireHostHeader = false
/** Milliseconds that a connection is given which should end, until it is cut: to take what it was told, or to say what it had begun. */
const linger = 1_000
/** Connections that wait to be taken; the system may allow fewer. */
const backlog = 4096

/**
 * Serves a handler over HTTP.
 * @throws ArgumentError ERR_ARGUMENT; FileError ERR_FILE where the address is taken or not this machine's
 */
export async function listen(handler: Handler, options: ListenOptions = {}): Promise<Listening> {
  checkOptions('listen', options, listenOptions)
  const { port = 8080, host = '127.0.0.1', drainMs = 30_000 } = options
  const server = createServer({ ...patience, keepAliveTimeout, requireHostHeader })
  const answer = nodeListener(handler)
  let underWay = 0
  let closing: Promise<number> | null = null
  let parting: NodeJS.Timeout | undefined
  /** While it closes: connections that ask nothing any more would hold it up. */
  const part = () => {
    server.closeIdleConnections()
    clearTimeout(parting)
    if (underWay === 0) parting = setTimeout(() => underWay === 0 && server.closeAllConnections(), linger)
  }
  server.on('request', (incoming, outgoing) => {
    underWay++
    outgoing.on('close', () => {
      underWay--
      if (closing) setImmediate(part)
    })
    answer(incoming, outgoing)
  })
  refuseWithReasons(server)
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(typed(error)))
    server.listen({ port, host, backlog }, resolve)
  })
  const { address, family, port: chosen } = server.address() as AddressInfo
  const close = async (): Promise<number> => {
    const ended = new Promise<void>((resolve) => server.close(() => resolve()))
    const drained = handler.drain()
    part()
    let late = 0
    const timer = setTimeout(() => {
      late = underWay
      server.closeAllConnections()
    }, drainMs)
    await ended
    clearTimeout(timer)
    clearTimeout(parting)
    await drained
    return late
  }
  return {
    url: `http://${family === 'IPv6' ? `[${address}]` : address}:${chosen}`,
    server,
    close: () => (closing ??= close()),
  }
}

/** What Node would refuse without a word, or end. */
function refuseWithReasons(server: Server): void {
  const latest = new WeakMap<Duplex, { incoming: IncomingMessage; outgoing: ServerResponse }>()
  server.on('request', (incoming, outgoing) => latest.set(incoming.socket, { incoming, outgoing }))
  const isAnswered = (socket: Duplex) => latest.get(socket)?.outgoing.writableFinished ?? true
  const refused = new WeakSet<Duplex>()
  const refuse = async (socket: Duplex, response: Response) => {
    if (refused.has(socket)) return
    refused.add(socket)
    const end = (text?: string) => {
      socket.end(text)
      const timer = setTimeout(() => socket.destroy(), linger)
      socket.once('close', () => clearTimeout(timer))
    }
    if (!isAnswered(socket)) {
      const { incoming, outgoing } = latest.get(socket)!
      // What comes after a request that is there takes nothing from it; into an answer that has begun, no other may be written.
      if (incoming.complete) return void outgoing.once('finish', () => end())
      if (outgoing.headersSent) return void socket.destroy()
    }
    const { status, statusText } = response
    const head = `HTTP/1.1 ${status} ${statusText || STATUS_CODES[status]}\r\nConnection: close`
    const headers = [...response.headers].map(([name, value]) => `${name}: ${value}`)
    const body = await response.text()
    if (socket.writable) end([head, ...headers, '', body].join('\r\n'))
    else socket.destroy()
  }
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    if (error.code === 'ECONNRESET') return void socket.destroy()
    if (error.code === 'HPE_HEADER_OVERFLOW')
      return void refuse(socket, badRequest(431, 'invalid', 'the headers are larger than 16 KiB'))
    if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT')
      return void refuse(socket, badRequest(408, 'timeout', 'the request did not arrive in time'))
    void refuse(socket, badRequest(400, 'invalid', `this is no HTTP request: ${error.message}`))
  })
  server.on('connect', (_, socket) => {
    // Node has let go of this connection: nobody else listens for its errors, or goes on with the answers before.
    socket.on('error', () => socket.destroy())
    socket.resume()
    if (isAnswered(socket)) void refuse(socket, badRequest(405, 'method', 'CONNECT is not taken'))
    else socket.destroy()
  })
  server.on('checkExpectation', (incoming: IncomingMessage, outgoing: ServerResponse) => {
    outgoing.setHeader('connection', 'close')
    void send(badRequest(417, 'invalid', 'Expect has to be 100-continue'), outgoing)
    incoming.resume()
  })
}
