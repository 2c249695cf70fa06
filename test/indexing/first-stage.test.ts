/** Candidates by words: those of BM25 over the texts that are there, scored exactly. */
import path from 'node:path'
import t from 'tap'
import { Index, type IndexDocument } from '../../lib/indexing/index.js'
import { Bm25 } from '../../lib/retrieval/bm25.js'
import { documents, queries, tinyModel } from './encoded-documents.js'

const temporary = t.testdir()
const model = await tinyModel()
t.teardown(() => model.dispose())
const some = documents.slice(0, 120)

/** The hits of BM25's best documents, ranked by the index's own vectors. */
async function expected(index: Index, there: readonly IndexDocument[], candidates: number, may = (_: string) => true) {
  const words = new Bm25(there.map(({ text }) => text))
  const among = queries.map((query) => {
    const ids = words.search(query, there.length).map(({ index }) => there[index]!.id)
    return ids.filter(may).slice(0, candidates)
  })
  return index.search(queries, { among })
}

t.test('the best by words, scored exactly, whatever was added, deleted and replaced before', async (t) => {
  const dir = path.join(temporary, 'words')
  const index = await Index.create(dir, { model, listsFrom: 150 })
  t.same(await index.search(queries, { firstStage: 'bm25' }), [[], [], [], [], []])
  await index.add(some.slice(0, 50))
  for (let i = 50; i < 120; i += 20) await index.add(some.slice(i, i + 20))
  const check = async (from: Index, there: readonly IndexDocument[], what: string) => {
    for (const candidates of [1, 12, 40])
      t.same(
        await from.search(queries, { firstStage: 'bm25', candidates }),
        await expected(from, there, candidates),
        `${what}, ${candidates} candidates`,
      )
  }
  await check(index, some, 'added')
  t.same(await index.search(queries, { firstStage: 'bm25' }), await expected(index, some, 120), 'by default')
  const moved = { id: some[7]!.id, text: some[60]!.text }
  await index.delete([some[0]!.id, some[55]!.id, some[119]!.id])
  await index.add([moved], { existing: 'replace' })
  const there = [...some.filter(({ id }, i) => ![0, 55, 119].includes(i) && id !== moved.id), moved]
  await check(index, there, 'changed')
  const odd = ({ id }: { id: string }) => Number.parseInt(id.slice(1), 10) % 2 === 1
  t.same(
    await index.search(queries, { firstStage: 'bm25', candidates: 10, filter: { where: (_, id) => odd({ id }) } }),
    await expected(index, there, 10, (id) => odd({ id })),
    'a filter comes first',
  )
  await index.compact()
  await check(index, there, 'compacted')
  await index.close()
  const again = await Index.open(dir, { model })
  await check(again, there, 'opened again')
  await again.verify()
  await again.close()
})

t.test('check measures it, and goes by it nowhere', async (t) => {
  const index = await Index.create(path.join(temporary, 'checked'), { model, listsFrom: 150 })
  await index.add(some)
  const { bm25, settings } = await index.check({ queries })
  t.same(
    bm25.map(({ candidates }) => candidates),
    [100, 300, 1000],
  )
  const [few, , all] = bm25
  t.ok(few!.recall > 0 && few!.recall <= all!.recall && all!.recall <= 1, `recall ${few!.recall} to ${all!.recall}`)
  t.equal((await index.info()).search!.probes, settings.at(-1)!.probes)
  t.same((await index.check({ queries: await model.encodeQueries(queries) })).bm25, [], 'vectors have no words')
  await index.close()
})

t.test('what it refuses', async (t) => {
  const index = await Index.create(path.join(temporary, 'without'), { model })
  await index.add(some.slice(0, 3))
  const firstStage = 'bm25' as const
  const code = 'ERR_ARGUMENT'
  const refused = (options: object, message: RegExp, asked: unknown = queries) =>
    t.rejects(index.search(asked as string[], { firstStage, ...options }), { code, message })
  await refused({}, /give queries as texts/, await model.encodeQueries(queries))
  await refused({ among: queries.map(() => []) }, /among has no effect beside firstStage/)
  await refused({ exact: true }, /exact has no effect beside firstStage/)
  await refused({ probes: 3 }, /probes has no effect beside firstStage/)
  await refused({ firstStage: 'bm52' }, /firstStage is "bm52"/)
  const embeddings = await model.encodeDocuments(['a text', 'a token'], { ids: ['x', 'y'] })
  await index.addEmbeddings(embeddings, { kept: [{ text: 'a text' }, {}] })
  await refused({}, /2 documents of this one were added without/)
  t.same((await index.check({ queries })).bm25, [])
  await index.close()
})
