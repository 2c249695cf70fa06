/** Means over collections, their intervals and tests, against the formulas written out. */
import t from 'tap'
import { compareRuns, formatMarkdown, formatText, macroMean } from '../../lib/eval/report.js'
import { bootstrapInterval, macroInterval, macroTest, randomizationTest } from '../../lib/eval/significance.js'
import { Random } from '../random.js'
import { seed } from '../seed.js'

const random = new Random(seed)
const draws = (n: number, scale = 1) => Float64Array.from({ length: n }, () => random.next() * scale)
const mean = (values: ArrayLike<number>) => Array.from(values).reduce((sum, x) => sum + x, 0) / values.length
const near = (a: number, b: number, tolerance = 1e-12) => Math.abs(a - b) <= tolerance

t.test('one collection is the same as without a mean over it, bit for bit', async (t) => {
  const [a, b] = [draws(40), draws(40)]
  t.same(macroInterval([a], { seed }), bootstrapInterval(a, { seed }))
  t.same(macroTest([a], [b], { seed }), randomizationTest(a, b, { seed }))
})

t.test('the interval of a macro-mean is that of a stratified sample', async (t) => {
  // Of independent collections the variance is the sum of the variances of their means, by the squares of the shares.
  const collections = [draws(900), draws(30, 4), draws(400, 2)]
  const weights = [0.5, 0.2, 0.3]
  const { mean: macro, low, high } = macroInterval(collections, { seed, weights })
  t.ok(near(macro, 0.5 * mean(collections[0]!) + 0.2 * mean(collections[1]!) + 0.3 * mean(collections[2]!)))
  const variance = collections.reduce((sum, values, c) => {
    const own = values.reduce((total, x) => total + (x - mean(values)) ** 2, 0) / values.length
    return sum + (weights[c]! ** 2 * own) / values.length
  }, 0)
  const half = 1.96 * Math.sqrt(variance)
  t.ok(near(macro - low, half, 0.1 * half) && near(high - macro, half, 0.1 * half), `${low} ${macro} ${high} ${half}`)
  const pooled = bootstrapInterval(
    collections.flatMap((values) => [...values]),
    { seed },
  )
  t.notOk(near(pooled.mean, macroInterval(collections, { seed }).mean, 1e-3), 'not the mean over all queries')
  // Collections of one value leave nothing to chance.
  t.same(macroInterval([[0.25], [0.75]]), { mean: 0.5, low: 0.5, high: 0.5 })
  // All values equal within each: no interval, whatever is between them.
  t.same(macroInterval([new Float64Array(9), new Float64Array(5).fill(1)]), { mean: 0.5, low: 0.5, high: 0.5 })
})

t.test('the bootstrap draws within each collection: means of all samples of small ones, enumerated', async (t) => {
  const collections = [
    [0, 1],
    [0, 3, 6],
  ]
  // Every sample of the first with every sample of the second, all equally likely.
  const samples = (values: number[]): number[] => {
    let lists: number[][] = [[]]
    for (const _ of values) lists = lists.flatMap((list) => values.map((value) => [...list, value]))
    return lists.map(mean)
  }
  const all = samples(collections[0]!)
    .flatMap((a) => samples(collections[1]!).map((b) => (a + b) / 2))
    .sort((a, b) => a - b)
  const at = (q: number) => all[Math.round(q * (all.length - 1))]!
  const { low, high } = macroInterval(collections, { seed, resamples: 40_000, confidence: 0.8 })
  t.ok(near(low, at(0.1), 0.26) && near(high, at(0.9), 0.26), `${low} ${at(0.1)}, ${high} ${at(0.9)}`)
})

t.test('swaps of all queries of all collections, enumerated', async (t) => {
  const [a, b] = [
    [draws(4), draws(7), draws(1)],
    [draws(4), draws(7), draws(1)],
  ]
  const macro = (sign: (query: number) => number): number => {
    let query = 0
    return mean(a.map((values, c) => mean(values.map((value, i) => sign(query++) * (value - b[c]![i]!)))))
  }
  const observed = macro(() => 1)
  let hits = 0
  for (let swaps = 0; swaps < 2 ** 12; swaps++)
    if (Math.abs(macro((query) => ((swaps >> query) & 1 ? -1 : 1))) >= Math.abs(observed) - 1e-12) hits++
  const found = macroTest(a, b, { seed })
  t.ok(near(found.difference, observed) && found.p === hits / 2 ** 12, `${found.p} ${hits / 2 ** 12}`)
  const sampled = macroTest(a, b, { seed, resamples: 4000 })
  t.ok(near(sampled.p, found.p, 0.05), `${sampled.p} ${found.p}`)
})

const runsOf = (queries: number, name: string) => {
  const ids = Array.from({ length: queries }, (_, q) => `${name}${q}`)
  const qrels = new Map(ids.map((id) => [id, new Map([['right', 1]])]))
  const at = () => {
    const position = random.integer(4)
    return Array.from({ length: 4 }, (_, i) => ({ id: i === position ? 'right' : `d${i}`, score: 4 - i }))
  }
  const run = () => new Map(ids.map((id) => [id, at()]))
  return { qrels, runs: ['base', 'good', 'other'].map((system) => ({ name: system, run: run() })) }
}
const counts = {
  ...{ documents: 5, emptyDocuments: 0, emptyQueries: 0, unjudgedQueries: 0, missingJudged: 0 },
  unusedFields: [],
}
const compared = (name: string, queries: number, set?: string) => {
  const { qrels, runs } = runsOf(queries, name)
  const collection = { name, counts, ...(set !== undefined && { set }) }
  return compareRuns(runs, qrels, { baseline: 'base', primary: 'good', collection, seed: 3 })
}

t.test('a mean of comparisons: collections of a set count as one', async (t) => {
  const comparisons = [
    compared('one', 30),
    compared('cqa/a', 8, 'cqa'),
    compared('two', 12),
    compared('cqa/b', 20, 'cqa'),
  ]
  const result = macroMean(comparisons, { missing: [{ name: 'gone', reason: 'not public' }] })
  t.match(result, {
    queries: 70,
    parts: [{ name: 'one' }, { name: 'cqa', collections: ['cqa/a', 'cqa/b'] }, { name: 'two' }],
  })
  for (const metric of result.metrics)
    for (const [r, { scores }] of result.rows.entries()) {
      const [one, a, two, b] = comparisons.map(({ rows }) => rows[r]!.scores[metric]!.mean)
      t.ok(near(scores[metric]!.mean, (one! + (a! + b!) / 2 + two!) / 3), `${r} ${metric}`)
    }
  const weights = [1 / 3, 1 / 6, 1 / 3, 1 / 6]
  const values = (r: number) => comparisons.map(({ rows }) => rows[r]!.perQuery['ndcg@10']!)
  const tests = [1, 2].map((r) => macroTest(values(r), values(0), { seed: 3, weights }))
  const difference = macroInterval(
    values(1).map((own, c) => own.map((value, q) => value - values(0)[c]![q]!)),
    { seed: 3, weights },
  )
  const { test } = result.rows[1]!
  t.same([test!.low, test!.high, test!.p, test!.adjusted], [difference.low, difference.high, tests[0]!.p, tests[0]!.p])
  t.ok(near(test!.difference, difference.mean))
  t.equal(result.rows[2]!.test!.p, tests[1]!.p)
  t.equal(result.rows[0]!.test, undefined)
  t.same(
    macroMean(JSON.parse(JSON.stringify(comparisons))).rows,
    result.rows,
    'reports that were saved can be averaged',
  )
  const text = formatText(result)
  t.match(text, /^Mean over 3 collections: 70 judged queries\n\nrun +nDCG@10 \[95 %\]/)
  t.match(text, /\nUnweighted mean of the means of the collections; 95 % bootstrap intervals over the queries of each/)
  t.match(text, /\ncqa: the mean of its 2 collections counts as one\.\nMissing: gone \(not public\)\.\n/)
  t.match(formatMarkdown(result), /^\*\*Mean over 3 collections/)
})

t.test('bad input', async (t) => {
  const code = 'ERR_ARGUMENT'
  t.throws(() => macroInterval([]), { code })
  t.throws(() => macroInterval([[1], []]), { code })
  for (const weights of [[1], [0.5, 0.6], [1, 0], [Number.NaN, 1]])
    t.throws(() => macroInterval([[1], [2]], { weights }), { code, message: /weights/ })
  t.throws(() => macroTest([[1]], [[1], [2]]), { code, message: /1 and 2 collections/ })
  t.throws(() => macroTest([[1, 2]], [[1]]), { code })
  t.throws(() => macroMean([]), { code })
  const bare = { ...compared('one', 5) }
  t.throws(() => macroMean([{ ...bare, rows: bare.rows.map(({ perQuery: _, ...row }) => row as never) }]), {
    code,
    message: /no values by query/,
  })
  const alone = compareRuns(runsOf(3, 'x').runs, runsOf(3, 'x').qrels)
  t.throws(() => macroMean([compared('one', 5), alone]), { code, message: /expected the same runs/ })
})
