/** Losses and their gradients against sentence-transformers 6.2 and PyLate 1.6 (test/fixtures/losses, made by make.py). */
import path from 'node:path'
import t, { type Test } from 'tap'
import type { TrainBatch } from '../../lib/data/collate.js'
import { singleProcess } from '../../lib/distributed/group.js'
import { SafetensorsFile } from '../../lib/io/safetensors.js'
import { contrastive, distillation, type TokenEmbeddings } from '../../lib/losses/index.js'
import { Parameters } from '../../lib/nn/parameters.js'
import { Device, Segments, scope, Tape, Tensor } from '../../lib/tensor/index.js'
import type { ResolvedPhase } from '../../lib/train/config/types.js'
import { lossOf } from '../../lib/train/loss.js'

const folder = path.join(process.cwd(), 'test/fixtures/losses')
const inputs = await SafetensorsFile.open(path.join(folder, 'inputs.safetensors'))
const st6 = await SafetensorsFile.open(path.join(folder, 'st6/expected.safetensors'))
const pylate = await SafetensorsFile.open(path.join(folder, 'pylate/expected.safetensors'))
t.teardown(() => Promise.all([inputs, st6, pylate].map((f) => f.close())))

const dim = 16

async function given(k: number) {
  const read = (name: string) => inputs.numbers(`k${k}.${name}`)
  return {
    queries: await read('queries'),
    queryOffsets: await read('queryOffsets'),
    documents: await read('documents'),
    documentOffsets: await read('documentOffsets'),
    teacher: await read('teacher'),
  }
}

/** Runs a loss on the given embeddings and compares value and both gradients with a fixture. */
async function compare(
  t: Test,
  expected: SafetensorsFile,
  key: string,
  k: number,
  loss: (q: TokenEmbeddings, d: TokenEmbeddings, teacher: Float64Array, logScale: Tensor) => Tensor,
  { value: factor = 1, gradient = 1, exact = expected === pylate, learned = 0 } = {},
): Promise<void> {
  const from = await given(k)
  for (const [name, tolerance] of [
    ['cpu-f64', exact ? 1e-12 : 2e-6],
    ['cpu', 1e-5],
  ] as const) {
    const device = Device.open(name)
    const before = device.memory().tensors
    const logScale = new Parameters(device, [{ name: 'logScale', shape: [1] }])
    logScale.write([learned])
    const results = scope(() => {
      const side = (data: Float64Array, offsets: Float64Array) => {
        const tokens = Tensor.from(device, data, [data.length / dim, dim])
        tokens.requiresGradient = true
        return { tokens, segments: Segments.of(device, offsets) }
      }
      const [q, d] = [side(from.queries, from.queryOffsets), side(from.documents, from.documentOffsets)]
      const tape = new Tape()
      const value = tape.run(() => loss(q, d, from.teacher, logScale.get('logScale')))
      return [value, ...(tape.backward(value, undefined, [q.tokens, d.tokens]) as Tensor[])]
    })
    const [value, dq, dd] = await Promise.all(results.map((r) => r.values()))
    for (const r of results) r.dispose()
    const want = (await expected.numbers(`${key}.loss`))[0]!
    const got = value![0]! * factor
    const near = (got: number, want: number) => Math.abs(got - want) <= tolerance * (1 + Math.abs(want))
    t.ok(near(got, want), `${key} on ${name}: ${got}, expected ${want}`)
    const off = [Math.abs(got - want)]
    if (learned) {
      const want = (await expected.numbers(`${key}.logScale`))[0]!
      const got = await logScale.gradients.value()
      t.ok(near(got, want), `${key} on ${name}: d log scale ${got}, expected ${want}`)
      off.push(Math.abs(got - want))
    }
    logScale.dispose()
    for (const [side, g] of [['queries', dq!] as const, ['documents', dd!] as const]) {
      const reference = await expected.numbers(`${key}.${side}`)
      const distance = Math.sqrt(reference.reduce((sum, r, i) => sum + (r - g[i]! * gradient) ** 2, 0))
      const norm = Math.sqrt(reference.reduce((sum, r) => sum + r * r, 0))
      const stored = exact && expected === st6 ? 0 : 1e-7 // gradients are kept in float32 but for these
      const most = Math.max(10 * tolerance, stored) * norm
      t.ok(distance <= most, `${key} d${side} on ${name}: off by ${distance} of ${norm}`)
      off.push(distance / norm)
    }
    t.comment(`${key} on ${name}: off by ${off.map((each) => each.toExponential(1)).join(', ')}`)
    t.equal(device.memory().tensors, before, 'nothing leaks')
  }
}

for (const k of [0, 1, 3])
  for (const temperature of [1, 0.05]) {
    const documentsPerQuery = 1 + k
    for (const kind of ['plain', 'cached'])
      t.test(`sentence-transformers ${kind} InfoNCE, ${k} negatives, temperature ${temperature}`, (t) =>
        compare(t, st6, `${kind}.k${k}.t${temperature}`, k, (q, d) =>
          contrastive(q, d, { temperature, documentsPerQuery, blockQueries: 2 }),
        ),
      )
    t.test(`PyLate Contrastive, ${k} negatives, temperature ${temperature}`, (t) =>
      compare(t, pylate, `contrastive.k${k}.t${temperature}.padded`, k, (q, d) =>
        contrastive(q, d, { temperature, documentsPerQuery, clampNegatives: true }),
      ),
    )
    t.test(
      `PyLate CachedContrastive has 5 (the batch) times the gradient, ${k} negatives, temperature ${temperature}`,
      (t) =>
        compare(
          t,
          pylate,
          `cached.k${k}.t${temperature}.padded`,
          k,
          (q, d) => contrastive(q, d, { temperature, documentsPerQuery, clampNegatives: true }),
          { gradient: 5 },
        ),
    )
  }

for (const [student, teacherTemperature] of [
  [1, 1],
  [0.25, 0.25],
  [0.5, 2],
] as const)
  t.test(`sentence-transformers distillation, temperatures ${student} and ${teacherTemperature}`, (t) =>
    compare(t, st6, `distill.k3.student${student}.teacher${teacherTemperature}`, 3, (q, d, teacher) =>
      distillation(q, d, {
        teacher,
        documentsPerQuery: 4,
        temperature: student,
        teacherTemperature,
        temperatureSquared: true,
        normalizeScores: false,
      }),
    ),
  )

t.test('sentence-transformers InfoNCE over MeanMaxSim', (t) =>
  compare(t, st6, 'mean.plain.k3', 3, (q, d) =>
    contrastive(q, d, { temperature: 0.01, documentsPerQuery: 4, scores: 'mean' }),
  ),
)

t.test('sentence-transformers distillation over MeanMaxSim', (t) =>
  compare(t, st6, 'mean.distill.k3', 3, (q, d, teacher) =>
    distillation(q, d, {
      ...{ teacher, documentsPerQuery: 4, scores: 'mean', normalizeScores: false },
      ...{ temperature: 0.01, teacherTemperature: 0.5, temperatureSquared: true },
    }),
  ),
)

for (const k of [0, 3])
  for (const learned of [0, 2.3]) {
    const key = `symmetric.k${k}.${learned ? 'learned' : 't0.05'}`
    t.test(`sentence-transformers query_to_doc and doc_to_query, ${key}`, (t) =>
      compare(
        ...([t, st6, key, k] as const),
        (q, d, _, logScale) =>
          contrastive(q, d, {
            ...(learned ? { logScale } : { temperature: 0.05 }),
            ...{ documentsPerQuery: 1 + k, symmetric: true, blockQueries: 2 },
          }),
        { exact: true, learned },
      ),
    )
  }

for (const [strategy, margin] of [
  ['absolute', 0],
  ['absolute', 0.4],
  ['relative', 0.05],
] as const)
  t.test(`sentence-transformers CachedGISTEmbedLoss, margin ${margin} ${strategy}`, async (t) => {
    const dense = { queries: await inputs.numbers('guide.queries'), documents: await inputs.numbers('guide.documents') }
    await compare(
      ...([t, st6, `guided.${strategy}.${margin}`, 3] as const),
      (q, d) => {
        const { device } = q.tokens
        const of = (data: Float64Array) => {
          const tokens = Tensor.from(device, data, [data.length / 8, 8])
          return { tokens, segments: Segments.fromLengths(device, Array(data.length / 8).fill(1)) }
        }
        const guide = { queries: of(dense.queries), documents: of(dense.documents), margin }
        return contrastive(q, d, {
          ...{ temperature: 0.05, documentsPerQuery: 4, blockQueries: 2 },
          guide: { ...guide, relative: strategy === 'relative' },
        })
      },
      { exact: true },
    )
  })

for (const [key, changes, learned] of [
  ['mean.joint.k3', { temperature: 0.01, temperatureSquared: true }, 0],
  ['book.joint', { temperature: 0.01, studentTemperature: 0.02, temperatureSquared: true }, 0],
  ['book.joint.learned', { symmetric: true }, 2.3],
] as const)
  t.test(`InfoNCE and distillation with weights over MeanMaxSim: ${key}`, (t) => {
    const phase = {
      ...{ loss: { contrastive: 1, distillation: 0.5 }, scores: 'mean', maskDuplicates: false, normalizeScores: false },
      ...{ teacherTemperature: 0.5, ...changes },
    } as ResolvedPhase
    return compare(
      ...([t, st6, key, 3] as const),
      (queries, documents, teacher, logScale) => {
        const batch = { documentsPerQuery: new Int32Array(5).fill(4), scores: Float32Array.from(teacher) } as TrainBatch
        const ranks = { group: singleProcess, counts: [5], gathered: 'none' } as const
        return lossOf(phase, learned ? logScale : undefined)({ queries, documents, batch, ranks })
      },
      { exact: key.startsWith('book'), learned },
    )
  })

for (const [kind, normalizeScores] of [
  ['minmax', true],
  ['raw', false],
] as const)
  t.test(`PyLate Distillation, ${kind}`, (t) =>
    compare(t, pylate, `distillation.k3.${kind}.padded`, 3, (q, d, teacher) =>
      distillation(q, d, { teacher, documentsPerQuery: 4, normalizeScores, clampNegatives: true }),
    ),
  )
