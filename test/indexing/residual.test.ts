/** Residual codes: what they stand for, what they find, and that they stay as they are when segments are joined. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { Index, type IndexHit } from '../../lib/indexing/index.js'
import { buildCodebook } from '../../lib/indexing/lists.js'
import { encodeResiduals, residualLevels } from '../../lib/indexing/residual.js'
import { halfValue } from '../../lib/io/numbers.js'
import { Random } from '../../lib/io/random.js'
import { SafetensorsFile } from '../../lib/io/safetensors.js'
import { type EmbeddingData, type Embeddings, maxsim, quantizeEmbeddings } from '../../lib/retrieval/maxsim.js'
import { Device } from '../../lib/tensor/device.js'
import { seed } from '../seed.js'
import { textsAround } from './vectors.js'

const temporary = t.testdir()
const draws = new Random(seed)
const dim = 24
const device = Device.open('cpu')
const texts = textsAround(draws, dim, 60, 0.8)

const { ids: _, ...queries } = texts('query', 40)
const ids = (hits: IndexHit[][]) => hits.map((list) => list.map(({ id }) => id))
const shareOf = (found: IndexHit[][], exact: IndexHit[][]) => {
  const known = ids(exact)
  const same = found.flatMap((list, q) => list.filter(({ id }) => known[q]!.includes(id))).length
  return same / exact.flat().length
}
/** Token vectors of all documents, as an index has them. */
async function storedIn(index: Index): Promise<{ ids: string[]; parts: Embeddings<'document', EmbeddingData>[] }> {
  const found = { ids: [] as string[], parts: [] as Embeddings<'document', EmbeddingData>[] }
  for await (const { ids, embeddings } of index.stream()) {
    found.ids.push(...ids)
    found.parts.push(embeddings)
  }
  return found
}

for (const [type, bits, error] of [
  ['residual2', 2, 0.12],
  ['residual4', 4, 0.012],
] as const)
  t.test(`${type}: codes stand for vectors as long as those they were made of, and close to them`, async (t) => {
    const documents = texts('document', 500)
    const count = documents.data.length / dim
    const { book, of } = await buildCodebook(device, documents, count)
    const { codes, scales } = await encodeResiduals(documents, of, book, type)
    t.equal(codes.length, (count * dim * bits) / 8)
    let [rest, lost, plain] = [0, 0, 0]
    for (let row = 0; row < count; row++) {
      let square = 0
      for (let k = 0; k < dim; k++) {
        const place = row * dim + k
        const code = (codes[(place * bits) >> 3]! >> ((place * bits) & 7)) & (2 ** bits - 1)
        const center = book.centroids[of[row]! * dim + k]! * book.scales[of[row]!]!
        const value = center + halfValue(scales[row]!) * residualLevels[type][code]!
        square += value * value
        rest += (documents.data[place]! - center) ** 2
        lost += (documents.data[place]! - value) ** 2
        plain += value * documents.data[place]!
      }
      if (Math.abs(square - 1) > 2e-3) t.fail(`row ${row}: a length of ${Math.sqrt(square)}`)
    }
    t.ok(
      lost / rest < 1.35 * error,
      `${lost / rest} of what is beyond centroids is lost: of a normal distribution ${error}`,
    )
    t.ok(plain / count > 0.95)
  })

t.test('a vector that is its centroid, and one of zeros', async (t) => {
  const data = new Float32Array(2 * dim)
  data.fill(0.5, 0, dim)
  const book = {
    centroids: Int8Array.from({ length: 2 * dim }, (_, k) => (k < dim ? 127 : 0)),
    scales: Float32Array.of(0.5 / 127, 0),
    cells: new Float32Array(dim),
    cellOffsets: Float64Array.of(0, 2),
  }
  const { scales } = await encodeResiduals({ data, dim }, Int32Array.of(0, 1), book, 'residual4')
  t.ok([...scales].every((bits) => Math.abs(halfValue(bits)) < 1e-6))
})

for (const type of ['residual4', 'residual2'] as const)
  t.test(
    `${type}: an index finds what MaxSim of what its codes stand for finds, and says what that is worth`,
    async (t) => {
      const folder = path.join(temporary, type)
      const index = await Index.create(folder, { dim, type, listsFrom: 2000 })
      t.match(await index.info(), { type, codesRecall: null })
      const documents = texts('document', 600)
      await index.addEmbeddings(documents)
      const few = texts('document', 30, 'few')
      await index.addEmbeddings(few)
      const info = await index.info()
      t.match(info, { type, listed: 1, segments: 2, documents: 630 })
      t.ok(info.codesRecall! > (type === 'residual4' ? 0.9 : 0.6) && info.codesRecall! <= 1, `${info.codesRecall}`)

      const { ids: names, parts } = await storedIn(index)
      t.same(names, [...documents.ids, ...few.ids])
      const exact = await index.search(queries, { exact: true, topK: 20 })
      for (const [n, part] of parts.entries()) {
        const scores = await maxsim(queries, part)
        const own = n === 0 ? documents.ids : few.ids
        for (const [q, list] of exact.entries())
          for (const { id, score } of list)
            if (own.includes(id))
              t.ok(Math.abs(scores[q * own.length + own.indexOf(id)]! - score) < 1e-4, `${id}: ${score}`)
      }
      const eights = await quantizeEmbeddings(few, 'int8')
      t.same(parts.at(-1)!.data, eights.data, 'the small segment is int8')

      t.same(await index.search(queries, { probes: 10_000, candidates: 700, topK: 20 }), exact, 'all candidates')
      const full = await Index.create(path.join(temporary, `${type}-full`), { dim, type: 'float32' })
      await full.addEmbeddings(documents)
      await full.addEmbeddings(few)
      const truth = await full.search(queries, { topK: 10 })
      const share = shareOf(
        exact.map((list) => list.slice(0, 10)),
        truth,
      )
      t.ok(
        Math.abs(share - info.codesRecall!) < 0.1,
        `${share} of the best by their vectors; it says ${info.codesRecall}`,
      )
      t.ok((await index.check({ queries })).codesRecall === info.codesRecall)
      const [hit] = (await index.search(queries, { topK: 1, explain: true }))[0]!
      t.ok(Math.abs(hit!.matches!.reduce((sum, { score }) => sum + score, 0) - hit!.score) < 1e-4)
      await full.close()
      await index.close()
    },
  )

t.test('joined segments have the codes that they had; centroids of nobody go', async (t) => {
  const folder = path.join(temporary, 'joined')
  const index = await Index.create(folder, { dim, type: 'residual2', listsFrom: 1000 })
  const all = [300, 280, 20].map((count, i) => texts('document', count, `part${i}-`))
  for (const part of all) await index.addEmbeddings(part)
  t.match(await index.info(), { segments: 3, listed: 2 })
  await index.delete(all[0]!.ids.filter((_, i) => i % 5 > 0))
  await index.delete(all[1]!.ids.slice(0, 7))
  const before = await index.search(queries, { exact: true, topK: 30 })
  const { before: bytes, after } = await index.compact()
  t.ok(after < bytes)
  t.match(await index.info(), { segments: 2, listed: 1, deleted: 0 })
  t.same(await index.search(queries, { exact: true, topK: 30 }), before)
  t.same(
    await index.search(queries, { probes: 10_000, candidates: 700, topK: 30 }),
    before,
    'lists are those of the codes',
  )
  const listed = readdirSync(folder).find((name) => name.endsWith('.lists'))!
  await using file = await SafetensorsFile.open(path.join(folder, listed))
  const offsets = await file.numbers('offsets')
  t.ok(
    offsets.subarray(1).every((end, i) => end > offsets[i]!),
    'every centroid has a document',
  )
  await index.verify()

  // Nothing but empty documents is left of a segment.
  await index.delete(all.slice(0, 2).flatMap(({ ids, offsets }) => ids.filter((_, i) => offsets[i + 1]! > offsets[i]!)))
  await index.compact()
  t.match(await index.info(), { listed: 1 })
  for (const list of ids(await index.search(queries, { topK: 30 }))) t.ok(list.some((id) => id.startsWith('part2')))
  await index.close()
})

t.test('a token of no centroid, in a file that is damaged', async (t) => {
  const folder = path.join(temporary, 'wild')
  const index = await Index.create(folder, { dim, type: 'residual4', listsFrom: 1000 })
  await index.addEmbeddings(texts('document', 300))
  await index.delete(['document5'])
  await index.close()
  const name = path.join(folder, readdirSync(folder).find((file) => file.endsWith('.safetensors'))!)
  const file = await SafetensorsFile.open(name)
  const { start } = file.tensor('of')
  await file.close()
  const bytes = readFileSync(name)
  bytes.writeInt32LE(1 << 30, start)
  bytes.writeInt32LE(-7, start + 4)
  writeFileSync(name, bytes)
  const again = await Index.open(folder)
  t.equal((await again.search(queries, { exact: true })).length, 40, 'it counts as zeros')
  await t.rejects(again.compact(), { code: 'ERR_FORMAT', message: /of no centroid/ })
  await t.rejects(again.verify(), { code: 'ERR_FORMAT' })
  await again.close()
})
