/** Mistakes in calls of a model, and embeddings that were changed on their way to a search. */
import { readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { Colbert } from '../../lib/models/colbert.js'
import type { CreateConfig } from '../../lib/models/create.js'
import type { Embeddings } from '../../lib/retrieval/embeddings.js'
import { tinyModel } from '../train/tiny.js'

const any = (value: unknown) => value as never
const model = await tinyModel()
t.teardown(() => model.dispose())
const queries = await model.encodeQueries(['w1 w2'])
const documents = await model.encodeDocuments(['w1', 'w2', ''])

t.test('options are objects with known keys', async (t) => {
  for (const options of [null, 5, 'x', [], { microBatchTokns: 3 }]) {
    await t.rejects(model.encodeQueries(['a'], any(options)), { code: 'ERR_ARGUMENT' })
    await t.rejects(model.encodeDocuments(['a'], any(options)), { code: 'ERR_ARGUMENT' })
    await t.rejects(model.rank('a', ['b'], any(options)), { code: 'ERR_ARGUMENT' })
    await t.rejects(Colbert.create(any({}), any(options)), { code: 'ERR_ARGUMENT' })
    await t.rejects(model.search(queries, documents, any(options)), { code: 'ERR_ARGUMENT' })
    t.throws(() => model.streamDocuments(['a'], any(options)), { code: 'ERR_ARGUMENT' })
  }
  await t.rejects(model.encodeQueries(['a'], any({ microBatchTokns: 3 })), {
    message: /did you mean "microBatchTokens"/,
  })
  await t.rejects(model.encodeQueries(['a'], any({ microBatchTokens: '8' })), { code: 'ERR_ARGUMENT' })
  await t.rejects(model.encodeQueries([], { signal: AbortSignal.abort() }), { code: 'ERR_ABORTED' })
})

t.test('configs that are none, and more layers than anyone has', async (t) => {
  for (const config of [undefined, null, 5, Symbol('s')])
    await t.rejects(Colbert.create(any(config)), { code: 'ERR_CONFIG' })
  const { tokenizer } = model
  const config: CreateConfig = { architecture: 'bert', layers: 1e9, width: 16, heads: 2, dim: 8, tokenizer }
  await t.rejects(Colbert.create(config), { code: 'ERR_CONFIG', message: /layers is 1000000000/ })
})

t.test('texts and ids', async (t) => {
  await t.rejects(model.rank(any(5), []), { code: 'ERR_ARGUMENT' })
  for (const texts of [undefined, null, 'abc', [1]])
    await t.rejects(model.rank('q', any(texts)), { code: 'ERR_ARGUMENT' })
  for (const ids of ['x', [1], []])
    await t.rejects(model.encodeDocuments(['a'], { ids: any(ids) }), { code: 'ERR_ARGUMENT' })
  for (const text of ['', 'w1 '.repeat(40_000), 'w'.repeat(100_000), '\ud800 w1 \udfff', 'w1\0w2', '\u200b\ufeff']) {
    const { data, offsets } = await model.encodeDocuments([text])
    t.ok(offsets[1]! >= 1 && offsets[1]! <= model.recipe.documentLength, 'has its tokens')
    t.ok(data.every(Number.isFinite), 'and finite values')
  }
})

t.test('embeddings that do not fit together are refused, not ranked', async (t) => {
  const wrong: [string, Partial<Record<keyof Embeddings, unknown>>, string][] = [
    ['less data', { data: documents.data.subarray(16) }, 'ERR_SHAPE'],
    ['another dim', { dim: 8 }, 'ERR_ARGUMENT'],
    ['no offsets', { offsets: undefined }, 'ERR_ARGUMENT'],
    ['empty offsets', { offsets: [] }, 'ERR_SHAPE'],
    ['offsets from JSON', { offsets: JSON.parse(JSON.stringify(documents.offsets)) }, 'ERR_ARGUMENT'],
    ['data from JSON', { data: JSON.parse(JSON.stringify(documents.data)) }, 'ERR_ARGUMENT'],
    ['fewer ids', { ids: ['a'] }, 'ERR_ARGUMENT'],
    ['NaN', { data: documents.data.map(() => Number.NaN) }, 'ERR_DATA'],
  ]
  for (const [name, change, code] of wrong)
    await t.rejects(async () => model.search(queries, any({ ...documents, ...change })), { code }, name)
})

t.test('files: names that are none, and refusals of the system', async (t) => {
  const dir = t.testdir()
  for (const name of [undefined, null, 5, '', 'a\0b']) {
    await t.rejects(model.save(any(name)), { code: 'ERR_ARGUMENT' })
    await t.rejects(Colbert.load(any(name)), { code: 'ERR_ARGUMENT' })
  }
  writeFileSync(path.join(dir, 'file'), 'x')
  await t.rejects(model.save(path.join(dir, 'file', 'model')), { code: 'ERR_FILE' })
  t.same(readdirSync(dir), ['file'], 'nothing half-written')
})
