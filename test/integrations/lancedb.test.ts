/** `lateforge/lancedb` in hybrid queries of the real package, in process. */
import path from 'node:path'
import * as lancedb from '@lancedb/lancedb'
import t from 'tap'
import { hybridReranker } from '../../lib/integrations/lancedb.js'
import { install, told } from '../installed.js'
import { folder, tinyModel } from '../train/tiny.js'
import { close, expected, query, texts } from './scenario.js'

const model = await tinyModel()
const best = await expected(model)
t.teardown(() => model.dispose())

const rows = texts.map((text, i) => ({
  ...{ id: `d${i}`, text, number: BigInt(i), tags: [`t${i}`, 'all'], half: i % 2 === 0 ? i / 2 : null },
  about: { length: text.length, words: text.split(' ') },
  vector: Array.from({ length: 8 }, (_, k) => Math.sin(8 * i + k)),
}))

t.test('a hybrid query in order of the model, each row once', async (t) => {
  const db = await lancedb.connect(path.join(folder(t), 'db'))
  const table = await db.createTable('docs', rows)
  await table.createIndex('text', { config: lancedb.Index.fts() })
  const asked = () => table.query().nearestTo(rows[0]!.vector).fullTextSearch(query)
  const reranker: lancedb.rerankers.Reranker = hybridReranker(model)
  const found = await asked().rerank(reranker).limit(5).toArray()
  t.same(
    found.map((row) => [row.id, row.text, row.number, [...row.tags], row.half, JSON.parse(JSON.stringify(row.about))]),
    best.map(({ index }) => [
      `d${index}`,
      texts[index],
      BigInt(index),
      [`t${index}`, 'all'],
      rows[index]!.half,
      rows[index]!.about,
    ]),
  )
  t.ok(
    close(
      found.map((row) => row._relevance_score),
      best.map(({ mean }) => mean),
    ),
  )
  t.ok(close([...found[0].vector], rows[best[0]!.index]!.vector))
  const two = await asked().select(['id', 'text']).withRowId().rerank(reranker).limit(2).toArray()
  t.same(
    two.map((row) => [row.id, row._rowid]),
    best.slice(0, 2).map(({ index }) => [`d${index}`, BigInt(index)]),
  )
  const nothing = table.query().nearestTo(rows[0]!.vector).fullTextSearch('nowhere').where("id = 'none'")
  t.same(await nothing.rerank(reranker).toArray(), [])
  await t.rejects(asked().select(['id']).rerank(reranker).toArray(), { message: /no column "text" to rank by/ })
  t.throws(() => hybridReranker(model, { column: '' }), { code: 'ERR_ARGUMENT' })
  db.close()
})

t.test('where LanceDB is not installed, the error says what to install', async (t) => {
  const root = install(t)
  t.match(told(root, "(await lib('integrations/arrow')).lanceDb()"), {
    code: 'ERR_UNSUPPORTED',
    message: /npm install @lancedb\/lancedb apache-arrow/,
  })
})
