import path from 'node:path'
import { Colbert } from 'lateforge'
import { evaluate, loadBeir, bm25Run } from 'lateforge/eval'
import { Index } from 'lateforge/index'
const [modelDir, folder, ...sets] = process.argv.slice(2)
const model = await Colbert.load(modelDir, { precision: 'int8', recipe: { queryLength: 128, documentLength: 256 }, onNote: () => {} })
const index = await Index.open(folder, { model })
console.log(await index.info().then(({ documents, tokens, segments, bytes }) => ({ documents, tokens, segments, bytes })))
const cpu = () => { const { user, system } = process.cpuUsage(); return (user + system) / 1000 }
for (const set of sets) {
  const name = path.basename(set)
  const { queries, qrels } = await loadBeir(set)
  const ids = queries.ids.slice(0, 200), texts = queries.texts.slice(0, 200)
  const own = new Map(ids.map((id) => [id, qrels.get(id)]))
  let s = cpu()
  for (const text of texts) await model.encodeQueries([text])
  const enc = (cpu() - s) / texts.length
  await index.search([texts[0]], { firstStage: 'bm25' })
  const run = async (way) => {
    const before = cpu(); const hits = []
    for (const text of texts) hits.push((await index.search([text], { topK: 10, ...way }))[0])
    const ms = (cpu() - before) / texts.length - enc
    const ranked = hits.map((l) => l.filter(({ id }) => id.startsWith(`${name}/`)).map(({ id, score }) => ({ id: id.slice(name.length + 1), score })))
    return { hits, ms, ndcg: evaluate(new Map(ids.map((id, i) => [id, ranked[i]])), own, ['ndcg@10']).means['ndcg@10'] }
  }
  const exact = await run({ exact: true })
  console.log(name, ids.length, 'exact', exact.ms.toFixed(1), exact.ndcg.toFixed(4))
  for (const candidates of [10, 100, 300, 1000]) {
    const f = await run({ firstStage: 'bm25', candidates })
    const same = f.hits.map((l, q) => l.filter(({ id }) => exact.hits[q].some((h) => h.id === id)).length).reduce((a, b) => a + b)
    console.log(name, candidates, f.ms.toFixed(1), f.ndcg.toFixed(4), 'recall', (same / exact.hits.reduce((n, l) => n + l.length, 0)).toFixed(4))
  }
  const collection = await loadBeir(set)
  console.log(name, 'bm25 alone (own collection)', evaluate(new Map(ids.map((id) => [id, []])), own, ['ndcg@10']).means['ndcg@10'], evaluate((await bm25Run(collection, { topK: 10 })).run, qrels, ['ndcg@10']).means['ndcg@10'].toFixed(4))
}
await index.close(); model.dispose()
