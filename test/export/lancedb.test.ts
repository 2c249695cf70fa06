/** LanceDB, written and searched in process by its own package. */
import { execFile } from 'node:child_process'
import { mkdirSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import * as lancedb from '@lancedb/lancedb'
import t from 'tap'
import { exportIndex } from '../../lib/export/index.js'
import { dim, left, makeIndex, stored, unitVectors } from './scenario.js'

// Within the checkout, where the written program finds LanceDB.
const place = t.testdir()
const index = await makeIndex(place, 'int8')
t.teardown(() => index.close())

t.test('its search ranks as ours does, by the same scores', async (t) => {
  const out = path.join(place, 'out')
  const result = await exportIndex('lancedb', index, out, { name: 'books' })
  t.match(result, { name: 'books', documents: 6, withoutVectors: 1 })
  const db = await lancedb.connect(path.join(out, 'db'))
  const table = await db.openTable('books')
  t.equal(await table.countRows(), 6)
  const rows = await table.query().toArray()
  const expected = await stored(index)
  t.same(
    rows.map(({ id, text, metadata, vector }) => [id, text, JSON.parse(metadata), [...vector].map((v) => [...v])]),
    left.map((id) => [id, expected.get(id)!.text, expected.get(id)!.metadata, expected.get(id)!.vectors]),
  )
  const tokens = 4
  const { data } = unitVectors([tokens], 9)
  const queries = { data, offsets: [0, tokens], dim, role: 'query' as const }
  const [ours] = await index.search(queries, { topK: 10, exact: true })
  const vectors = Array.from({ length: tokens }, (_, i) => Array.from(data.subarray(i * dim, (i + 1) * dim)))
  const theirs = await table.vectorSearch(vectors).distanceType('cosine').limit(6).toArray()
  t.same(
    theirs.map(({ id }) => id),
    ours!.filter(({ id }) => id !== 'empty').map(({ id }) => id),
  )
  // Its distance is, in this version, 1 - MaxSim of cosines; int8 changes norms a little.
  const scores = new Map(ours!.map(({ id, score }) => [id, score]))
  for (const { id, _distance } of theirs) t.ok(Math.abs(1 - _distance - scores.get(id)!) < 0.02)
  db.close()
})

t.test('the written program finds the first document', async (t) => {
  const { stdout } = await promisify(execFile)(process.execPath, [path.join(place, 'out', 'query.mjs')])
  const hits = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
  t.match(hits[0], { id: left[0], text: 'one', distance: Number })
  t.ok(Math.abs(1 - hits[0].distance - 3) < 1e-3, 'each of its three token vectors finds itself')
})

t.test('an export that is cut off leaves nothing', async (t) => {
  const controller = new AbortController()
  mkdirSync(path.join(place, 'cut'))
  const going = exportIndex('lancedb', index, path.join(place, 'cut', 'out'), {
    signal: controller.signal,
    onProgress: () => controller.abort(),
  })
  await t.rejects(going, { code: 'ERR_ABORTED' })
  t.same(readdirSync(path.join(place, 'cut')), [])
})
