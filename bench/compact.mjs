// What fewer bytes a token cost: recall of the exact top 10 of float32, and nDCG@10, by float16, int8, token pooling, and residual codes,
// with what an index says of those. Exhaustive.
//
// usage: node bench/compact.mjs MODEL COLLECTION…      after npm run setup
//   COLLECTION BEIR folders, all of whose queries are asked; documents of 256 tokens, queries of 128
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Colbert } from 'lateforge'
import { evaluate, loadBeir } from 'lateforge/eval'
import { Index } from 'lateforge/index'
import { poolTokens, quantizeEmbeddings } from 'lateforge/maxsim'

const [modelDir, ...sets] = process.argv.slice(2)
const recipe = { queryLength: 128, documentLength: 256 }
const model = await Colbert.load(modelDir, { precision: 'int8', recipe, onNote: () => {} })
const round = (x) => x.toFixed(4)
for (const set of sets) {
  const { documents, queries, qrels } = await loadBeir(set)
  const ids = queries.ids.filter((id) => qrels.has(id))
  const texts = queries.texts.filter((_, i) => qrels.has(queries.ids[i]))
  const asked = await model.encodeQueries(texts)
  const whole = await model.encodeDocuments(documents.texts, { ids: documents.ids })
  const tokens = whole.data.length / whole.dim
  const ways = [
    ['float32', whole],
    ['float16', await quantizeEmbeddings(whole, 'float16')],
    ['int8', await quantizeEmbeddings(whole, 'int8')],
  ]
  for (const factor of [1.5, 2, 3, 4])
    ways.push([`pool ${factor}, int8`, await quantizeEmbeddings(await poolTokens(whole, { factor }), 'int8')])
  let exact
  const tell = (name, hits, bytes, said = '') => {
    exact ??= hits.map((list) => new Set(list.map(({ id }) => id)))
    const found = hits.reduce((sum, list, q) => sum + list.filter(({ id }) => exact[q].has(id)).length, 0)
    const recall = found / exact.reduce((sum, { size }) => sum + size, 0)
    const nDCG = evaluate(new Map(ids.map((id, q) => [id, hits[q]])), qrels, ['ndcg@10']).means['ndcg@10']
    const size = `${(bytes / tokens).toFixed(1)} bytes a token`
    console.log([path.basename(set), name, size, `recall ${round(recall)}${said}`, round(nDCG)].join('\t'))
  }
  for (const [name, stored] of ways)
    tell(
      name,
      await model.search(asked, stored, { topK: 10 }),
      stored.data.byteLength + (stored.scales?.byteLength ?? 0),
    )
  for (const type of ['int8', 'residual4', 'residual2']) {
    const folder = mkdtempSync(path.join(tmpdir(), 'compact-'))
    const index = await Index.create(folder, { dim: whole.dim, recipe: whole.recipe, type, listsFrom: 1 })
    await index.addEmbeddings(whole)
    const { bytes, codesRecall } = await index.info()
    const hits = await index.search(asked, { topK: 10, exact: true })
    tell(`index as ${type}`, hits, bytes, codesRecall === null ? '' : `, it says ${round(codesRecall)}`)
    await index.close()
    rmSync(folder, { recursive: true })
  }
}
model.dispose()
