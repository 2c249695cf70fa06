/** A tiny model behind the handler, for the tests of lib/serve. */
import type { Test } from 'tap'
import type { Random } from '../../lib/io/random.js'
import type { Colbert } from '../../lib/models/colbert.js'
import { createHandler, type Handler, type HandlerOptions, type Listening, listen } from '../../lib/serve/index.js'
import { tinyModel, words } from '../train/tiny.js'

/** Texts of random words. */
export function phrases(random: Random, count: number, longest = 12): string[] {
  return Array.from({ length: count }, () =>
    Array.from({ length: 1 + random.integer(longest) }, () => words[random.integer(words.length)]!).join(' '),
  )
}

/** A model, and a handler that throws away nothing it is told of failures. */
export async function served(
  t: Test,
  options: HandlerOptions = {},
): Promise<{ model: Colbert; handler: Handler; failures: unknown[] }> {
  const model = await tinyModel()
  t.teardown(() => model.dispose())
  const failures: unknown[] = []
  const handler = createHandler(model, { onError: (error) => failures.push(error), ...options })
  return { model, handler, failures }
}

/** The same, listening. */
export async function listening(
  t: Test,
  options: HandlerOptions = {},
): Promise<{ model: Colbert; handler: Handler; failures: unknown[]; server: Listening; url: string }> {
  const made = await served(t, options)
  const server = await listen(made.handler, { port: 0 })
  t.teardown(() => server.close())
  return { ...made, server, url: server.url }
}

/** A request with a body in JSON. */
export function post(path: string, body: unknown, init: RequestInit = {}): Request {
  const headers = { 'content-type': 'application/json', ...init.headers }
  return new Request(`http://localhost${path}`, { method: 'POST', body: JSON.stringify(body), ...init, headers })
}

/** Status and JSON of an answer. */
// biome-ignore lint/suspicious/noExplicitAny: whatever it is
export async function read(response: Response | Promise<Response>): Promise<{ status: number; body: any }> {
  const answer = await response
  return { status: answer.status, body: await answer.json() }
}

/** A number of `/metrics`; 0 for one that has not been counted. */
export async function metric(handler: Handler, name: string): Promise<number> {
  const text = await (await handler(new Request('http://localhost/metrics'))).text()
  const line = text.split('\n').find((line) => line.startsWith(`${name} `))
  return Number(line?.split(' ').at(-1) ?? 0)
}
