/** Thousands of requests that nobody should send: each is refused with a reason, and nothing is left of it. */
import path from 'node:path'
import t from 'tap'
import { Index } from '../../lib/indexing/index.js'
import { Random } from '../../lib/io/random.js'
import { createClient } from '../../lib/serve/client.js'
import { createHandler, listen } from '../../lib/serve/index.js'
import { long } from '../long.js'
import { seed } from '../seed.js'
import { tinyModel } from '../train/tiny.js'
import { type Hostile, hostile, sent } from './hostile.js'
import { metric, phrases } from './served.js'

/** 10,000 take about a minute. */
const count = Number(process.env.LATEFORGE_TEST_HOSTILE ?? (long ? 10_000 : 500))
const atOnce = 32

t.test(`${count} hostile requests`, async (t) => {
  const random = new Random(seed)
  const model = await tinyModel()
  t.teardown(() => model.dispose())
  const index = await Index.create(path.join(t.testdir(), 'index'), { model })
  await index.add(phrases(random, 20).map((text, i) => ({ id: `d${i}`, text })))
  const failures: unknown[] = []
  const limits = { maxBodyBytes: 65_536, maxTexts: 32, maxTokens: 400, maxQueueTokens: 4000, bodyTimeoutMs: 200 }
  const handler = createHandler(model, { index, onError: (error) => failures.push(error), ...limits })
  const server = await listen(handler, { port: 0 })
  t.teardown(() => server.close())
  const port = Number(new URL(server.url).port)
  const seen = new Map<string, number>()
  let left = count
  const check = async (request: Hostile) => {
    const what = () => `${request.kind}: ${JSON.stringify(request.parts.map((part) => part.toString().slice(0, 300)))}`
    const { status, body } = await sent(port, request).catch((error) => {
      t.fail(`${error.message}; ${what()}`)
      return { status: -1, body: '' }
    })
    const key = `${request.kind} ${status}`
    seen.set(key, (seen.get(key) ?? 0) + 1)
    if (request.expects === 'nothing' || status === -1) return
    if (request.expects === 'answer' && status === 200) return
    const { reason = '', message = '' } = status === 200 ? {} : JSON.parse(body || '{"error":{}}').error
    if (!(status >= 400 && status < 500 && reason !== '' && message.length > 10 && message.length < 2000))
      t.fail(`${status} ${body}; ${what()}`)
  }
  const worker = async () => {
    while (left-- > 0) await check(hostile(random))
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
  t.comment(
    [...seen]
      .sort()
      .map(([key, times]) => `${key}: ${times}`)
      .join(', '),
  )
  t.same(failures, [], 'nothing failed inside')

  const client = createClient(server.url)
  const [query, ...texts] = phrases(random, 5) as [string, ...string[]]
  t.same((await client.rank({ query, texts })).hits, await model.rank(query, texts), 'and it answers as before')
  t.equal(await metric(handler, 'lateforge_requests_in_flight'), 0)
  t.equal(await metric(handler, 'lateforge_waiting_tokens'), 0)
  await index.close()
})
