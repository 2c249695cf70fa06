/** Encoding writes embeddings once, and what does not fit says so. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { encodeAll } from '../../lib/models/encode.js'
import { tinyModel } from '../train/tiny.js'

t.test('memory peaks at the size of the embeddings', async (t) => {
  const child = fileURLToPath(new URL('./memory-child.js', import.meta.url))
  const { stdout, stderr } = spawnSync(process.execPath, [child], { encoding: 'utf8' })
  const { embeddings, grown } = JSON.parse(stdout || '{}')
  t.ok(embeddings > 300e6, stderr || `${embeddings} bytes of embeddings`)
  t.ok(grown < 1.35 * embeddings, `memory grew by ${(grown / embeddings).toFixed(3)} of them`) // 2.1 with a list of parts
})

t.test('embeddings that fit no array: refused before anything is encoded, with the way out', async (t) => {
  const model = await tinyModel()
  // What is checked is the size, so the model says it is far wider than it is.
  const wide = new Proxy(model, {
    get: (target, key) => (key === 'dim' ? 2 ** 45 : Reflect.get(target, key, target)),
  })
  const before = model.device.memory().bytes
  await t.rejects(encodeAll(wide, 'document', ['w1 w2', 'w3'], {}), {
    code: 'ERR_OUT_OF_MEMORY',
    message: /2 documents have 9 token embeddings of \d+ numbers: \d+\.\d GiB .*streamDocuments/,
    details: { texts: 2, rows: 9, dim: 2 ** 45 },
  })
  await t.rejects(encodeAll(wide, 'query', ['w1'], {}), { code: 'ERR_OUT_OF_MEMORY', message: /fewer at a time/ })
  t.equal(model.device.memory().bytes, before)
  model.dispose()
})

t.test('one piece and a stream have the same bits, and count what was cut', async (t) => {
  const model = await tinyModel()
  const texts = Array.from({ length: 40 }, (_, d) =>
    Array.from({ length: 3 + ((d * 7) % 20) }, (_, i) => `w${(d + i) % 60}`).join(' '),
  )
  const longer = texts.filter((text) => text.split(' ').length > 16 - 3).length // [CLS], [D], [SEP]
  const whole = await model.encodeDocuments(texts, { microBatchTokens: 50 })
  const parts = []
  for await (const part of model.streamDocuments(texts, { microBatchTokens: 50 })) parts.push(part)
  t.ok(parts.length > 5)
  t.same(
    parts.flatMap(({ data }) => [...data]),
    [...whole.data],
  )
  t.ok(longer > 5)
  t.equal(whole.truncated, longer)
  t.equal(
    parts.reduce((sum, { truncated }) => sum + truncated!, 0),
    longer,
  )
  const queries = await model.encodeQueries(['w1 w2 w3 w4 w5', 'w1 w2 w3 w4 w5 w6', ''])
  t.equal(queries.truncated, 1, 'five words fit into eight tokens')
  const { ids, truncated } = model.featurizer.features('w1 w2 w3 w4 w5 w6', 'query')
  t.same([ids.length, truncated], [8, true])
  model.dispose()
})
