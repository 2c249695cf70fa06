/** Token pooling: what scipy's Ward clustering gives, which sentence-transformers and PyLate call. */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { offsetsOf } from '../../lib/ragged.js'
import { poolTokens } from '../../lib/retrieval/pool.js'
import { fixtures } from '../models/fixture.js'

interface Case {
  factor: number
  protectedTokens: number
  tokens: number[][]
  pooled: number[][]
}
const cases: Case[] = JSON.parse(readFileSync(path.join(fixtures, 'pooling.json'), 'utf8'))
const embeddingsOf = (documents: number[][][]) => ({
  data: Float32Array.from(documents.flat(2)),
  offsets: offsetsOf(documents.map((rows) => rows.length)),
  dim: 8,
})
const rowsOf = ({ data }: { data: Float32Array }) =>
  Array.from({ length: data.length / 8 }, (_, row) => [...data.subarray(row * 8, (row + 1) * 8)])

t.test('the clusters and means of scipy', async (t) => {
  for (const { factor, protectedTokens, tokens, pooled } of cases) {
    const name = `${tokens.length} tokens, factor ${factor}, ${protectedTokens} protected`
    const plain = rowsOf(await poolTokens(embeddingsOf([tokens]), { factor, protectedTokens, normalize: false }))
    t.equal(plain.length, pooled.length, name)
    const worst = pooled.map((row) =>
      Math.min(...plain.map((ours) => Math.max(...row.map((x, i) => Math.abs(x - ours[i]!))))),
    )
    t.ok(Math.max(...worst) < 2e-6, `${name}: every row of theirs is one of ours, off by ${Math.max(...worst)}`)
    for (const row of rowsOf(await poolTokens(embeddingsOf([tokens]), { factor, protectedTokens })))
      t.ok(Math.abs(Math.hypot(...row) - 1) < 1e-6, 'unit norm')
  }
})

t.test('several documents at once, empty ones too; protected tokens first', async (t) => {
  const documents = [cases.at(-1)!.tokens, [], cases[60]!.tokens, cases[100]!.tokens]
  const ids = ['a', 'b', 'c', 'd']
  const all = await poolTokens({ ...embeddingsOf(documents), ids, role: 'document' }, { factor: 3, protectedTokens: 2 })
  t.same(all.ids, ids)
  t.equal(all.role, 'document')
  for (const [i, document] of documents.entries()) {
    const alone = await poolTokens(embeddingsOf([document]), { factor: 3, protectedTokens: 2 })
    t.same(all.data.slice(all.offsets[i]! * 8, all.offsets[i + 1]! * 8), alone.data)
    t.equal(
      alone.offsets[1],
      document.length <= 2 ? document.length : 2 + Math.max(1, Math.floor((document.length - 2) / 3)),
    )
    const first = rowsOf(alone).slice(0, 2)
    for (const [row, values] of first.entries())
      t.ok(
        values.every((x, k) => Math.abs(x - document[row]![k]!) < 1e-6),
        'as it was',
      )
  }
})

t.test('what it refuses', async (t) => {
  const some = embeddingsOf([cases[0]!.tokens])
  for (const options of [
    {},
    { factor: 0.5 },
    { factor: Number.NaN },
    { factor: 2, protectedTokens: -1 },
    { factor: 2, norm: true },
  ])
    await t.rejects(poolTokens(some, options as never), { code: 'ERR_ARGUMENT' })
  const half = { data: new Uint16Array(8), offsets: [0, 1], dim: 8 }
  await t.rejects(poolTokens(half as never, { factor: 2 }), { code: 'ERR_ARGUMENT', message: /float32/ })
})
