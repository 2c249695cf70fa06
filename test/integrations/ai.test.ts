/** `lateforge/ai` under `rerank` of the real package. */
import { type RerankingModel, rerank } from 'ai'
import t from 'tap'
import { rerankingModel } from '../../lib/integrations/ai.js'
import { close, countedModel, expected, query, texts } from './scenario.js'

const { model, calls } = await countedModel()
const best = await expected(model)
t.teardown(() => model.dispose())

t.test('texts, all of them and the best', async (t) => {
  const reranker: RerankingModel = rerankingModel(model, { modelId: 'tiny' })
  calls.queries = 0
  const found = await rerank({ model: reranker, query, documents: texts })
  t.same(calls.queries, 1)
  t.same(
    found.ranking.map(({ originalIndex }) => originalIndex),
    best.map(({ index }) => index),
  )
  t.ok(
    close(
      found.ranking.map(({ score }) => score),
      best.map(({ mean }) => mean),
    ),
  )
  t.ok(found.ranking.every(({ score }) => score <= 1 + 1e-6))
  t.equal(found.response.modelId, 'tiny')
  t.equal(found.rerankedDocuments[0], texts[best[0]!.index])
  const two = await rerank({ model: reranker, query, documents: texts, topN: 2 })
  t.same(two.ranking, found.ranking.slice(0, 2))
  t.same((await rerank({ model: reranker, query, documents: [] })).ranking, [])
})

t.test('objects: their JSON with a warning, or a text of the caller', async (t) => {
  const documents = texts.map((body, number) => ({ body, number }))
  const chosen = rerankingModel(model, { textOf: ({ body }) => String(body), scores: 'sum' })
  const found = await rerank({ model: chosen, query, documents })
  t.same(
    found.ranking.map(({ document }) => document.number),
    best.map(({ index }) => index),
  )
  t.ok(
    close(
      found.ranking.map(({ score }) => score),
      best.map(({ sum }) => sum),
    ),
  )
  const call = { query, documents: { type: 'object' as const, values: documents } }
  t.same((await chosen.doRerank(call)).warnings, undefined)
  t.match((await rerankingModel(model).doRerank(call)).warnings, [{ type: 'compatibility', details: /JSON/ }])
})

t.test('what it refuses, and an end', async (t) => {
  t.throws(() => rerankingModel({} as never), { code: 'ERR_ARGUMENT', message: /expected a model/ })
  t.throws(() => rerankingModel(model, { modelID: 'x' } as never), { message: /did you mean "modelId"/ })
  t.throws(() => rerankingModel(model, { scores: 'max' } as never), { message: /"mean" or "sum"/ })
  const abortSignal = AbortSignal.abort()
  await t.rejects(rerank({ model: rerankingModel(model), query, documents: texts, abortSignal, maxRetries: 0 }))
  await t.rejects(rerankingModel(model).doRerank({ query, documents: { type: 'text', values: texts }, abortSignal }), {
    code: 'ERR_ABORTED',
  })
})
