import t from 'tap'
import { createPlan, permute } from '../../lib/data/plan.js'
import { seed } from '../seed.js'

t.test('permute is a bijection for every size', async (t) => {
  for (const n of [1, 2, 3, 4, 5, 16, 17, 63, 64, 65, 1000, 4097]) {
    const seen = new Set(Array.from({ length: n }, (_, i) => permute(i, n, seed ^ n)))
    t.equal(seen.size, n)
    t.ok([...seen].every((value) => Number.isInteger(value) && value >= 0 && value < n))
  }
  const huge = 2 ** 40 + 7
  for (let i = 0; i < 50; i++) t.ok(permute(huge - 1 - i, huge, seed) < huge)
})

t.test('the permutation shuffles: positions are near their expected mean distance', async (t) => {
  const n = 2000
  let distance = 0
  for (let i = 0; i < n; i++) distance += Math.abs(permute(i, n, seed) - i)
  t.ok(Math.abs(distance / n / (n / 3) - 1) < 0.15, `mean distance ${distance / n}`)
})

t.test('proportional: every full batch of every source once per epoch, no row twice', async (t) => {
  const sources = [
    { name: 'a', rows: 103 },
    { name: 'b', rows: 10 },
    { name: 'c', rows: 57 },
  ]
  const plan = createPlan({ seed, batch: 10, sources })
  t.equal(plan.stepsPerEpoch, 10 + 1 + 5)
  let earlier = ''
  for (let epoch = 0; epoch < 3; epoch++) {
    const seen = sources.map(() => new Set<number>())
    const counts = [0, 0, 0]
    const order: number[] = []
    for (let i = 0; i < plan.stepsPerEpoch; i++) {
      const { source, rows } = plan.at(epoch * plan.stepsPerEpoch + i)
      t.equal(new Set(rows).size, 10)
      for (const row of rows) {
        t.ok(row >= 0 && row < sources[source]!.rows && Number.isInteger(row))
        t.notOk(seen[source]!.has(row), 'a row comes once in an epoch')
        seen[source]!.add(row)
      }
      counts[source]!++
      order.push(source, ...rows)
    }
    t.same(counts, [10, 1, 5])
    t.not(order.join(), earlier, 'epochs differ')
    earlier = order.join()
  }
})

t.test('pure: a step does not depend on the ones before, seeds differ', async (t) => {
  const options = {
    batch: 4,
    sources: [
      { name: 'a', rows: 40 },
      { name: 'b', rows: 23 },
    ],
  }
  const plan = createPlan({ seed, ...options })
  const forward = Array.from({ length: 60 }, (_, step) => plan.at(step))
  for (let step = 59; step >= 0; step--) t.same(createPlan({ seed, ...options }).at(step), forward[step])
  t.notSame(createPlan({ seed: seed + 1, ...options }).at(0), forward[0])
  t.notSame(createPlan({ seed: seed + 2 ** 32, ...options }).at(0), forward[0], 'all bits of the seed count')
})

t.test('tempered and weighted shares; a small source starts its next epoch without repeats in a batch', async (t) => {
  const sources = [
    { name: 'big', rows: 10_000 },
    { name: 'small', rows: 100 },
  ]
  for (const [sampling, share] of [
    [{ tempered: 0.5 }, 1 / 11],
    [[3, 1], 1 / 4],
    [{ tempered: 0 }, 1 / 2],
  ] as const) {
    const plan = createPlan({ seed, batch: 32, sources, sampling })
    let small = 0
    const perRow = new Map<number, number>()
    for (let step = 0; step < plan.block * 2; step++) {
      const { source, rows } = plan.at(step)
      t.equal(new Set(rows).size, 32)
      if (source === 1) {
        small++
        for (const row of rows) perRow.set(row, (perRow.get(row) ?? 0) + 1)
      }
    }
    t.ok(Math.abs(small / (plan.block * 2) - share) < 0.002, `${JSON.stringify(sampling)}: ${small / plan.block / 2}`)
    if (plan.block > 20) t.equal(perRow.size, 100, 'epochs leave out different rows')
  }
  const zero = createPlan({ seed, batch: 32, sources, sampling: [1, 0] })
  for (let step = 0; step < 20; step++) t.equal(zero.at(step).source, 0)
})

t.test('wrap: rows of a source smaller than a batch repeat evenly, and other sources keep their rows', async (t) => {
  const sources = [
    { name: 'big', rows: 200 },
    { name: 'small', rows: 7 },
    { name: 'one', rows: 1 },
  ]
  const plan = createPlan({ seed, batch: 32, sources, smallSources: 'wrap' })
  t.equal(plan.stepsPerEpoch, 6 + 1 + 1)
  const alone = createPlan({
    seed,
    batch: 32,
    sources: [{ name: 'big', rows: 200 }, sources[1]!, sources[2]!].map((s) => ({ ...s, rows: Math.max(s.rows, 32) })),
  })
  const uses = [new Map<number, number>(), new Map<number, number>(), new Map<number, number>()]
  const epochs = 21
  for (let step = 0; step < epochs * plan.stepsPerEpoch; step++) {
    const { source, rows } = plan.at(step)
    t.equal(rows.length, 32)
    const inBatch = new Map<number, number>()
    for (const row of rows) {
      if (!(row >= 0 && row < sources[source]!.rows)) t.fail(`row ${row}`)
      uses[source]!.set(row, (uses[source]!.get(row) ?? 0) + 1)
      inBatch.set(row, (inBatch.get(row) ?? 0) + 1)
    }
    if (source === 0) t.same([source, rows], [alone.at(step).source, alone.at(step).rows], 'as without small ones')
    else t.ok(Math.max(...inBatch.values()) <= Math.ceil(32 / sources[source]!.rows) + 1)
    t.same(createPlan({ seed, batch: 32, sources, smallSources: 'wrap' }).at(step), { source, rows }, 'pure')
  }
  const counts = [...uses[1]!.values()]
  t.equal(counts.length, 7)
  t.ok(Math.max(...counts) - Math.min(...counts) <= 1, `${counts}: every row as often as any other`)
  const first = [...Array(plan.block).keys()].map((step) => plan.at(step)).find(({ source }) => source === 1)!
  t.equal(new Set(first.rows.subarray(0, 7)).size, 7, 'an epoch ends before the next begins')
  t.throws(() => createPlan({ seed, batch: 2, sources: [{ name: 'none', rows: 0 }], smallSources: 'wrap' }), {
    code: 'ERR_DATA',
  })
  t.same(
    createPlan({ seed, batch: 7, sources: sources.slice(0, 2), smallSources: 'wrap' }).at(3),
    createPlan({ seed, batch: 7, sources: sources.slice(0, 2) }).at(3),
    'no effect where none is small',
  )
})

t.test('bad options', async (t) => {
  const sources = [
    { name: 'a', rows: 40 },
    { name: 'tiny', rows: 3 },
  ]
  t.throws(() => createPlan({ seed: 1, batch: 8, sources }), { code: 'ERR_DATA', message: /"tiny" has 3 rows.*8/ })
  t.throws(() => createPlan({ seed: 1, batch: 8, sources: [] }), { code: 'ERR_DATA' })
  for (const bad of [
    { batch: 0 },
    { batch: 1.5 },
    { seed: 0.1 },
    { sampling: [1] },
    { sampling: [0, 0] },
    { sampling: [1, -1] },
    { sampling: { tempered: 2 } },
  ]) {
    t.throws(() => createPlan({ seed: 1, batch: 2, sources, ...bad }), { code: 'ERR_ARGUMENT' }, JSON.stringify(bad))
  }
  t.throws(() => createPlan({ seed: 1, batch: 2, sources }).at(-1), { code: 'ERR_ARGUMENT' })
})
