/** A model's run: as deep as it is asked, beside the query itself, the same in pieces and on ranks, and counted. */
import t from 'tap'
import { singleProcess } from '../../lib/distributed/group.js'
import { bm25Run } from '../../lib/eval/baseline.js'
import type { Collection, Corpus } from '../../lib/eval/collections.js'
import { beirEvaluator, modelRun } from '../../lib/eval/model.js'
import { depthOf, evaluate } from '../../lib/retrieval/metrics.js'
import { tinyModel } from '../train/tiny.js'

const text = (d: number) => Array.from({ length: 4 + (d % 17) }, (_, i) => `w${(d * 3 + i) % 60}`).join(' ')

function collectionOf(documents: Corpus, queryIds: string[]): Collection {
  const qrels = new Map(queryIds.map((q, i) => [q, new Map([[documents.ids[(i + 1) % documents.ids.length]!, 1]])]))
  const counts = {
    documents: documents.ids.length,
    emptyDocuments: 0,
    emptyQueries: 0,
    unjudgedQueries: 0,
    missingJudged: 0,
    unusedFields: [],
  }
  const queries = { ids: queryIds, texts: queryIds.map((_, i) => text(i)) }
  return { name: 'made', split: 'test', documents, queries, qrels, counts }
}
const ids = Array.from({ length: 90 }, (_, d) => `d${d}`)
const held = { ids, texts: ids.map((_, d) => text(d)) }

t.test('topK documents are left of a query that is a document itself', async (t) => {
  const model = await tinyModel()
  const asked = ['d0', 'd1', 'other', 'd3']
  const collection = collectionOf(held, asked)
  for (const { run, depth } of [
    await modelRun(model, collection, { topK: 5 }),
    await bm25Run(collection, { topK: 5 }),
  ]) {
    t.equal(depth, 5)
    t.ok(run.get('d0')!.some(({ id }) => id === 'd0'))
    for (const [query, hits] of run) t.equal(hits.filter(({ id }) => id !== query).length, 5, query)
    const { counts } = evaluate(run, collection.qrels, ['recall@5'])
    t.match(counts, { depth: 5, shallow: 0 })
    t.ok(counts.droppedIdentical > 0)
  }
  await t.rejects(modelRun(model, collection, { topK: 0 }), { code: 'ERR_ARGUMENT', message: /topK is 0/ })
  await t.rejects(bm25Run(collection, { topK: 1.5 }), { code: 'ERR_ARGUMENT' })
  const all = await modelRun(model, collection, { topK: 90 })
  t.equal(all.depth, 'all')
  t.equal(all.run.get('other')!.length, 90)
  model.dispose()
})

t.test('metrics decide on the depth; a smaller topK is refused where no table could say so', async (t) => {
  t.equal(depthOf(['ndcg@10', 'recall@250']), 250)
  t.equal(depthOf(['ndcg@10', 'map']), 1000)
  const model = await tinyModel()
  const many = Array.from({ length: 300 }, (_, d) => `d${d}`)
  const collection = collectionOf({ ids: many, texts: many.map((_, d) => text(d)) }, ['a', 'b'])
  const all = await (await beirEvaluator(collection, { metrics: ['recall@300', 'recall@5'] }))(model)
  t.equal(all['recall@300'], 1, 'every document is looked at')
  const refused = beirEvaluator(collection, { metrics: ['recall@300'], topK: 100 })
  await t.rejects(refused, { code: 'ERR_ARGUMENT', message: /topK is 100, but recall@300 look at 300/ })
  model.dispose()
})

t.test('an evaluation on several collections that are loaded', async (t) => {
  const model = await tinyModel()
  const [one, two] = ['one', 'two'].map((name, i) => ({ ...collectionOf(held, ['a', 'b', 'c'].slice(i)), name }))
  const of = async (collection: Collection) => (await beirEvaluator(collection))(model)
  const metrics = await (await beirEvaluator([one!, two!]))(model)
  const [a, b] = [await of(one!), await of(two!)]
  for (const key of Object.keys(a)) t.ok(Math.abs(metrics[key]! - (a[key]! + b[key]!) / 2) < 1e-12, key)
  t.match(metrics, { 'one ndcg@10': a['ndcg@10'], 'two ndcg@10': b['ndcg@10'] })
  await t.rejects(beirEvaluator([]), { code: 'ERR_ARGUMENT', message: /no collection was given/ })
  await t.rejects(beirEvaluator([one!, one!]), { code: 'ERR_ARGUMENT', message: /two collections are named "one"/ })
  await t.rejects(beirEvaluator(one!, { split: 'dev' }), { code: 'ERR_ARGUMENT', message: /split has no effect/ })
  model.dispose()
})

t.test('the same run from memory, from a stream, and on ranks', async (t) => {
  const model = await tinyModel()
  const whole = await modelRun(model, collectionOf(held, ['a', 'b', 'd3']), { topK: 20 })
  const documents = await model.encodeDocuments(held.texts)
  const queries = await model.encodeQueries(['a', 'b', 'd3'].map((_, i) => text(i)))
  const found = await model.search(queries, documents, { topK: 20 })
  t.same(
    [...whole.run.values()][0],
    found[0]!.map(({ index, score }) => ({ id: ids[index], score })),
    'as a search of embeddings that are held',
  )
  async function* read() {
    yield* held.texts
  }
  const streamed = collectionOf({ ids, texts: { [Symbol.asyncIterator]: read } }, ['a', 'b', 'd3'])
  t.same(await modelRun(model, streamed, { topK: 20, microBatchTokens: 40 }), whole)
  t.ok(whole.counts.truncatedDocuments! > 10)
  t.equal(whole.counts.truncatedQueries, 1, 'd3 has seven words')
  for (const size of [2, 3, 7]) {
    const waiting: { bytes: Uint8Array[]; done: (all: Uint8Array[]) => void }[] = []
    const exchange = (rank: number) => (bytes: Uint8Array) =>
      new Promise<Uint8Array[]>((resolve) => {
        waiting[rank] = { bytes: [bytes.slice()], done: resolve }
        if (Object.keys(waiting).length === size)
          for (const { done } of waiting) done(waiting.map(({ bytes }) => bytes[0]!.slice()))
      })
    const runs = await Promise.all(
      Array.from({ length: size }, (_, rank) =>
        modelRun(model, streamed, { topK: 20, group: { ...singleProcess, rank, size, exchange: exchange(rank) } }),
      ),
    )
    for (const run of runs) t.same(run, whole, `${size} ranks`)
  }
  model.dispose()
})
