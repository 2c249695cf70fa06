import { readFileSync } from 'node:fs'
import t from 'tap'
import { compareUtf8, evaluate, type Metric, parseMetric, rankHits } from '../../lib/retrieval/metrics.js'

type Table = Record<string, Record<string, number>>
const qrelsOf = (table: Table) =>
  new Map(Object.entries(table).map(([q, judged]) => [q, new Map(Object.entries(judged))]))
const runOf = (table: Table) =>
  new Map(Object.entries(table).map(([q, hits]) => [q, Object.entries(hits).map(([id, score]) => ({ id, score }))]))
const ndcg = (judged: Record<string, number>, hits: Record<string, number>, options = {}) =>
  evaluate(runOf({ q: hits }), qrelsOf({ q: judged }), ['ndcg@10'], options).means['ndcg@10'].toFixed(4)

t.test('agrees with pytrec_eval on graded runs full of ties', async (t) => {
  const fixture: { qrels: Table; run: Table; expected: Table } = JSON.parse(
    readFileSync('test/fixtures/trec.json', 'utf8'),
  )
  const metrics = Object.keys(Object.values(fixture.expected)[0]) as Metric[]
  const { queries, perQuery, means, counts } = evaluate(runOf(fixture.run), qrelsOf(fixture.qrels), metrics)
  let compared = 0
  for (const [query, expected] of Object.entries(fixture.expected))
    for (const metric of metrics) {
      const found = perQuery[metric][queries.indexOf(query)]
      if (!(Math.abs(found - expected[metric]) < 1e-12)) t.fail(`${query} ${metric}: ${found}, not ${expected[metric]}`)
      compared++
    }
  t.ok(compared > 300, `${compared} values`)
  t.match(counts, { queries: queries.length, withoutResults: 1, withoutJudgments: 1 })
  const sum = Object.values(fixture.expected).reduce((total, values) => total + values['ndcg@10'], 0)
  t.ok(Math.abs(means['ndcg@10'] - sum / queries.length) < 1e-12, 'a query without results counts 0 in the mean')
})

t.test('hand cases that were run through trec_eval', async (t) => {
  t.equal(ndcg({ a: 3, b: 1 }, { b: 2, a: 1 }), '0.7967', 'linear gain')
  t.equal(ndcg({ a: 1 }, { a: 1, b: 1 }), '0.6309', 'b precedes a on a tie')
  t.equal(ndcg({ b: 1 }, { a: 1, b: 1 }), '1.0000')
  const eleven = Object.fromEntries(Array.from({ length: 11 }, (_, i) => [`d${i}`, 1]))
  t.equal(ndcg(eleven, { d3: 1 }), '0.2201', 'the ideal is cut at k too')
  t.equal(ndcg({ a: -1, b: 1 }, { a: 2, b: 1 }), '0.6309', 'a negative grade gains nothing')
  const near = { a: 1.00000000001, b: 1.00000000002 }
  t.equal(ndcg({ a: 1 }, near, { scorePrecision: 'float64' }), '0.6309')
  t.equal(ndcg({ b: 1 }, { a: 1.00000000002, b: 1.00000000001 }, { scorePrecision: 'float64' }), '0.6309')
  t.equal(ndcg({ b: 1 }, { a: 1.00000000002, b: 1.00000000001 }), '1.0000', 'a tie in float32')
  const two = evaluate(runOf({ q1: { x: 2, a: 1 }, q2: { a: 1 } }), qrelsOf({ q1: { a: 1, b: 1 }, q2: { a: 0 } }), [
    'ndcg@10',
  ])
  t.equal(two.means['ndcg@10'], two.perQuery['ndcg@10'][0] / 2, 'a query with only grade 0 is in the mean')
  t.equal(two.counts.withoutRelevant, 1)
})

t.test('identical ids are dropped before the cut, on request not', async (t) => {
  const run = runOf({ q: { q: 3, a: 2 } })
  const qrels = qrelsOf({ q: { a: 1 } })
  const dropped = evaluate(run, qrels, ['mrr@1', 'recall@1'])
  t.same(dropped.means, { 'mrr@1': 1, 'recall@1': 1 })
  t.equal(dropped.counts.droppedIdentical, 1)
  t.same(evaluate(run, qrels, ['mrr@1', 'mrr@2'], { ignoreIdenticalIds: false }).means, { 'mrr@1': 0, 'mrr@2': 0.5 })
})

t.test('ids compare by UTF-8 bytes, infinite scores rank', async (t) => {
  const ids = ['\u{1f600}', '\uff5e', 'a', 'ab', '', 'é', '\u{10ffff}', '\ue000', 'B']
  const byBytes = [...ids].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  t.same([...ids].sort(compareUtf8), byBytes)
  const hits = [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY, 0, Number.POSITIVE_INFINITY]
  const ranking = rankHits(
    'q',
    hits.map((score, i) => ({ id: `d${i}`, score })),
  )
  t.same(
    ranking.map((hit) => hit.id),
    ['d3', 'd1', 'd2', 'd0'],
  )
})

t.test('bad input', async (t) => {
  const qrels = qrelsOf({ q: { a: 1 } })
  const twice = new Map([
    [
      'q',
      [
        { id: 'a', score: 1 },
        { id: 'a', score: 2 },
      ],
    ],
  ])
  t.throws(() => evaluate(twice, qrels, ['ndcg@10']), { code: 'ERR_DATA', details: { query: 'q', id: 'a' } })
  t.throws(() => evaluate(runOf({ q: { a: Number.NaN } }), qrels, ['ndcg@10']), { code: 'ERR_DATA', message: /NaN/ })
  t.throws(() => evaluate(new Map(), qrelsOf({ q: { a: 0.5 } }), ['ndcg@10']), { code: 'ERR_DATA', message: /0\.5/ })
  t.throws(() => evaluate(new Map(), new Map(), ['ndcg@10']), { code: 'ERR_DATA' })
  t.throws(() => evaluate(new Map(), qrels, []), { code: 'ERR_ARGUMENT' })
  for (const bad of ['ndgc@10', 'nDCG@10', 'ndcg@0', 'ndcg@', 'precision', 'success', 'ndcg@1.5', ''])
    t.throws(() => parseMetric(bad), { code: 'ERR_ARGUMENT' }, bad)
  t.throws(() => parseMetric('nDCG@5'), { message: /Did you mean "ndcg@5"/ })
})
