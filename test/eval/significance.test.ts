import t from 'tap'
import { bootstrapInterval, holm, randomizationTest } from '../../lib/eval/significance.js'
import { Random } from '../random.js'
import { seed } from '../seed.js'

const random = new Random(seed)
const next = () => random.next()

t.test('the bootstrap interval of a large sample is the normal one', async (t) => {
  const values = Float64Array.from({ length: 2000 }, next)
  const { mean, low, high } = bootstrapInterval(values, { seed })
  const variance = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length
  const half = 1.96 * Math.sqrt(variance / values.length)
  t.ok(Math.abs(mean - low - half) < 0.1 * half && Math.abs(high - mean - half) < 0.1 * half, `${low} ${mean} ${high}`)
  t.same(bootstrapInterval(values, { seed }), { mean, low, high }, 'a function of the seed')
  t.notSame(bootstrapInterval(values, { seed: seed + 1 }), { mean, low, high })
  t.notSame(
    bootstrapInterval(values, { seed: seed + 2 ** 32 }),
    { mean, low, high },
    'the high half of the seed counts',
  )
  const narrow = bootstrapInterval(values, { seed, confidence: 0.5 })
  t.ok(narrow.low > low && narrow.high < high)
  t.same(bootstrapInterval([0.25, 0.25, 0.25]), { mean: 0.25, low: 0.25, high: 0.25 })
})

t.test('small samples are enumerated exactly', async (t) => {
  t.same(randomizationTest([3, 4, 5], [1, 1, 1]), { difference: 3, p: 0.25 }, '2 of 8 sign patterns')
  t.equal(randomizationTest([0.1, 0.2, 0.3, 0.6], [0, 0, 0, 0]).p, 2 / 16, 'rounding does not hide a tie')
  t.same(randomizationTest([1, 2], [1, 2]), { difference: 0, p: 1 })
  t.equal(randomizationTest([1, 9, 9], [0, 9, 9]).difference, 1 / 3, 'equal queries stay in the mean')
})

t.test('sampling agrees with enumeration, and p-values are uniform without a difference', async (t) => {
  const a = Array.from({ length: 12 }, next)
  const b = Array.from({ length: 12 }, next)
  const exact = randomizationTest(a, b, { seed }).p
  const sampled = randomizationTest(a, b, { seed, resamples: 4000 }).p
  t.ok(Math.abs(exact - sampled) < 0.05, `${exact} ${sampled}`)
  let below = 0
  for (let i = 0; i < 400; i++) {
    const x = Array.from({ length: 40 }, next)
    const y = Array.from({ length: 40 }, next)
    if (randomizationTest(x, y, { seed: seed + i, resamples: 500 }).p < 0.5) below++
  }
  t.ok(Math.abs(below - 200) < 60, `${below} of 400 below 0.5`)
  const shifted = Array.from({ length: 100 }, (_, i) => 1 + (i % 7) / 10)
  t.equal(randomizationTest(shifted, new Float64Array(100), { seed }).p, 1 / 10001, 'never 0')
})

t.test('Holm', async (t) => {
  const adjusted = holm([0.01, 0.04, 0.03, 0.005]).map((p) => +p.toFixed(10))
  t.same(adjusted, [0.03, 0.06, 0.06, 0.02])
  t.same(holm([0.9, 0.8]), [1, 1])
  t.same(holm([]), [])
})

t.test('bad input', async (t) => {
  const code = 'ERR_ARGUMENT'
  t.throws(() => bootstrapInterval([]), { code })
  t.throws(() => bootstrapInterval([1, Number.NaN]), { code })
  t.throws(() => bootstrapInterval([1], { confidence: 95 }), { code })
  t.throws(() => bootstrapInterval([1], { resamples: 0 }), { code })
  t.throws(() => bootstrapInterval([1], { seed: -1 }), { code })
  t.throws(() => randomizationTest([1, 2], [1]), { code })
  t.throws(() => holm([1.5]), { code })
})
