/** The losses on their own ground: gradients by differences, masks, empty documents, blocks, learnable temperature. */
import t from 'tap'
import { singleProcess } from '../../lib/distributed/group.js'
import { contrastive, distillation, marginMse, type TokenEmbeddings } from '../../lib/losses/index.js'
import { Parameters } from '../../lib/nn/parameters.js'
import { offsetsOf } from '../../lib/ragged.js'
import { Device, type DType, Segments, scope, Tape, Tensor } from '../../lib/tensor/index.js'
import { cast } from '../../lib/tensor/ops.js'
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

async function run(device: Device, q: Side, d: Side, logScale: number, loss: Loss, type = device.real as DType) {
  const before = device.memory().tensors
  const store = new Parameters(device, [{ name: 'logScale', shape: [1] }])
  store.values.write(device.real === 'float64' ? Float64Array.of(logScale) : Float32Array.of(logScale))
  const results = scope(() => {
    const side = ({ data, lengths }: Side) => {
      const tokens = cast(Tensor.from(device, data, [data.length / dim, dim]), type)
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

/** Documents of each query: 8 in all. */
const ragged = [1, 4, 2, 1]
const teacher = [1, 0.2, 0.5, 0.1, 0.9, 0.8, 0.3, 0]

const symmetric = true

/** A guide of the queries and documents: vectors of its own, of another dimension, one to a text. */
const [guideQueries, guideDocuments] = [4, 8].map((count, i) => new Random(seed + 40 + i).normals(count * 8))
function guideOf(device: Device): { queries: TokenEmbeddings; documents: TokenEmbeddings } {
  const side = (data: Float64Array) => ({
    tokens: Tensor.from(device, data, [data.length / 8, 8]),
    segments: Segments.fromLengths(device, Array(data.length / 8).fill(1)),
  })
  return { queries: side(guideQueries!), documents: side(guideDocuments!) }
}
const guideScore = (i: number, j: number) =>
  guideQueries!.subarray(8 * i, 8 * i + 8).reduce((sum, x, k) => sum + x * guideDocuments![8 * j + k]!, 0)

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
  'contrastive, ragged, groups, blocks of 3': (q, d, logScale) =>
    contrastive(q, d, {
      logScale,
      documentsPerQuery: ragged,
      queryDuplicateIds: qDuplicates,
      documentDuplicateIds: dDuplicates,
      blockQueries: 3,
    }),
  'contrastive, symmetric': (q, d, logScale) => contrastive(q, d, { logScale, documentsPerQuery: ragged, symmetric }),
  'contrastive, symmetric, groups, weights, blocks of 3': (q, d, logScale) =>
    contrastive(q, d, {
      logScale,
      documentsPerQuery: [3, 1, 2, 2], // the second positive is empty
      queryDuplicateIds: qDuplicates,
      documentDuplicateIds: dDuplicates,
      weights: [1, 0.5, 2, 0],
      blockQueries: 3,
      scores: 'mean',
      symmetric,
    }),
  'contrastive, guided, symmetric, groups, blocks of 3': (q, d, logScale) =>
    contrastive(q, d, {
      logScale,
      documentsPerQuery: ragged,
      queryDuplicateIds: qDuplicates,
      documentDuplicateIds: dDuplicates,
      blockQueries: 3,
      keepScores: 0,
      symmetric,
      guide: { ...guideOf(q.tokens.device), margin: 0.5 },
    }),
  'distillation, min-max': (q, d, logScale) => distillation(q, d, { teacher, documentsPerQuery: 2, logScale }),
  'distillation, teacher temperature': (q, d, logScale) =>
    distillation(q, d, { teacher, documentsPerQuery: 2, logScale, teacherTemperature: 0.3 }),
  'distillation, ragged': (q, d, logScale) =>
    distillation(q, d, {
      teacher,
      documentsPerQuery: ragged,
      logScale,
      normalizeScores: false,
    }),
  'contrastive, mean': (q, d, logScale) =>
    contrastive(q, d, { logScale, documentsPerQuery: ragged, blockQueries: 3, scores: 'mean' }),
  'distillation, mean': (q, d, logScale) =>
    distillation(q, d, { teacher, documentsPerQuery: 2, logScale, normalizeScores: false, scores: 'mean' }),
  'marginMse, mean': (q, d) => marginMse(q, d, { teacher, documentsPerQuery: ragged, scores: 'mean' }),
  marginMse: (q, d) => marginMse(q, d, { teacher, documentsPerQuery: 2 }),
  'marginMse, ragged': (q, d) => marginMse(q, d, { teacher, documentsPerQuery: Int32Array.from(ragged) }),
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
    if (!name.startsWith('marginMse')) {
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

/** Scores, one at a time: MaxSim of query i and document j; null for an empty document. */
function plainScores(q: Side, d: Side, mean = false): (number | null)[][] {
  const [qo, d0] = [offsetsOf(q.lengths), offsetsOf(d.lengths)]
  const dot = (i: number, j: number) => {
    let sum = 0
    for (let x = 0; x < dim; x++) sum += q.data[i * dim + x]! * d.data[j * dim + x]!
    return sum
  }
  return q.lengths.map((_, i) =>
    d.lengths.map((length, j) => {
      if (length === 0) return null
      let score = 0
      for (let a = qo[i]!; a < qo[i + 1]!; a++) {
        let best = Number.NEGATIVE_INFINITY
        for (let b = d0[j]!; b < d0[j + 1]!; b++) best = Math.max(best, dot(a, b))
        score += best
      }
      return mean ? score / (qo[i + 1]! - qo[i]!) : score
    }),
  )
}

interface PlainOptions {
  mean?: boolean
  symmetric?: boolean
  /** Of the guide, where there is one. */
  margin?: number
  relative?: boolean
}

/** InfoNCE as written in research: explicit loops, explicit exclusions. @param counts documents of each query */
function plainInfoNce(
  q: Side,
  d: Side,
  temperature: number,
  counts: readonly number[],
  groups: boolean,
  { mean = false, symmetric = false, margin, relative = false }: PlainOptions = {},
): number {
  const scores = plainScores(q, d, mean)
  const owner = counts.flatMap((count, i) => Array<number>(count).fill(i))
  const positives = counts.map((_, i) => owner.indexOf(i))
  const term = (logits: number[], positive: number) => {
    const most = Math.max(...logits)
    return most + Math.log(logits.reduce((sum, z) => sum + Math.exp(z - most), 0)) - positive
  }
  const excluded = (i: number, j: number) => {
    if (margin === undefined || j === positives[i]) return false
    const positive = guideScore(i, positives[i]!)
    return guideScore(i, j) > positive - margin * (relative ? Math.abs(positive) : 1)
  }
  let [total, turned] = [0, 0]
  for (const [i, own] of positives.entries()) {
    if (scores[i]![own] === null) continue
    const logits: number[] = []
    for (let j = 0; j < d.lengths.length; j++) {
      const score = scores[i]![j]!
      if (score === null || excluded(i, j)) continue
      const other = owner[j]!
      if (groups && j !== own) {
        if (dDuplicates[j] === dDuplicates[own]) continue
        if (j === positives[other] && other !== i && qDuplicates[other] === qDuplicates[i]) continue
      }
      logits.push(score / temperature)
    }
    total += term(logits, scores[i]![own]! / temperature)
    const others = positives.flatMap((document, other) => {
      const equal = qDuplicates[other] === qDuplicates[i] || dDuplicates[document] === dDuplicates[own]
      return (groups && other !== i && equal) || excluded(other, own) ? [] : [scores[other]![own]! / temperature]
    })
    turned += term(others, scores[i]![own]! / temperature)
  }
  return (symmetric ? (total + turned) / 2 : total) / q.lengths.length
}

/** The documents of each query that are not empty, as [student's score, teacher's, whether it is the positive]. */
function plainLists(
  q: Side,
  d: Side,
  counts: readonly number[],
  mean = false,
): { s: number; t: number; positive: boolean }[][] {
  const scores = plainScores(q, d, mean)
  const starts = offsetsOf(counts)
  return counts.map((count, i) =>
    Array.from({ length: count }, (_, k) => starts[i]! + k).flatMap((j, k) =>
      d.lengths[j] === 0 ? [] : [{ s: scores[i]![j]!, t: teacher[j]!, positive: k === 0 }],
    ),
  )
}

function plainDistillation(
  q: Side,
  d: Side,
  temperature: number,
  counts: readonly number[],
  minMax: boolean,
  teacherTemperature = 1,
  mean = false,
): number {
  let total = 0
  for (const given of plainLists(q, d, counts, mean)) {
    const list = given.map(({ s, t }) => ({ s, t: t / teacherTemperature }))
    const [min, max] = [Math.min(...list.map(({ s }) => s)), Math.max(...list.map(({ s }) => s))]
    const logits = list.map(({ s }) => (minMax ? (s - min) / (max - min + 1e-8) : s) / temperature)
    const [p, z] = [list.reduce((sum, { t }) => sum + Math.exp(t), 0), logits.reduce((sum, x) => sum + Math.exp(x), 0)]
    for (const [k, { t }] of list.entries()) total += (Math.exp(t) / p) * (t - Math.log(p) - (logits[k]! - Math.log(z)))
  }
  return total / counts.length
}

function plainMargins(q: Side, d: Side, counts: readonly number[], mean = false): number {
  let total = 0
  for (const list of plainLists(q, d, counts, mean)) {
    const [positive, ...negatives] = list
    if (!positive?.positive) continue
    for (const { s, t } of negatives) total += (positive.s - s - (positive.t - t)) ** 2 / negatives.length
  }
  return total / counts.length
}

for (const [name, tolerance] of [
  ['cpu-f64', 1e-10],
  ['cpu', 1e-5],
  ['cuda-host', 1e-5],
] as const)
  t.test(`losses follow their definition, whatever the documents of a query: ${name}`, async (t) => {
    const device = Device.open(name)
    const random = new Random(seed + 1)
    const q = embeddings(random, queryLengths)
    const d = embeddings(random, documentLengths)
    const compare = async (what: string, loss: Loss, want: number) => {
      const got = await run(device, q, d, 0, loss)
      t.ok(Math.abs(got.value - want) < tolerance * (1 + Math.abs(want)), `${what}: ${got.value}, expected ${want}`)
      const exactly = await run(exact, q, d, 0, loss)
      for (const side of ['dq', 'dd'] as const) {
        const off = Math.hypot(...got[side].map((g, i) => g - exactly[side][i]!))
        t.ok(off <= 10 * tolerance * (1 + Math.hypot(...exactly[side])), `${what}: ${side} is off by ${off}`)
      }
    }
    // 3: an empty document is a positive, and so the only document of its query.
    for (const counts of [[2, 2, 2, 2], ragged, [5, 1, 1, 1], [1, 1, 1, 5], [3, 1, 2, 2]]) {
      for (const groups of [false, true])
        for (const blockQueries of [1, 3, 100])
          for (const more of [
            {},
            { symmetric },
            { symmetric, keepScores: 0 },
            { margin: 0 },
            { margin: 0.5, symmetric },
            { margin: 0.5, relative: true },
          ] as (PlainOptions & { keepScores?: number })[]) {
            const { margin, relative, ...rest } = more
            const guided = (device: Device) =>
              margin !== undefined && { guide: { ...guideOf(device), margin, relative } }
            await compare(
              `contrastive of [${counts}], groups ${groups}, blocks of ${blockQueries}, ${JSON.stringify(more)}`,
              (Q, D) =>
                contrastive(Q, D, {
                  temperature: 0.1,
                  documentsPerQuery: counts,
                  blockQueries,
                  ...rest,
                  ...guided(Q.tokens.device),
                  ...(groups ? { queryDuplicateIds: qDuplicates, documentDuplicateIds: dDuplicates } : {}),
                }),
              plainInfoNce(q, d, 0.1, counts, groups, more),
            )
          }
      for (const normalizeScores of [false, true])
        await compare(
          `distillation of [${counts}], normalised ${normalizeScores}`,
          (Q, D) => distillation(Q, D, { teacher, documentsPerQuery: counts, temperature: 0.5, normalizeScores }),
          plainDistillation(q, d, 0.5, counts, normalizeScores),
        )
      for (const temperatureSquared of [false, true])
        await compare(
          `distillation of [${counts}], teacher temperature .2, times the student's squared ${temperatureSquared}`,
          (Q, D) =>
            distillation(Q, D, {
              ...{ teacher, documentsPerQuery: counts, normalizeScores: false, temperatureSquared },
              ...{ temperature: 0.5, teacherTemperature: 0.2 },
            }),
          plainDistillation(q, d, 0.5, counts, false, 0.2) * (temperatureSquared ? 0.25 : 1),
        )
      const scores = 'mean'
      await compare(
        `contrastive of [${counts}], mean`,
        (Q, D) => contrastive(Q, D, { temperature: 0.1, documentsPerQuery: counts, blockQueries: 3, scores }),
        plainInfoNce(q, d, 0.1, counts, false, { mean: true }),
      )
      await compare(
        `distillation of [${counts}], mean`,
        (Q, D) =>
          distillation(Q, D, { teacher, documentsPerQuery: counts, temperature: 0.5, normalizeScores: false, scores }),
        plainDistillation(q, d, 0.5, counts, false, 1, true),
      )
      await compare(
        `marginMse of [${counts}], mean`,
        (Q, D) => marginMse(Q, D, { teacher, documentsPerQuery: counts, scores }),
        plainMargins(q, d, counts, true),
      )
      await compare(
        `marginMse of [${counts}]`,
        (Q, D) => marginMse(Q, D, { teacher, documentsPerQuery: counts }),
        plainMargins(q, d, counts),
      )
    }
    // One number and as many counts are the same, to the bit.
    for (const loss of [contrastive, distillation, marginMse] as ((q: unknown, d: unknown, o: unknown) => Tensor)[]) {
      const all = { ...(loss !== (contrastive as unknown) && { teacher }) }
      const withCounts = (documentsPerQuery: number | Int32Array) =>
        run(device, q, d, 0, (Q, D) => loss(Q, D, { ...all, documentsPerQuery }))
      const one = await withCounts(2)
      const each = await withCounts(Int32Array.of(2, 2, 2, 2))
      t.same(one, each)
    }
  })

t.test('means of 16-bit embeddings, as a GPU has them', async (t) => {
  const random = new Random(seed + 5)
  const [q, d] = [embeddings(random, queryLengths), embeddings(random, documentLengths)]
  const loss: Loss = (Q, D) => contrastive(Q, D, { temperature: 0.1, documentsPerQuery: 2, scores: 'mean' })
  const got = await run(Device.open('cuda-host'), q, d, 0, loss, 'float16')
  const want = await run(exact, q, d, 0, loss)
  t.ok(Math.abs(got.value / want.value - 1) < 2e-3, `${got.value}, expected ${want.value}`)
  const off = Math.hypot(...got.dq.map((g, i) => g - want.dq[i]!))
  t.ok(off < 5e-3 * Math.hypot(...want.dq), `dq is off by ${off}`)
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

t.test('bad arguments are named', async (t) => {
  const random = new Random(seed + 4)
  const [q, d] = [embeddings(random, [2, 3]), embeddings(random, [4, 5])]
  const bad = (loss: Loss) => run(exact, q, d, 0, loss)
  await t.rejects(
    bad((Q, D) => contrastive(Q, D, { documentsPerQuery: 2 })),
    { code: 'ERR_ARGUMENT', message: /need 4 documents/ },
  )
  for (const loss of [contrastive, distillation, marginMse] as ((q: unknown, d: unknown, o: unknown) => Tensor)[])
    for (const [documentsPerQuery, message] of [
      [[1, 2], /documents/],
      [[2], /1 counts for 2 queries/],
      [[0, 1, 2], /whole numbers ≥ 1/],
      [[0, 2], /whole numbers ≥ 1/],
      [[1.5, 0.5], /whole numbers ≥ 1/],
    ] as const)
      await t.rejects(
        bad((Q, D) => loss(Q, D, { documentsPerQuery, ...(loss !== (contrastive as unknown) && { teacher: [1, 2] }) })),
        { code: 'ERR_ARGUMENT', message },
      )
  await t.rejects(
    bad((Q, D) => contrastive(Q, D, { temperature: 0 })),
    { code: 'ERR_ARGUMENT' },
  )
  await t.rejects(
    bad((Q, D) => contrastive(Q, D, { weights: [1] })),
    { code: 'ERR_ARGUMENT' },
  )
  await t.rejects(
    bad((Q, D) => contrastive(Q, D, { guide: guideOf(exact) })),
    { code: 'ERR_ARGUMENT', message: /the guide has 4 queries and 8 documents, the loss 2 and 2/ },
  )
  await t.rejects(
    bad((Q, D) => contrastive(Q, D, { guide: { ...guideOf(exact), margins: 1 } as never })),
    { code: 'ERR_ARGUMENT', message: /margins.*did you mean "margin"/ },
  )
  await t.rejects(
    bad((Q, D) => contrastive(Q, D, { keepScores: 1 })),
    { code: 'ERR_ARGUMENT', message: /no effect without ranks or symmetric/ },
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
