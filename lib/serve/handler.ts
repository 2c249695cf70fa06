/** `createHandler`: a model as a function from a Web request to a Web response. */
import type { Colbert } from '../models/colbert.js'
import { packageVersion } from '../packages.js'
import { Admission } from './admission.js'
import { Batcher } from './batcher.js'
import { parsed, readBody, shown } from './body.js'
import { looks, type Work, works } from './endpoints.js'
import { rankingsOf, searchesOf } from './gather.js'
import { Lane } from './lane.js'
import { Measures } from './measures.js'
import { openApiOf } from './openapi.js'
import { type HandlerOptions, type Limits, limitsOf, tokenCheck } from './options.js'
import { answerTo, json, type Reason, refusal } from './refusal.js'
import { type Schemas, schemasOf } from './schemas.js'
import type { Asked, Parts } from './service.js'
import type { HealthResponse } from './types.js'

/** Answers requests. A plain function: what frameworks take for a route, they take for it. */
export interface Handler {
  (request: Request): Promise<Response>
  /**
   * Takes nothing new from now on: `/ready` and everything else but `/health` and `/metrics` say 503. Resolves when what was under
   * way is answered. Model and index stay open.
   */
  drain(): Promise<void>
  /** Whether new requests are taken. */
  readonly ready: boolean
}

/**
 * A function that answers requests with a model: embed, rank, search, explain, rerank; docs/guides/serve.md says how. Texts of all
 * requests are encoded together. The model keeps its recipe, and stays open, as long as the handler is used.
 * @throws ArgumentError ERR_ARGUMENT for an option that cannot be
 */
export function createHandler(model: Colbert, options: HandlerOptions = {}): Handler {
  const server = new Server(model, options)
  const handler = (request: Request) => server.answer(request)
  return Object.defineProperties(handler, {
    drain: { value: () => server.admission.drain() },
    ready: { get: () => server.ready },
  }) as Handler
}

/** @throws RequestError where the client takes none of what there is */
function wantsBinary(accept: string | null, { binary = false }: Work): boolean {
  const types = (accept ?? '*/*').split(',').map((type) => type.split(';')[0]!.trim().toLowerCase())
  if (binary && types.includes('application/octet-stream')) return true
  if (types.some((type) => ['*/*', 'application/*', 'application/json'].includes(type))) return false
  const there = binary ? 'application/json and application/octet-stream' : 'application/json'
  throw refusal('accept', `accept is "${shown(accept!)}"; there is ${there}`)
}

const note = (error: unknown): void => console.error(error)

/** What is behind a path. */
type Route = { label: string } & ({ method: 'POST'; work: Work } | { method: 'GET'; look: keyof typeof looks })

class Server {
  readonly admission: Admission
  private readonly parts: Parts
  private readonly limits: Limits
  private readonly schemas: Schemas
  private readonly measures: Measures
  private readonly routes = new Map<string, Route>()
  private readonly options: HandlerOptions
  private readonly hasToken: (header: string | null) => boolean
  private readonly onError: (error: unknown) => void

  constructor(model: Colbert, options: HandlerOptions) {
    const { index, name = 'lateforge', basePath = '', token, onError = note } = options
    this.limits = limitsOf(model, options)
    this.options = options
    this.onError = onError
    this.schemas = schemasOf(this.limits)
    this.admission = new Admission(this.limits)
    this.hasToken = tokenCheck(token)
    const batcher = new Batcher(model, this.limits, { onBatch: (role, tokens) => this.measures.batch(role, tokens) })
    this.parts = {
      ...{ model, index, name, batcher },
      lane: new Lane(),
      rankings: rankingsOf(model),
      searches: index && searchesOf(index),
    }
    this.measures = new Measures(model, batcher, this.admission)
    for (const work of works)
      for (const path of work.paths) this.routes.set(basePath + path, { label: path, method: 'POST', work })
    for (const look of Object.keys(looks) as (keyof typeof looks)[])
      this.routes.set(basePath + looks[look].path, { label: looks[look].path, method: 'GET', look })
  }

  get ready(): boolean {
    return !this.admission.draining && !this.parts.batcher.lost
  }

  /** Never rejects. */
  async answer(request: Request): Promise<Response> {
    const started = performance.now()
    const { pathname } = new URL(request.url)
    const route = this.routes.get(pathname)
    const { response, reason } = await this.routed(request, route, pathname).then(
      (response): { response: Response; reason?: Reason } => ({ response }),
      (error) => answerTo(error, this.onError),
    )
    const seconds = (performance.now() - started) / 1000
    this.measures.answer(route?.label ?? 'none', response.status, seconds, reason)
    return request.method === 'HEAD' ? new Response(null, response) : response
  }

  private async routed(request: Request, route: Route | undefined, pathname: string): Promise<Response> {
    const authorized = this.hasToken(request.headers.get('authorization'))
    const isOpen = route?.method === 'GET' && looks[route.look].open
    if (!authorized && !isOpen)
      throw refusal('unauthorized', 'expected the token of this server, as Authorization: Bearer TOKEN', {
        'www-authenticate': 'Bearer',
      })
    if (!route)
      throw refusal('path', `there is nothing at ${shown(pathname)}; there are: ${[...this.routes.keys()].join(', ')}`)
    const { method } = request
    if (method !== route.method && !(method === 'HEAD' && route.method === 'GET'))
      throw refusal('method', `${shown(pathname)} takes ${route.method}, not ${shown(method)}`, { allow: route.method })
    return route.method === 'GET' ? this.look(route.look, authorized) : this.work(request, route.work)
  }

  private async work(request: Request, work: Work): Promise<Response> {
    const { batcher, lane } = this.parts
    const binary = wantsBinary(request.headers.get('accept'), work)
    const place = this.admission.enter(() => batcher.retryAfter())
    let kept = false
    const keep = () => {
      kept = true
      // Not everybody gives up an answer that nobody takes any more.
      request.signal.addEventListener('abort', place.leave, { once: true })
      return place.leave
    }
    try {
      batcher.admit(1)
      const { signal } = request
      const bytes = await readBody(request, { ...this.limits, hold: place.hold })
      const schema = this.schemas[work.request]
      const body = await lane.run(function* () {
        yield
        return parsed<unknown>(bytes, schema)
      }, signal)
      return await work.answer(this.parts, { body, signal, binary, keep } as Asked<never>)
    } finally {
      if (!kept) place.leave()
    }
  }

  private async look(what: keyof typeof looks, authorized: boolean): Promise<Response> {
    if (what === 'metrics')
      return new Response(this.measures.text(), {
        headers: { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' },
      })
    if (what === 'openapi') {
      const { basePath = '', token } = this.options
      return json(openApiOf(this.schemas, { version: packageVersion(), basePath, auth: token !== undefined }))
    }
    const fine = what === 'ready' ? this.ready : !this.parts.batcher.lost
    return json(await this.health(authorized), fine ? 200 : 503)
  }

  private async health(authorized: boolean): Promise<HealthResponse> {
    const status = this.parts.batcher.lost ? 'lost' : this.admission.draining ? 'draining' : 'ok'
    if (!authorized) return { status }
    const { model, name, index, batcher } = this.parts
    const { recipeHash: recipe, dim, device, precision } = model
    const info = await index?.info()
    return {
      ...{ status, version: packageVersion(), model: { name, recipe, dim, device: device.name, precision } },
      index: info
        ? {
            documents: info.documents,
            tokens: info.tokens,
            segments: info.segments,
            bytes: info.bytes,
            type: info.type,
          }
        : null,
      ...{ inFlight: this.admission.inFlight, waitingTokens: batcher.waitingTokens },
    }
  }
}
