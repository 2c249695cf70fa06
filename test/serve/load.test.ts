/** Thousands of callers at once: none lost, none answered wrongly, and too many told so at once. bench/serve.mjs does it for minutes. */
import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import type { RequestError } from '../../lib/errors.js'
import { Random } from '../../lib/io/random.js'
import type { Hit } from '../../lib/retrieval/search.js'
import { createClient } from '../../lib/serve/client.js'
import { long } from '../long.js'
import { seed } from '../seed.js'
import { listening, metric, phrases } from './served.js'

const random = new Random(seed)
const requests = Array.from({ length: 50 }, () => ({ query: phrases(random, 1, 4)[0]!, texts: phrases(random, 4) }))

/** So many at once. */
const callers = long ? 2000 : 500

t.test(`${callers} concurrent requests`, async (t) => {
  const { model, handler, url, failures } = await listening(t)
  const expected: Hit[][] = []
  for (const { query, texts } of requests) expected.push(await model.rank(query, texts))
  const client = createClient(url, { retries: 0 })
  let wrong = 0
  await Promise.all(
    Array.from({ length: callers }, async (_, i) => {
      const { hits } = await client.rank(requests[i % requests.length]!)
      if (JSON.stringify(hits) !== JSON.stringify(expected[i % requests.length])) wrong++
    }),
  )
  t.equal(wrong, 0, 'every answer has the bits of the library, whatever it was encoded with')
  t.same(failures, [])
  t.equal(await metric(handler, 'lateforge_requests_total{route="/v1/rank",status="200"}'), callers)
})

t.test('more than there is room for', async (t) => {
  const room = 40
  const { model, handler, url } = await listening(t, { maxRequests: room, bodyTimeoutMs: 300_000 })
  const [request] = requests as [(typeof requests)[number]]
  const expected = await model.rank(request.query, request.texts)
  const body = JSON.stringify(request)
  const head = `POST /v1/rank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`
  const held = Array.from({ length: room }, () => connect(Number(new URL(url).port), '127.0.0.1').setEncoding('utf8'))
  for (const socket of held) socket.write(head + body.slice(0, 9))
  while ((await metric(handler, 'lateforge_requests_in_flight')) < room) await setTimeout(1)
  const client = createClient(url, { retries: 0 })
  const asked = Array.from({ length: 10 * room }, () =>
    client.rank(request).catch((error: RequestError) => error.details),
  )
  for (const details of await Promise.all(asked)) t.match(details, { status: 429, reason: 'full', retryAfter: Number })
  t.equal(await metric(handler, 'lateforge_requests_in_flight'), room, 'while those that came before are under way')
  const patient = createClient(url, { retries: 100 }).rank(request)
  for (const socket of held) {
    socket.write(body.slice(9))
    let said = ''
    while (!said.endsWith('}\n')) said += (await once(socket, 'data'))[0]
    t.same(JSON.parse(said.split('\r\n\r\n')[1]!).hits, expected)
    socket.destroy()
  }
  t.same((await patient).hits, expected, 'whoever waits is answered')
})
