/** `lateforge/mastra` under `rerankWithScorer` of the real package. */
import type { RelevanceScoreProvider } from '@mastra/core/relevance'
import { rerankWithScorer } from '@mastra/rag'
import t from 'tap'
import { relevanceScorer } from '../../lib/integrations/mastra.js'
import { close, countedModel, expected, query, texts } from './scenario.js'

const { model, calls } = await countedModel()
const best = await expected(model)
t.teardown(() => model.dispose())

t.test('results in order of the model, encoded together', async (t) => {
  const scorer: RelevanceScoreProvider = relevanceScorer(model)
  const results = texts.map((text, i) => ({ id: `d${i}`, score: 0.5, metadata: { text } }))
  const options = { topK: texts.length, weights: { semantic: 1, vector: 0, position: 0 } }
  Object.assign(calls, { queries: 0, documents: 0 })
  const found = await rerankWithScorer({ results, query, scorer, options })
  t.same(calls, { queries: 1, documents: 1 })
  t.same(
    found.map(({ result }) => result.id),
    best.map(({ index }) => `d${index}`),
  )
  t.ok(
    close(
      found.map(({ details }) => details.semantic),
      best.map(({ mean }) => mean),
    ),
  )
})

t.test('several queries at a time, one after the other, and sums', async (t) => {
  const scorer = relevanceScorer(model, { scores: 'sum' })
  const rank = async (asked: string) => (await model.rank(asked, texts)).sort((a, b) => a.index - b.index)
  const queries = [query, 'w9', query]
  const together = await Promise.all(queries.flatMap((q) => texts.map((text) => scorer.getRelevanceScore(q, text))))
  const wanted = (await Promise.all(queries.map(rank))).flat().map(({ score }) => score)
  t.ok(close(together, wanted))
  for (const [i, text] of texts.entries()) t.ok(close([await scorer.getRelevanceScore(query, text)], [wanted[i]!]))
})

t.test('what it refuses, without harm to others', async (t) => {
  t.throws(() => relevanceScorer(undefined as never), { code: 'ERR_ARGUMENT', message: /needs a model/ })
  const scorer = relevanceScorer(model)
  const [bad, good] = await Promise.allSettled([
    scorer.getRelevanceScore(query, null as never),
    scorer.getRelevanceScore(query, texts[0]!),
  ])
  t.match(bad, { status: 'rejected', reason: { code: 'ERR_ARGUMENT', message: /text is null, expected a text/ } })
  t.equal(good.status, 'fulfilled')
  const other = (await countedModel()).model
  other.dispose()
  await t.rejects(relevanceScorer(other).getRelevanceScore(query, 'w1'), { code: 'ERR_DISPOSED' })
})
