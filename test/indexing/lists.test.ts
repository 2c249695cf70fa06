/** Candidates by lists: what they find of what scoring every document finds, and the settings that `check` chooses. */
import { readdirSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { cluster } from '../../lib/indexing/cluster.js'
import { Index, type IndexHit, type StoredEmbeddings } from '../../lib/indexing/index.js'
import { buildCodebook, listsOf } from '../../lib/indexing/lists.js'
import { candidatesFor, probesFor } from '../../lib/indexing/search.js'
import { Random } from '../../lib/io/random.js'
import { areOffsets } from '../../lib/ragged.js'
import { Device } from '../../lib/tensor/device.js'
import { textsAround } from './vectors.js'

const temporary = t.testdir()
const seed = 20261130
t.comment(`seed ${seed}`)
const draws = new Random(seed)
const dim = 16
const device = Device.open()
const texts = textsAround(draws, dim, 40, 0.4)

const documents = texts('document', 600)
const { ids: _, ...queries } = texts('query', 30)
const ids = (hits: IndexHit[][]) => hits.map((list) => list.map(({ id }) => id))

for (const type of ['int8', 'float16', 'float32'] as const satisfies StoredEmbeddings[])
  t.test(`${type}: with every centroid looked behind, the hits are the exact ones`, async (t) => {
    const folder = path.join(temporary, type)
    const index = await Index.create(folder, { dim, type, listsFrom: 1000 })
    await index.addEmbeddings(documents)
    t.match(await index.info(), { listed: 1, segments: 1, search: null })
    t.ok(readdirSync(folder).some((name) => name.endsWith('.lists')))
    const exact = await index.search(queries, { exact: true, topK: 20 })
    t.same(await index.search(queries, { probes: 10_000, candidates: 600, topK: 20 }), exact)
    const some = await index.search(queries, { probes: 4, candidates: 60, topK: 20 })
    const share = some.flatMap((list, q) => list.filter(({ id }) => ids(exact)[q]!.includes(id))).length / 600
    t.ok(share > 0.7 && share < 1, `${share} of them by few probes and candidates`)
    for (const [q, list] of some.entries())
      for (const hit of list) {
        const same = exact[q]!.find(({ id }) => id === hit.id)
        if (same) t.equal(hit.score, same.score, 'candidates are scored exactly')
      }

    // Deleted documents and those that a filter leaves out are no candidates.
    const gone = exact.map((list) => list[0]!.id)
    await index.delete(gone)
    const many = documents.ids.filter((id) => !gone.includes(id) && id !== exact[0]![1]!.id)
    for (const filter of [undefined, { ids: many }]) {
      const options = { topK: 15, ...(filter && { filter }) }
      const without = await index.search(queries, { ...options, exact: true })
      t.same(await index.search(queries, { ...options, probes: 10_000, candidates: 600 }), without)
      t.notOk(
        ids(without)
          .flat()
          .some((id) => gone.includes(id) || (filter && id === exact[0]![1]!.id)),
      )
    }
    await index.addEmbeddings(texts('document', 7)).then(
      () => t.fail('ids that are there'),
      (error) => t.equal(error.code, 'ERR_ARGUMENT'),
    )
    const late = { ...texts('document', 7), ids: ['a', 'b', 'c', 'd', 'e', 'f', 'g'] }
    await index.addEmbeddings(late)
    t.match(await index.info(), { listed: 1, segments: 2 }, 'a small segment beside is searched as a whole')
    t.same(
      await index.search(queries, { probes: 10_000, candidates: 700, topK: 20 }),
      await index.search(queries, { exact: true, topK: 20 }),
    )
    await index.close()
  })

t.test('the same documents give the same bytes', async (t) => {
  const digests = await Promise.all(
    ['once', 'twice'].map(async (name) => {
      const index = await Index.create(path.join(temporary, name), { dim, listsFrom: 1000 })
      await index.addEmbeddings(documents)
      await index.close()
      const { segments } = JSON.parse(
        (await import('node:fs')).readFileSync(path.join(temporary, name, 'index.json'), 'utf8'),
      )
      return segments.map((segment: { vectors: { sha256: string }; lists: { sha256: string } }) => [
        segment.vectors.sha256,
        segment.lists.sha256,
      ])
    }),
  )
  t.same(digests[0], digests[1])
})

t.test('check keeps the cheapest setting that reaches the target, and none that misses it', async (t) => {
  const folder = path.join(temporary, 'checked')
  const index = await Index.create(folder, { dim, listsFrom: 1000 })
  await t.rejects(index.check(), { code: 'ERR_ARGUMENT', message: /no documents/ })
  await index.addEmbeddings(documents)
  const easy = await index.check({ queries, target: 0.5 })
  t.match(easy, { queries: 30, topK: 10, target: 0.5, approximate: true, settings: [{ probes: 8, candidates: 200 }] })
  t.match((await index.info()).search, { probes: 8, candidates: 200, documents: 600, queries: 30 })
  const own = await index.check({ queries: 25 })
  t.equal(own.queries, 25)
  t.ok(own.settings.at(-1)!.recall >= 0.98)
  // nDCG: of queries that are made of documents each is judged by its own.
  t.ok(own.ndcg! > 0.9 && own.settings.every(({ ndcg }) => ndcg! > 0.5 && ndcg! <= 1), `nDCG ${own.ndcg}`)
  t.equal(easy.ndcg, null)
  const exactHits = await index.search(queries, { exact: true })
  const judgments = exactHits.map(
    (list, q) => new Map([...list.slice(2, 4), { id: `gone${q}` }].map(({ id }, i) => [id, 2 - i])),
  )
  const judged = await index.check({ queries, judgments, target: 0.5 })
  // Third with grade 2 and fourth with grade 1, of an ideal of both, first and second; grade 0 gains nothing.
  const wanted = (2 / Math.log2(4) + 1 / Math.log2(5)) / (2 + 1 / Math.log2(3))
  t.ok(Math.abs(judged.ndcg! - wanted) < 1e-12, `nDCG ${judged.ndcg}, ${wanted}`)
  t.equal(judged.missingJudged, 30)
  t.ok(judged.settings[0]!.ndcg! > 0)
  await t.rejects(index.check({ queries, judgments: judgments.slice(1) }), {
    message: /judgments of 29 queries for 30/,
  })
  t.throws(() => index.check({ judgments }), { code: 'ERR_ARGUMENT', message: /without the queries/ })
  // Candidates never reach a share above 1 in few of the ladder's steps: whatever misses is not chosen.
  const all = await index.check({ queries, target: 1, topK: 300 })
  const { search } = await index.info()
  for (const { recall, probes } of all.settings.slice(0, -1)) t.ok(recall < 1, `${probes} probes: ${recall}`)
  t.equal(search!.probes, all.settings.at(-1)!.probes)
  t.equal(search!.recall, 1)
  const [plain, exact] = [await index.search(queries), await index.search(queries, { exact: true })]
  if (!all.approximate) t.same(plain, exact, 'searches go by it: every document is scored')
  await index.close()
  const again = await Index.open(folder)
  t.same((await again.info()).search, search, 'it is kept')
  for (const options of [{ queries: 0 }, { target: 2 }, { query: 3 }])
    t.throws(() => again.check(options as never), { code: 'ERR_ARGUMENT' })
  await again.close()
})

t.test('clusters: every token has the centroid of its cluster, and few or equal tokens are no trouble', async (t) => {
  const count = documents.data.length / dim
  const { centroids, of, cells, cellOffsets } = await cluster(device, documents, count)
  const k = centroids.length / dim
  t.ok(k > count / 80 && k <= count / 20, `${k} centroids for ${count} tokens`)
  const sums = new Float64Array(k * (dim + 1))
  for (let row = 0; row < count; row++) {
    for (let j = 0; j < dim; j++) sums[of[row]! * (dim + 1) + j]! += documents.data[row * dim + j]!
    sums[of[row]! * (dim + 1) + dim]!++
  }
  for (let c = 0; c < k; c++)
    for (let j = 0; j < dim; j++) {
      const mean = sums[c * (dim + 1) + j]! / sums[c * (dim + 1) + dim]!
      if (Math.abs(mean - centroids[c * dim + j]!) > 1e-6) t.fail(`centroid ${c} is no mean`)
    }
  t.ok(cells.length / dim > 1 && areOffsets(cellOffsets, k) && cellOffsets.length === cells.length / dim + 1)
  for (const rows of [1, 2, 50]) {
    const same = { data: new Float32Array(rows * dim).fill(0.25), dim }
    const found = await cluster(device, same, rows)
    t.equal(found.centroids.length, dim, 'equal tokens are one cluster')
    t.same([...new Set(found.of)], [0])
  }
  const none = await buildCodebook(device, { data: new Float32Array(0), dim }, 0)
  t.equal(listsOf(none.book, none.of, [0, 0, 0]).documents.length, 0)
})

t.test('candidates grow with the documents', async (t) => {
  t.same([1, 262_144, 262_145, 1_000_000].map(probesFor), [16, 16, 17, 32])
  t.same([1, 2500, 2501, 1_000_000].map(candidatesFor), [500, 500, 501, 10_000])
  const index = await Index.create(path.join(temporary, 'growing'), { dim, listsFrom: 1 })
  const many = texts('document', 4000)
  await index.addEmbeddings(many)
  const hits = (candidates?: number) =>
    index.search(queries, { topK: 60, probes: 4, ...(candidates && { candidates }) }).then(ids)
  const found = await hits()
  t.same(found, await hits(candidatesFor(4000)), 'a search goes by it')
  t.notSame(found, await hits(500), 'and finds others than by fewer')
  const { settings } = await index.check({ queries, target: 1 })
  t.match(settings[0], { probes: 8, candidates: Math.ceil(0.4 * candidatesFor(4000)) }, 'so do the settings of check')
  await index.close()
})
