/** GradCache: the gradient of the whole batch whatever the micro-batches, kept or recomputed, with dropout on. */
import { isDeepStrictEqual } from 'node:util'
import t from 'tap'
import { singleProcess } from '../../lib/distributed/group.js'
import { contrastive } from '../../lib/losses/index.js'
import { Device, scope, Tape, Tensor, withoutTape } from '../../lib/tensor/index.js'
import type { ResolvedPhase } from '../../lib/train/config/types.js'
import { type BatchLoss, embedBatch, gradCache, gradCacheAsync } from '../../lib/train/gradcache.js'
import { lossOf } from '../../lib/train/loss.js'
import { seed } from '../seed.js'
import { ToyModel, toyBatch } from './toy.js'

t.setTimeout(300_000) // on a busy machine
const loss: BatchLoss = ({ queries, documents, batch }) =>
  contrastive(queries, documents, { temperature: 0.1, documentsPerQuery: batch.documentsPerQuery, blockQueries: 4 })
/** 27 documents, of each of 9 queries 1 to 6. */
const batch = toyBatch(seed, 9, [3, 1, 6, 2, 1, 5, 4, 1, 4])
const key = { seed: 5, step: 3 }

/** Plain backward through one tape: no cache at all. */
async function uncached(model: ToyModel) {
  const value = scope(() => {
    const tape = new Tape()
    const value = tape.run(() => {
      const queries = model.embed(batch.queries, 0, 9, key)
      const documents = model.embed(batch.documents, 0, 27, key)
      return loss({
        queries,
        documents,
        batch,
        ranks: { group: singleProcess, counts: batch.counts, gathered: 'none' },
      })
    })
    tape.backward(value)
    return value
  })
  const result = { value: await value.value(), gradients: await model.parameters.gradients.values() }
  value.dispose()
  model.parameters.zeroGradients()
  return result
}

for (const [name, tolerance] of [
  ['cpu-f64', 1e-9],
  ['cpu', 1e-5],
] as const)
  t.test(name, async (t) => {
    const device = Device.open(name)
    const start = device.memory()
    const model = new ToyModel(device, seed)
    const reference = await uncached(model)
    const norm = Math.hypot(...reference.gradients)
    const bits: Record<number, Float32Array | Float64Array> = {}
    for (const microBatchTokens of [1, 17, 1e9])
      for (const activationMemory of [0, 30_000, 1e12])
        for (const asynchronous of [false, true]) {
          const options = { ...key, microBatchTokens, activationMemory }
          const value = asynchronous
            ? await gradCacheAsync(model, batch, loss, options)
            : gradCache(model, batch, loss, options)
          const got = await model.parameters.gradients.values()
          const off = Math.hypot(...got.map((g, i) => g - reference.gradients[i]!))
          t.ok(
            off <= tolerance * norm,
            `micro-batches of ${microBatchTokens}, ${activationMemory} bytes kept: off by ${off / norm}`,
          )
          t.ok(Math.abs((await value.value()) - reference.value) <= tolerance * reference.value, 'the loss')
          bits[microBatchTokens] ??= got
          t.ok(
            Buffer.from(got.buffer).equals(Buffer.from(bits[microBatchTokens]!.buffer)),
            'keeping and awaiting do not change a bit',
          )
          value.dispose()
          model.parameters.zeroGradients()
        }
    const scaled = gradCache(model, batch, loss, { ...key, microBatchTokens: 50, gradientScale: 3 })
    const threefold = await model.parameters.gradients.values()
    t.ok(Math.abs(Math.hypot(...threefold) / norm - 3) < 1e-4, 'gradient scale')
    scaled.dispose()
    model.parameters.zeroGradients()

    t.throws(() => gradCache(model, batch, loss, { ...key, microBatchTokens: 0 }), { code: 'ERR_ARGUMENT' })
    await t.rejects(gradCacheAsync(model, batch, loss, { ...key, microBatchTokens: 10, signal: AbortSignal.abort() }), {
      code: 'ERR_ABORTED',
    })
    await t.rejects(
      gradCacheAsync(
        model,
        batch,
        () => {
          throw new Error('a loss that fails')
        },
        { ...key, microBatchTokens: 10, activationMemory: 1e9 },
      ),
      { message: 'a loss that fails' },
    )
    model.parameters.dispose()
    const end = device.memory()
    t.same([end.tensors, end.bytes], [start.tensors, start.bytes], 'nothing is left, also after failures')
  })

t.test('losses with weights: the weighted sum of both and of their gradients, and both are told', async (t) => {
  const device = Device.open('cpu-f64')
  const before = device.memory().tensors
  const model = new ToyModel(device, seed)
  const guiding = new ToyModel(device, seed + 1)
  const guide = await embedBatch(guiding, batch, { microBatchTokens: 30 })
  const scores = Float32Array.from({ length: 27 }, (_, i) => Math.sin(3 * i))
  const gradientOf = async (loss: ResolvedPhase['loss'], changes: Partial<ResolvedPhase>, microBatchTokens: number) => {
    const told: Record<string, Promise<number>> = {}
    const phase = {
      scores: 'mean',
      symmetric: true,
      maskDuplicates: true,
      normalizeScores: false,
      temperature: 1,
      ...changes,
      loss,
    } as ResolvedPhase
    const value = gradCache(
      model,
      { ...batch, scores },
      lossOf(phase, undefined, { ...guide, margin: 0.1, relative: true }, (name, part) => {
        told[name] = part.value()
      }),
      { ...key, microBatchTokens },
    )
    const gradients = await model.parameters.gradients.values()
    const result = { value: await value.value(), gradients, told }
    value.dispose()
    model.parameters.zeroGradients()
    return result
  }
  const alone = [
    await gradientOf('contrastive', { temperature: 0.1 }, 1e9),
    await gradientOf('distillation', { temperature: 0.4, teacherTemperature: 0.5, temperatureSquared: true }, 1e9),
  ]
  for (const [microBatchTokens, contrastive, distillation] of [
    [1, 1, 1],
    [17, 0.5, 2],
    [1e9, 0, 3],
  ] as const) {
    const changes = { temperature: 0.1, studentTemperature: 0.4, teacherTemperature: 0.5, temperatureSquared: true }
    const got = await gradientOf({ contrastive, distillation }, changes, microBatchTokens)
    const sum = (of: (part: (typeof alone)[number]) => number) =>
      contrastive * of(alone[0]!) + distillation * of(alone[1]!)
    t.ok(Math.abs(got.value - sum(({ value }) => value)) < 1e-10, `${contrastive} and ${distillation}: the sum`)
    t.ok(Math.abs((await got.told.contrastive!) - alone[0]!.value) < 1e-10, 'one is told without its weight')
    t.ok(Math.abs((await got.told.distillation!) - alone[1]!.value) < 1e-10, 'and so is the other')
    const off = Math.hypot(...got.gradients.map((g, i) => g - sum(({ gradients }) => gradients[i]!)))
    t.ok(off < 1e-9 * Math.hypot(...got.gradients), `gradients are off by ${off}`)
  }
  for (const { tokens, segments } of Object.values(guide)) for (const each of [tokens, segments]) each.dispose()
  guiding.parameters.dispose()
  model.parameters.dispose()
  t.equal(device.memory().tensors, before)
})

t.test('dropout follows the row, not the micro-batch, and is off without a key', async (t) => {
  const device = Device.open('cpu')
  const model = new ToyModel(device, seed)
  const embed = async (first: number, last: number, k: typeof key | null) => {
    const out = withoutTape(() => scope(() => model.embed(batch.documents, first, last, k).tokens))
    const values = await out.values()
    out.dispose()
    return values
  }
  const all = await embed(0, 27, key)
  const part = await embed(11, 13, key)
  const at = batch.documents.offsets[11]! * 16
  // tap's `same` takes half a minute for arrays of this length that differ.
  t.ok(isDeepStrictEqual(part, all.slice(at, at + part.length)), 'the row')
  t.notOk(isDeepStrictEqual(await embed(0, 27, { ...key, step: 4 }), all), 'another step')
  t.notOk(isDeepStrictEqual(await embed(0, 27, null), all), 'without a key')
  t.ok(isDeepStrictEqual(await embed(0, 27, null), await embed(0, 27, null)), 'twice')
  model.parameters.dispose()
})

t.test('loss functions that return no loss', async (t) => {
  const device = Device.open('cpu')
  const model = new ToyModel(device, seed)
  const before = device.memory()
  const options = { ...key, microBatchTokens: 30, activationMemory: 50_000 }
  const wrong: Record<string, () => unknown> = {
    nothing: () => undefined,
    'a number': () => 3,
    'a promise': async () => 3,
    'a constant': () => Tensor.from(device, [1]),
    'many values': () => Tensor.from(device, [1, 2]),
  }
  for (const [name, fn] of Object.entries(wrong))
    t.throws(() => gradCache(model, batch, fn as BatchLoss, options), { code: 'ERR_ARGUMENT' }, name)
  for (const change of [{ seed: -1 }, { step: Number.NaN }, { microBatchTokens: 0 }])
    t.throws(() => gradCache(model, batch, loss, { ...options, ...change }), { code: 'ERR_ARGUMENT' })
  const own = new Error('mine')
  const throwing = gradCacheAsync(
    model,
    batch,
    () => {
      throw own
    },
    options,
  )
  await t.rejects(throwing, own, 'an error of the function itself stays as it is')
  await device.synchronize()
  t.equal(device.memory().tensors, before.tensors, 'all graphs are freed')
  model.parameters.dispose()
})

t.test('two trainings interleaved give the bits that each gives alone', async (t) => {
  const device = Device.open('cpu')
  const steps = async (model: ToyModel) => {
    for (let step = 0; step < 5; step++) {
      const value = await gradCacheAsync(model, batch, loss, {
        seed: 1,
        step,
        microBatchTokens: 30,
        activationMemory: 50_000,
      })
      value.dispose()
    }
    return model.parameters.gradients.values()
  }
  const make = (s: number) => new ToyModel(device, s)
  const models = [make(1), make(2), make(1), make(2)]
  const alone = [await steps(models[0]!), await steps(models[1]!)]
  const together = await Promise.all([steps(models[2]!), steps(models[3]!)])
  t.same(together, alone)
  for (const m of models) m.parameters.dispose()
})
