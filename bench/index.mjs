// An index of real collections: what candidates, by vectors or by words, find of the exact top 10 of each collection's own queries,
// what they cost, and nDCG@10.
//
// usage: node bench/index.mjs MODEL INDEX COLLECTION…      after npm run setup
//   INDEX a folder, which is made and filled where it is not there; COLLECTION BEIR folders. Queries: 200 of each at most.
import { existsSync } from 'node:fs'
import path from 'node:path'
import { Colbert } from 'lateforge'
import { evaluate, loadBeir } from 'lateforge/eval'
import { Index } from 'lateforge/index'

const [modelDir, folder, ...sets] = process.argv.slice(2)
const recipe = { queryLength: 128, documentLength: 256 }
const model = await Colbert.load(modelDir, { precision: 'int8', recipe, onNote: () => {} })
const collections = []
for (const set of sets) collections.push([path.basename(set), await loadBeir(set)])
const started = performance.now()
const isThere = existsSync(path.join(folder, 'index.json'))
const index = isThere ? await Index.open(folder, { model }) : await Index.create(folder, { model })
if (isThere) console.log(`opened in ${(performance.now() - started).toFixed(1)} ms`)
else
  for (const [name, { documents }] of collections)
    await index.add(documents.ids.map((id, i) => ({ id: `${name}/${id}`, text: documents.texts[i] })))
await index.compact()
const { documents, tokens, bytes } = await index.info()
console.log(`${documents} documents, ${tokens} tokens, ${(bytes / tokens).toFixed(0)} bytes a token`)
const processor = () => process.cpuUsage().user + process.cpuUsage().system
for (const [name, { queries, qrels }] of collections) {
  const ids = queries.ids.slice(0, 200)
  const own = new Map(ids.map((id) => [id, qrels.get(id)]))
  const each = []
  const beforeQueries = processor()
  for (const text of queries.texts.slice(0, 200)) each.push(await model.encodeQueries([text]))
  const encoding = (processor() - beforeQueries) / 1000 / each.length
  const run = async (way) => {
    const before = processor()
    const hits = []
    for (const [q, query] of each.entries())
      hits.push((await index.search(way.firstStage ? [queries.texts[q]] : query, { topK: 10, ...way }))[0])
    const milliseconds = (processor() - before) / 1000 / each.length - (way.firstStage ? encoding : 0)
    const ranked = hits.map((list) =>
      list
        .filter(({ id }) => id.startsWith(`${name}/`))
        .map(({ id, score }) => ({ id: id.slice(name.length + 1), score })),
    )
    const { means } = evaluate(new Map(ids.map((id, i) => [id, ranked[i]])), own, ['ndcg@10'])
    return { hits, milliseconds, ndcg: means['ndcg@10'] }
  }
  const exact = await run({ exact: true })
  const say = (what, { milliseconds, ndcg }) =>
    console.log(`  ${what}: ${milliseconds.toFixed(1)} CPU ms, nDCG@10 ${ndcg.toFixed(4)}`)
  console.log(`${name}, ${each.length} queries`)
  say('exact', exact)
  for (const way of [
    {},
    { probes: 8, candidates: 200 },
    { probes: 16, candidates: 500 },
    { probes: 32, candidates: 1000 },
    { firstStage: 'bm25', candidates: 100 },
    { firstStage: 'bm25', candidates: 300 },
    { firstStage: 'bm25', candidates: 1000 },
  ]) {
    const found = await run(way)
    const same = found.hits.map((list, q) => list.filter(({ id }) => exact.hits[q].some((hit) => hit.id === id)).length)
    const recall = same.reduce((a, b) => a + b) / exact.hits.reduce((sum, list) => sum + list.length, 0)
    const stage = way.firstStage ?? `${way.probes} probes`
    const what = way.candidates ? `${stage}, ${way.candidates} candidates` : 'default'
    say(`${what}: recall ${recall.toFixed(4)}`, found)
  }
}
await index.close()
model.dispose()
