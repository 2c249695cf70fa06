/** Thousands of callers at once: none lost, none answered wrongly, and too many told so at once. bench/serve.mjs does it for minutes. */
import t from 'tap'
import type { RequestError } from '../../lib/errors.js'
import { Random } from '../../lib/io/random.js'
import { createClient } from '../../lib/serve/client.js'
import { seed } from '../seed.js'
import { listening, metric, phrases } from './served.js'

const random = new Random(seed)
const requests = Array.from({ length: 50 }, () => ({ query: phrases(random, 1, 4)[0]!, texts: phrases(random, 4) }))

t.test('2,000 concurrent requests', async (t) => {
  const { model, handler, url, failures } = await listening(t)
  const expected = []
  for (const { query, texts } of requests) expected.push(await model.rank(query, texts))
  const client = createClient(url, { retries: 0 })
  let wrong = 0
  await Promise.all(
    Array.from({ length: 2000 }, async (_, i) => {
      const { hits } = await client.rank(requests[i % requests.length]!)
      if (JSON.stringify(hits) !== JSON.stringify(expected[i % requests.length])) wrong++
    }),
  )
  t.equal(wrong, 0, 'every answer has the bits of the library, whatever it was encoded with')
  t.same(failures, [])
  t.equal(await metric(handler, 'lateforge_requests_total{route="/v1/rank",status="200"}'), 2000)
  const batches = await metric(handler, 'lateforge_batch_tokens_count{role="document"}')
  t.ok(batches < 1000, `${batches} batches`)
})

t.test('more than there is room for', async (t) => {
  const { model, handler, url } = await listening(t, { maxRequests: 40 })
  const [request] = requests as [(typeof requests)[number]]
  const expected = await model.rank(request.query, request.texts)
  const client = createClient(url, { retries: 0 })
  const took = { answered: [] as number[], refused: [] as number[] }
  const started = performance.now()
  await Promise.all(
    Array.from({ length: 400 }, async () => {
      const outcome = await client.rank(request).catch((error: RequestError) => error)
      const at = performance.now() - started
      if (!(outcome instanceof Error)) {
        t.same(outcome.hits, expected)
        took.answered.push(at)
      } else {
        t.match(outcome.details, { status: 429, reason: 'full', retryAfter: Number })
        took.refused.push(at)
      }
    }),
  )
  const { answered, refused } = took
  t.ok(answered.length >= 40 && refused.length > 0, `${answered.length} answered, ${refused.length} refused`)
  t.equal(await metric(handler, 'lateforge_refused_total{reason="full"}'), refused.length)
  t.equal(await metric(handler, 'lateforge_requests_in_flight'), 0)
  const patient = createClient(url, { retries: 5 })
  t.same((await patient.rank(request)).hits, expected, 'and it serves on')
})
