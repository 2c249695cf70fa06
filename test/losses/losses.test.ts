/** The losses on their own ground: gradients by differences, masks, empty documents, blocks, learnable temperature. */
import t from 'tap'
import { singleProcess } from '../../lib/distributed/group.js'
import { contrastive, distillation, marginMse, type TokenEmbeddings } from '../../lib/losses/index.js'
import { Parameters } from '../../lib/nn/parameters.js'
import { Device, raw, Segments, scope, Tape, Tensor } from '../../lib/tensor/index.js'
import { Random } from '../random.js'
import { seed } from '../seed.js'

const exact = Device.open('cpu-f64')
const dim = 16

function embeddings(random: Random, lengths: number[]): { data: Float64Array; lengths: number[] } {
  const rows = lengths.reduce((a, b) => a + b, 0)
  const data = random.normals(rows * dim)
  for (let r = 0; r < rows; r++) {
    const norm = Math.hypot(...data.subarray(r * dim, (r + 1) * dim))
    for (let j = 0; j < dim; j++) data[r * dim + j]! /= norm
  }
  return { data, lengths }
}

type Side = ReturnType<typeof embeddings>
type Loss = (q: TokenEmbeddings, d: TokenEmbeddings, logScale: Tensor) => Tensor

async function run(device: Device, q: Side, d: Side, logScale: number, loss: Loss) {
  const before = device.memory().tensors
  const store = new Parameters(device, [{ name: 'logScale', shape: [1] }])
  store.values.write(device.real === 'float64' ? Float64Array.of(logScale) : Float32Array.of(logScale))
  const results = scope(() => {
    const side = ({ data, lengths }: Side) => {
      const tokens = Tensor.from(device, data, [data.length / dim, dim])
      tokens.requiresGradient = true
      return { tokens, segments: Segments.fromLengths(device, lengths) }
    }
    const [Q, D] = [side(q), side(d)]
    const tape = new Tape()
    const value = tape.run(() => loss(Q, D, store.get('logScale')))
    return [value, ...(tape.backward(value, undefined, [Q.tokens, D.tokens]) as Tensor[])]
  })
  const [value, dq, dd] = await Promise.all(results.map((r) => r.values()))
  const ds = (await store.gradients.values())[0]!
  for (const r of results) r.dispose()
  store.dispose()
  if (device.memory().tensors !== before) throw new Error('a loss leaks')
  return { value: value![0]!, dq: dq!, dd: dd!, ds }
}

const queryLengths = [3, 1, 4, 2]
const documentLengths = [4, 2, 5, 0, 3, 1, 6, 2]
const qDuplicates = Int32Array.from([0, 1, 0, 2])
const dDuplicates = Int32Array.from([0, 1, 2, 3, 1, 0, 4, 1])

const losses: Record<string, Loss> = {
  'contrastive, one negative each': (q, d, logScale) => contrastive(q, d, { logScale, documentsPerQuery: 2 }),
  'contrastive, groups, weights, blocks of 3': (q, d, logScale) =>
    contrastive(q, d, {
      logScale,
      documentsPerQuery: 2,
      queryDuplicateIds: qDuplicates,
      documentDuplicateIds: dDuplicates,
      weights: [1, 0.5, 2, 0],
      blockQueries: 3,
    }),
  'distillation, min-max': (q, d, logScale) =>
    distillation(q, d, { teacher: [1, 0.2, 0.5, 0.1, 0.9, 0.8, 0.3, 0], documentsPerQuery: 2, logScale }),
  'distillation, ragged': (q, d, logScale) =>
    distillation(q, d, {
      teacher: [1, 0.2, 0.5, 0.1, 0.9, 0.8, 0.3, 0],
      documentsPerQuery: [0, 3, 3, 5, 8],
      logScale,
      normalizeScores: false,
    }),
  marginMse: (q, d) => marginMse(q, d, { teacher: [1, 0.2, 0.5, 0.1, 0.9, 0.8, 0.3, 0], documentsPerQuery: 2 }),
}

for (const [name, loss] of Object.entries(losses))
  t.test(`${name}: gradients by differences`, async (t) => {
    const random = new Random(seed)
    const q = embeddings(random, queryLengths)
    const d = embeddings(random, documentLengths)
    const s0 = 0.7
    const reference = await run(exact, q, d, s0, loss)
    t.ok(Number.isFinite(reference.value) && reference.value !== 0, `value ${reference.value}`)
    const h = 1e-6
    const difference = async (data: Float64Array, at: number) => {
      const kept = data[at]!
      data[at] = kept + h
      const above = (await run(exact, q, d, s0, loss)).value
      data[at] = kept - h
      const below = (await run(exact, q, d, s0, loss)).value
      data[at] = kept
      return (above - below) / (2 * h)
    }
    for (const [what, data, gradient] of [
      ['q', q.data, reference.dq],
      ['d', d.data, reference.dd],
    ] as const)
      for (let i = 0; i < 25; i++) {
        const at = random.integer(data.length)
        const numeric = await difference(data, at)
        if (Math.abs(numeric - gradient[at]!) > 1e-6 * (1 + Math.abs(numeric)))
          t.fail(`d${what}[${at}] is ${gradient[at]}, difference quotient ${numeric}`)
      }
    if (name !== 'marginMse') {
      const above = (await run(exact, q, d, s0 + h, loss)).value
      const below = (await run(exact, q, d, s0 - h, loss)).value
      t.ok(
        Math.abs((above - below) / (2 * h) - reference.ds) < 1e-6 * (1 + Math.abs(reference.ds)),
        `d log scale ${reference.ds}`,
      )
    }
    const single = await run(Device.open('cpu'), q, d, s0, loss)
    t.ok(Math.abs(single.value - reference.value) < 1e-5 * (1 + Math.abs(reference.value)), 'float32 agrees')
  })

/** InfoNCE as written in research: explicit loops, explicit exclusions. */
function plainInfoNce(q: Side, d: Side, temperature: number, documentsPerQuery: number, groups: boolean): number {
  const offsets = (lengths: number[]) => {
    let total = 0
    return [0, ...lengths.map((length) => (total += length))]
  }
  const [qo, d0] = [offsets(q.lengths), offsets(d.lengths)]
  const dot = (i: number, j: number) => {
    let sum = 0
    for (let x = 0; x < dim; x++) sum += q.data[i * dim + x]! * d.data[j * dim + x]!
    return sum
  }
  let total = 0
  for (let i = 0; i < q.lengths.length; i++) {
    const own = i * documentsPerQuery
    const logits: number[] = []
    let positive = Number.NaN
    for (let j = 0; j < d.lengths.length; j++) {
      if (d.lengths[j] === 0) continue
      if (groups && j !== own && dDuplicates[j] === dDuplicates[own]) continue
      const other = Math.floor(j / documentsPerQuery)
      if (groups && j !== own && j % documentsPerQuery === 0 && other !== i && qDuplicates[other] === qDuplicates[i])
        continue
      let score = 0
      for (let a = qo[i]!; a < qo[i + 1]!; a++) {
        let best = Number.NEGATIVE_INFINITY
        for (let b = d0[j]!; b < d0[j + 1]!; b++) best = Math.max(best, dot(a, b))
        score += best
      }
      logits.push(score / temperature)
      if (j === own) positive = score / temperature
    }
    const most = Math.max(...logits)
    total += most + Math.log(logits.reduce((sum, z) => sum + Math.exp(z - most), 0)) - positive
  }
  return total / q.lengths.length
}

t.test('exclusions follow their definition', async (t) => {
  const random = new Random(seed + 1)
  const q = embeddings(random, queryLengths)
  const d = embeddings(random, documentLengths)
  for (const groups of [false, true])
    for (const blockQueries of [1, 3, 100]) {
      const got = await run(exact, q, d, 0, (Q, D) =>
        contrastive(Q, D, {
          temperature: 0.1,
          documentsPerQuery: 2,
          blockQueries,
          ...(groups ? { queryDuplicateIds: qDuplicates, documentDuplicateIds: dDuplicates } : {}),
        }),
      )
      const want = plainInfoNce(q, d, 0.1, 2, groups)
      t.ok(
        Math.abs(got.value - want) < 1e-10 * want,
        `groups ${groups}, blocks of ${blockQueries}: ${got.value}, expected ${want}`,
      )
    }
})

t.test('when every negative is excluded, loss and gradient are 0', async (t) => {
  const random = new Random(seed + 2)
  const got = await run(exact, embeddings(random, [2, 3]), embeddings(random, [4, 5]), 0, (q, d) =>
    contrastive(q, d, {
      queryDuplicateIds: Int32Array.of(7, 7),
      documentDuplicateIds: Int32Array.of(1, 2),
      temperature: 0.05,
    }),
  )
  t.equal(got.value, 0)
  t.ok(got.dq.every((g) => g === 0) && got.dd.every((g) => g === 0))
})

t.test('a learned temperature is clamped at 0.01 and then has no gradient', async (t) => {
  const random = new Random(seed + 3)
  const q = embeddings(random, [2, 3])
  const d = embeddings(random, [4, 5])
  const far = await run(exact, q, d, 9, (Q, D, logScale) => contrastive(Q, D, { logScale }))
  const edge = await run(exact, q, d, 0, (Q, D) => contrastive(Q, D, { temperature: 0.01 }))
  t.ok(Math.abs(far.value - edge.value) < 1e-9)
  t.equal(far.ds, 0)
})

t.test('blocks that lie in no batch are refused', async (t) => {
  const before = exact.memory().tensors
  scope(() => {
    const scores = Tensor.from(exact, [1, 2, 3, 4, 5, 6], [3, 2])
    const logScale = Tensor.from(exact, [0])
    const segments = Segments.fromLengths(exact, [1, 1])
    const groups = Tensor.fromInt32(exact, Int32Array.of(0, 1, 2))
    const stats = (firstRow: number, firstQuery: number, documentsPerQuery = 1) =>
      raw.rowStats(scores, logScale, segments, groups, groups, {
        firstRow,
        documentsPerQuery,
        firstQuery,
        learned: 0,
      })
    t.same(stats(0, 1).shape, [3, 3])
    for (const [row, query] of [
      [1, 0],
      [0, 2],
      [-1, 0],
      [0, -1],
    ] as const)
      t.throws(() => stats(row, query), { code: /ERR_(SHAPE|ARGUMENT)/ }, `row ${row}, query ${query}`)
    t.throws(() => stats(0, 0, 2), { code: 'ERR_SHAPE' }, 'groups of another number of documents')
    t.throws(() => stats(0, 0, 0), { code: 'ERR_SHAPE' })
    const huge = { firstRow: 0, documentsPerQuery: 1, firstQuery: 2 ** 40, learned: 0 }
    t.throws(() => raw.rowStats(scores, logScale, segments, null, null, huge), { code: 'ERR_ARGUMENT' })
    for (const ranks of [0, -1, 2])
      t.throws(() => raw.combineStats(stats(0, 0), { ranks }), { code: 'ERR_SHAPE' }, `${ranks} ranks`)
    t.throws(() => raw.combineStats(scores, { ranks: 1 }), { code: 'ERR_SHAPE' }, 'no stats')
  })
  t.equal(exact.memory().tensors, before)
})

t.test('bad arguments are named', async (t) => {
  const random = new Random(seed + 4)
  const [q, d] = [embeddings(random, [2, 3]), embeddings(random, [4, 5])]
  const bad = (loss: Loss) => run(exact, q, d, 0, loss)
  await t.rejects(
    bad((Q, D) => contrastive(Q, D, { documentsPerQuery: 2 })),
    { code: 'ERR_ARGUMENT', message: /need 4 documents/ },
  )
  await t.rejects(
    bad((Q, D) => contrastive(Q, D, { temperature: 0 })),
    { code: 'ERR_ARGUMENT' },
  )
  await t.rejects(
    bad((Q, D) => contrastive(Q, D, { weights: [1] })),
    { code: 'ERR_ARGUMENT' },
  )
  for (const [counts, gathered] of [
    [[1], 'none'],
    [[2, 0], 'none'],
    [[3], 'queries'],
    [[1], 'documents'],
  ] as const)
    for (const loss of [contrastive, distillation])
      await t.rejects(
        bad((Q, D) =>
          loss(Q, D, { ranks: { group: singleProcess, counts, gathered }, teacher: [1, 2], documentsPerQuery: 1 }),
        ),
        { code: 'ERR_ARGUMENT' },
        `counts [${counts}], ${gathered} gathered`,
      )
  await t.rejects(
    bad((Q, D) => distillation(Q, D, { teacher: [1], documentsPerQuery: 1 })),
    { code: 'ERR_ARGUMENT' },
  )
})
