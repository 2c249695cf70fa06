/** What the handler refuses, drops and survives. */
import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import { Random } from '../../lib/io/random.js'
import { createHandler, type HandlerOptions } from '../../lib/serve/index.js'
import { inTurns } from '../../lib/turns.js'
import { seed } from '../seed.js'
import { tinyModel } from '../train/tiny.js'
import { turnsDuring } from '../turns.js'
import { metric, phrases, post, read, served } from './served.js'

const random = new Random(seed)
const many = { role: 'document', texts: phrases(random, 1000) }
const few = { role: 'document', texts: ['w1 w2'] }
/** Batches so small that many texts take a while. */
const slow = { batchTokens: 32 }

/** Waits for what will be. */
async function until(what: () => Promise<boolean>): Promise<void> {
  while (!(await what())) await setTimeout(1)
}

t.test('a token is asked for, and not told from a wrong one', async (t) => {
  const { handler } = await served(t, { token: 'a-token-of-some-length' })
  const ask = (authorization?: string) =>
    read(handler(post('/v1/embed', few, authorization === undefined ? {} : { headers: { authorization } })))
  for (const header of [
    undefined,
    '',
    'Bearer',
    'Bearer ',
    'Bearer a-token',
    'Basic a-token-of-some-length',
    'a-token-of-some-length',
  ])
    t.match(await ask(header), { status: 401, body: { error: { reason: 'unauthorized' } } })
  t.equal((await ask('Bearer a-token-of-some-length')).status, 200)
  t.equal((await ask('bearer  a-token-of-some-length')).status, 200)
  const look = (path: string) => handler(new Request(`http://localhost${path}`))
  t.same(await read(look('/health')), { status: 200, body: { status: 'ok' } }, 'and nothing more')
  t.equal((await look('/ready')).status, 200)
  t.equal((await look('/metrics')).status, 401)
  t.equal((await look('/openapi.json')).status, 401)
  t.equal((await look('/nothing')).status, 401, 'who has no token does not learn what there is')
  t.match((await look('/metrics')).headers.get('www-authenticate'), 'Bearer')
})

t.test('what is too much, or something else, is named', async (t) => {
  const { handler, failures } = await served(t, { maxTexts: 5, maxTokens: 30, maxQueueTokens: 30, maxBodyBytes: 1000 })
  const texts = (count: number) => ({ role: 'document', texts: new Array<string>(count).fill('w1 w2 w3 w4 w5') })
  const cases: [number, string, RegExp, Request][] = [
    [400, 'invalid', /texts: Too big/, post('/v1/embed', texts(6))],
    [413, 'tokens', /the texts have \d+ tokens, at most 30/, post('/v1/embed', texts(5))],
    [413, 'body', /larger than 1000 bytes/, post('/v1/embed', { role: 'query', texts: ['x'.repeat(1000)] })],
    [400, 'invalid', /role: Invalid option/, post('/v1/embed', { texts: ['w1'] })],
    [400, 'invalid', /Unrecognized key: "rolle"/, post('/v1/embed', { ...few, rolle: 1 })],
    [400, 'invalid', /not JSON/, post('/v1/embed', few, { body: '{"role":' })],
    [400, 'invalid', /not UTF-8/, post('/v1/embed', few, { body: new Uint8Array([0x22, 0xff, 0x22]) })],
    [400, 'invalid', /expected object/, post('/v1/embed', few, { body: '['.repeat(400) + ']'.repeat(400) })],
    [
      415,
      'media',
      /content-type is "text\/plain"/,
      post('/v1/embed', few, { headers: { 'content-type': 'text/plain' } }),
    ],
    [415, 'media', /content-encoding is "gzip"/, post('/v1/embed', few, { headers: { 'content-encoding': 'gzip' } })],
    [
      ...([415, 'media', /charset is "latin1"/] as const),
      post('/v1/embed', few, { headers: { 'content-type': 'application/json; charset=latin1' } }),
    ],
    [406, 'accept', /accept is "image\/png"/, post('/v1/embed', few, { headers: { accept: 'image/png' } })],
    [
      406,
      'accept',
      /there is application\/json/,
      post('/v1/rank', few, { headers: { accept: 'application/octet-stream' } }),
    ],
    [405, 'method', /takes POST, not GET/, new Request('http://localhost/v1/embed')],
    [405, 'method', /takes GET, not POST/, post('/health', {})],
    [404, 'path', /nothing at \/v1\/embedd; there are: \/v1\/embed/, post('/v1/embedd', few)],
  ]
  for (const [status, reason, message, request] of cases)
    t.match(await read(handler(request)), { status, body: { error: { reason, message } } })
  t.same(failures, [], 'none of it is a fault of the server')
  t.equal((await handler(post('/v1/embed', few))).status, 200)
  t.equal(await metric(handler, 'lateforge_refused_total{reason="media"}'), 3)
})

t.test('options that cannot be are refused', async (t) => {
  const model = await tinyModel()
  t.teardown(() => model.dispose())
  const refuses = (options: object, message: RegExp) =>
    t.throws(() => createHandler(model, options as HandlerOptions), { code: 'ERR_ARGUMENT', message })
  refuses({ maxBatchTokens: 1 }, /no option "maxBatchTokens"; did you mean "batchTokens"/)
  refuses({ basePath: 'api/' }, /basePath is "api\/", expected a path/)
  refuses({ maxTokens: 100, maxQueueTokens: 10 }, /maxTokens is 100, more than may wait/)
})

t.test('a full queue says so at once, and when to come again', async (t) => {
  const { handler } = await served(t, { ...slow, maxQueueTokens: 12_000, maxTokens: 12_000 })
  const first = handler(post('/v1/embed', many))
  await until(async () => (await metric(handler, 'lateforge_waiting_tokens')) > 0)
  const refused = await handler(post('/v1/embed', many))
  t.equal(refused.status, 429)
  t.ok(Number(refused.headers.get('retry-after')) >= 1)
  t.match(await refused.json(), { error: { reason: 'full', message: /\d+ tokens wait to be encoded/ } })
  t.ok((await metric(handler, 'lateforge_waiting_tokens')) > 0, 'before the first is done')
  t.equal((await first).status, 200)
  t.equal((await handler(post('/v1/embed', many))).status, 200, 'and there is room again')
})

t.test('requests under way are counted until their answers are taken', async (t) => {
  const { handler } = await served(t, { maxRequests: 2 })
  const [one, two] = [await handler(post('/v1/embed', few)), await handler(post('/v1/embed', few))]
  t.match(await read(handler(post('/v1/embed', few))), {
    status: 429,
    body: { error: { message: /2 requests are under way/ } },
  })
  await one.json()
  const three = await handler(post('/v1/embed', few))
  t.equal(three.status, 200)
  await two.body!.cancel()
  await three.body!.cancel()
  t.equal((await handler(post('/v1/embed', few))).status, 200)
})

t.test('what a client that left had waiting is never computed', async (t) => {
  const { handler } = await served(t, slow)
  const leaving = new AbortController()
  const [stays, leaves] = [
    handler(post('/v1/embed', many)),
    handler(post('/v1/embed', many, { signal: leaving.signal })),
  ]
  const tokens = async () => metric(handler, 'lateforge_tokens_total{role="document"}')
  await until(async () => (await tokens()) > 500)
  leaving.abort()
  t.match(await read(leaves), { status: 499, body: { error: { reason: 'left' } } })
  const { body } = await read(stays)
  const computed = await tokens()
  t.ok(computed < 1.8 * body.usage.tokens, `${computed} of twice ${body.usage.tokens} tokens`)
  t.equal(await metric(handler, 'lateforge_waiting_tokens'), 0)
  const before = await handler(post('/v1/embed', many, { signal: AbortSignal.abort() }))
  t.equal(before.status, 499)
  t.equal(await tokens(), computed, 'nor of one that was gone before')
  t.equal(await metric(handler, 'lateforge_requests_in_flight'), 0)
})

t.test('texts of many requests are encoded together, and short requests pass long ones', async (t) => {
  const { handler } = await served(t, { batchTokens: 512 })
  const done: string[] = []
  const ask = async (name: string, body: object) => {
    await read(handler(post('/v1/embed', body)))
    done.push(name)
  }
  await Promise.all([ask('long', many), ...Array.from({ length: 50 }, () => ask('short', few))])
  t.equal(done.at(-1), 'long')
  const batches = await metric(handler, 'lateforge_batch_tokens_count{role="document"}')
  const tokens = await metric(handler, 'lateforge_tokens_total{role="document"}')
  t.ok(batches < 10 + tokens / 400, `${batches} batches for ${tokens} tokens of 51 requests`)
})

t.test('the event loop turns while texts become tokens, vectors and JSON', async (t) => {
  const { handler } = await served(t)
  const each = { role: 'document', texts: new Array<string>(1000).fill('w1 w2 w3 w4 w5 w6 w7 w8') }
  const taken = async (response: Promise<Response>) => {
    let bytes = 0
    for await (const part of (await response).body!) bytes += part.length
    return bytes
  }
  const { turns, result } = await turnsDuring(() =>
    Promise.all(Array.from({ length: 30 }, () => taken(handler(post('/v1/embed', each))))),
  )
  t.ok(turns > 50, `${turns} turns while answers of ${result} bytes were made`)
})

t.test('a drained handler has answered everything, and takes nothing new', async (t) => {
  const { handler } = await served(t, slow)
  const under = [handler(post('/v1/embed', many)), handler(post('/v1/rank', { query: 'w1', texts: many.texts }))]
  await until(async () => (await metric(handler, 'lateforge_waiting_tokens')) > 0)
  let isDrained = false
  const drained = handler.drain().then(() => (isDrained = true))
  t.notOk(handler.ready)
  const look = (path: string) => read(handler(new Request(`http://localhost${path}`)))
  t.match(await look('/ready'), { status: 503, body: { status: 'draining' } })
  t.match(await look('/health'), { status: 200, body: { status: 'draining' } })
  const late = await handler(post('/v1/embed', few))
  t.equal(late.headers.get('retry-after'), '1')
  t.match(await read(late), { status: 503, body: { error: { reason: 'draining' } } })
  t.notOk(isDrained)
  for (const response of under) t.equal((await read(response)).status, 200)
  await drained
})

t.test('without memory for a batch its requests are told, and the next are served', async (t) => {
  const { model, handler, failures } = await served(t)
  const { device } = model
  const { limit, bytes } = device.memory()
  device.setMemoryLimit(Math.max(1 << 20, bytes + 1000))
  const answers = await Promise.all([1, 2, 3].map(() => handler(post('/v1/embed', many))))
  device.setMemoryLimit(limit)
  t.ok(answers.every(({ status }) => status === 503))
  t.match(await answers[0]!.json(), { error: { reason: 'memory' } })
  t.equal(failures.length, 3)
  t.match(failures[0], { code: 'ERR_OUT_OF_MEMORY' })
  t.equal((await handler(post('/v1/embed', many))).status, 200)
  t.ok(handler.ready)
})

t.test('a model whose weights are damaged answers nothing as if it were right', async (t) => {
  const { model, handler, failures } = await served(t)
  const { name, size } = model.parameters.entries.at(-1)!
  await inTurns(model.parameters.writeInSteps(new Float32Array(size).fill(Number.NaN), name))
  for (const [path, body] of [
    ['/v1/embed', few],
    ['/v1/rank', { query: 'w1', texts: ['w2'] }],
  ] as const)
    t.match(await read(handler(post(path, body))), { status: 500, body: { error: { reason: 'failed' } } })
  t.match(failures, [{ code: 'ERR_DATA', message: /not finite/ }, { code: 'ERR_DATA' }])
})
