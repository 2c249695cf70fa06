import t from 'tap'
import { columnFromTexts } from '../../lib/data/column.js'
import { Colbert } from '../../lib/models/colbert.js'
import { uniform } from '../../lib/nn/index.js'
import { Device } from '../../lib/tensor/device.js'
import { scope } from '../../lib/tensor/scope.js'
import { Tape, withoutTape } from '../../lib/tensor/tape.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { AdamW } from '../../lib/train/optim/adamw.js'
import { atOnce } from '../../lib/turns.js'
import { seed } from '../seed.js'
import { cudaDevices } from '../tensor/gpu.js'
import { texts, tokenizer } from './words.js'

/** Parameters, or parts of them, whose gradient is 0 by mathematics. */
const exceptions: Record<string, string> = {
  'attention.self.key.bias': 'adds the same number to all scores of a query, which a softmax does not see',
}

for (const architecture of ['modernbert', 'bert'] as const) {
  const shape = { architecture, layers: 4, width: 32, heads: 2, dim: 16, positions: 64, localAttention: 8, tokenizer }
  const recipe = { queryLength: 24, documentLength: 64 }

  t.test(`${architecture}: every parameter gets its gradient`, async (t) => {
    const device = Device.open('cpu-f64')
    const model = await Colbert.create({ ...shape, recipe }, { seed: 2, device })
    const column = columnFromTexts(model.featurizer, texts, 'document')
    const weights = Tensor.from(device, noise(column.keptOffsets.at(-1)! * 16), [column.keptOffsets.at(-1)!, 16])
    backward(model, column, weights, null)
    const gradients = (await model.parameters.gradients.values()) as Float64Array
    const typical = Math.sqrt(gradients.reduce((sum, g) => sum + g * g, 0) / gradients.length)
    const seen: string[] = []
    for (const { name, offset, size } of model.parameters.entries) {
      const own = gradients.subarray(offset, offset + size)
      const largest = (from: number, to: number) =>
        own.subarray(from, to).reduce((most, g) => Math.max(most, Math.abs(g)), 0) / typical
      if (name.endsWith('.self.qkv.bias')) {
        const third = size / 3
        t.ok(largest(0, third) > 1e-6 && largest(2 * third, size) > 1e-6, `${name}: queries and values`)
        t.ok(largest(third, 2 * third) < 1e-9, `${name}: keys have none`)
        seen.push('attention.self.key.bias')
      } else t.ok(largest(0, size) > 1e-6, `${name}: ${largest(0, size)}`)
    }
    t.same(
      [...new Set(seen)],
      architecture === 'bert' ? Object.keys(exceptions) : [],
      'the list of exceptions is exact',
    )
    weights.dispose()
    model.dispose()
  })

  t.test(`${architecture}: dropout depends on seed, step and row, not on micro-batches`, async (t) => {
    const device = Device.open()
    const model = await Colbert.create({ ...shape, recipe, dropout: 0.2 }, { seed: 2 })
    const column = columnFromTexts(model.featurizer, texts, 'query')
    const rows = async (first: number, last: number, key: { seed: number; step: number } | null) => {
      const { tokens, segments } = withoutTape(() => model.embed(column, first, last, key))
      const values = [...(await tokens.values())]
      tokens.dispose()
      segments.dispose()
      return values
    }
    const n = texts.length
    const whole = await rows(0, n, { seed: 1, step: 5 })
    const before = device.memory() // the model's rotation tables exist from its first use on
    const parts = [...(await rows(0, 1, { seed: 1, step: 5 })), ...(await rows(1, n, { seed: 1, step: 5 }))]
    t.ok(
      whole.every((x, i) => Math.abs(x - parts[i]!) < 1e-5),
      'two micro-batches',
    )
    t.equal((await rows(0, n, { seed: 1, step: 5 })).join(), whole.join(), 'again')
    t.not((await rows(0, n, { seed: 1, step: 6 })).join(), whole.join(), 'the next step')
    t.not((await rows(0, n, { seed: 2, step: 5 })).join(), whole.join(), 'another seed')
    t.not((await rows(0, n, null)).join(), whole.join(), 'no dropout without a key')
    const same = columnFromTexts(model.featurizer, [texts[0]!, texts[0]!], 'query')
    const { tokens, segments } = withoutTape(() => model.embed(same, 0, 2, { seed: 1, step: 5 }))
    const [a, b] = [tokens.rows(0, 24), tokens.rows(24, 48)]
    t.not((await a.values()).join(), (await b.values()).join(), 'equal texts in two rows')
    for (const tensor of [tokens, segments, a, b]) tensor.dispose()
    await device.synchronize()
    t.same(device.memory().bytes, before.bytes, 'memory is given back')
    model.dispose()
  })

  for (const pooling of ['none', 'cls', 'mean'] as const)
    t.test(
      `${architecture}, pooling ${pooling}: on float64, gradients with dropout are those of finite differences`,
      async (t) => {
        const device = Device.open('cpu-f64')
        const model = await Colbert.create(
          { ...shape, recipe: { ...recipe, pooling }, dropout: 0.2 },
          { seed: 3, device },
        )
        const column = columnFromTexts(model.featurizer, texts, 'document')
        const count = column.keptOffsets.at(-1)! * 16
        const g = noise(count)
        const weights = Tensor.from(device, g, [count / 16, 16])
        const key = { seed: 4, step: 1 }
        const loss = async () => {
          const { tokens, segments } = withoutTape(() => model.embed(column, 0, texts.length, key))
          const values = (await tokens.values()) as Float64Array
          tokens.dispose()
          segments.dispose()
          return values.reduce((sum, x, i) => sum + x * g[i]!, 0)
        }
        backward(model, column, weights, key)
        const gradients = (await model.parameters.gradients.values()) as Float64Array
        const values = (await model.parameters.values.values()) as Float64Array
        for (const { name, offset, size } of model.parameters.entries) {
          // One direction per parameter: its own gradient.
          const own = gradients.slice(offset, offset + size)
          const length = Math.hypot(...own)
          if (length < 1e-6) continue
          const step = 1e-5
          const shifted = async (sign: number) => {
            const moved = values.slice()
            for (let i = 0; i < size; i++) moved[offset + i]! += (sign * step * own[i]!) / length
            model.parameters.values.write(moved)
            return loss()
          }
          const slope = ((await shifted(1)) - (await shifted(-1))) / (2 * step)
          t.ok(Math.abs(slope - length) <= 1e-5 * length + 1e-7, `${name}: ${slope} against ${length}`)
        }
        weights.dispose()
        model.dispose()
      },
    )
}

for (const architecture of ['modernbert', 'bert'] as const)
  t.test(`${architecture}: embeddings, gradients and a step by the CUDA kernels are those of float64`, async (t) => {
    const shape = { architecture, layers: 3, width: 32, heads: 2, dim: 16, positions: 64, localAttention: 8, tokenizer }
    const recipe = { queryLength: 24, documentLength: 64 }
    const on = async (device: Device) => {
      const options = { seed: 5, device, precision: 'float32' } as const
      const model = await Colbert.create({ ...shape, recipe, dropout: 0.2 }, options)
      const column = columnFromTexts(model.featurizer, texts, 'document')
      const weights = Tensor.from(device, noise(column.keptOffsets.at(-1)! * 16), [column.keptOffsets.at(-1)!, 16])
      const key = { seed: 4, step: 1 }
      const { tokens, segments } = withoutTape(() => model.embed(column, 0, texts.length, key))
      backward(model, column, weights, key)
      const gradients = await model.parameters.gradients.values()
      using optimiser = new AdamW(model.parameterGroups([{ learningRate: 1e-2, weightDecay: 0.1 }]), { maxGradNorm: 1 })
      optimiser.step()
      const result = [await tokens.values(), gradients, await model.parameters.values.values()]
      for (const tensor of [tokens, segments, weights]) tensor.dispose()
      model.dispose()
      return result
    }
    const want = await on(Device.open('cpu-f64'))
    for (const device of cudaDevices()) {
      const before = device.memory().tensors
      const got = await on(device)
      for (const [i, what] of ['embeddings', 'gradients', 'parameters after a step'].entries()) {
        const difference = Math.hypot(...got[i]!.map((x, k) => x - want[i]![k]!)) / Math.hypot(...want[i]!)
        t.ok(difference < 1e-5, `${device.name}: ${what} differ by ${difference}`)
      }
      t.same(await on(device), got, 'the same bits in another order of lanes, warps and blocks')
      t.equal(device.memory().tensors, before, 'nothing leaks')
    }
  })

t.test('groups: decay of matrices only, the first match, frozen parts', async (t) => {
  const shape = { architecture: 'bert', layers: 2, width: 32, heads: 2, dim: 16, positions: 64, tokenizer } as const
  const model = await Colbert.create({ ...shape, recipe: { queryLength: 24, documentLength: 64 } }, { seed: 2 })
  const before = await model.parameters.values.values()
  const groups = model.parameterGroups([
    { match: /^embeddings\./, frozen: true, learningRate: 0 },
    { match: (name) => name.startsWith('1_Dense.'), learningRate: 1e-2 },
    { learningRate: 1e-3, weightDecay: 0.1 },
  ])
  t.equal(groups.length, 2)
  for (const entry of model.parameters.entries) {
    const owners = groups.filter((group) => group.match(entry))
    t.equal(owners.length, entry.name.startsWith('embeddings.') ? 0 : 1, entry.name)
    if (entry.shape.length < 2)
      t.ok(
        owners.every((group) => group.weightDecay(entry) === 0),
        `${entry.name} does not decay`,
      )
  }
  const column = columnFromTexts(model.featurizer, texts, 'document')
  const rows = column.keptOffsets.at(-1)!
  const weights = Tensor.from(model.device, noise(rows * 16), [rows, 16])
  backward(model, column, weights, null)
  const optimiser = new AdamW(groups)
  optimiser.step()
  const after = await model.parameters.values.values()
  for (const { name, offset, size } of model.parameters.entries) {
    const changed = after.subarray(offset, offset + size).some((x, i) => x !== before[offset + i])
    t.equal(changed, !name.startsWith('embeddings.'), name)
  }
  weights.dispose()
  model.dispose()
})

function backward(
  model: Colbert,
  column: ReturnType<typeof columnFromTexts>,
  weights: Tensor,
  key: { seed: number; step: number } | null,
) {
  model.parameters.zeroGradients()
  scope(() => {
    const tape = new Tape()
    const { tokens } = tape.run(() => model.embed(column, 0, column.offsets.length - 1, key))
    tape.backward(tokens, weights)
  })
}

function noise(n: number): Float32Array {
  const values = new Float32Array(n)
  atOnce(uniform(0.5)(values, seed, 'noise'))
  return values
}
