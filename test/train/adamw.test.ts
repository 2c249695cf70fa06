/** AdamW, norm and clipping against the formulas of torch.optim.AdamW written out in double. */
import t from 'tap'
import { Parameters } from '../../lib/nn/parameters.js'
import { Device } from '../../lib/tensor/index.js'
import { AdamW } from '../../lib/train/optim/adamw.js'
import { linear, schedule } from '../../lib/train/optim/schedule.js'
import { Random } from '../random.js'
import { seed } from '../seed.js'

const shapes = [
  { name: 'matrix', shape: [37, 11] },
  { name: 'bias', shape: [11] },
  { name: 'frozen', shape: [5] },
]
for (const [name, tolerance] of [
  ['cpu-f64', 1e-12],
  ['cpu', 2e-6],
  ['cuda-host', 2e-6],
] as const)
  for (const maxGradNorm of [0, 0.5])
    t.test(`${name}, clip ${maxGradNorm}`, async (t) => {
      const device = Device.open(name)
      const before = device.memory().tensors
      const random = new Random(seed)
      const real = (a: Float64Array) => (device.real === 'float64' ? a : Float32Array.from(a))
      const parameters = new Parameters(device, shapes)
      const count = parameters.count
      const p = random.normals(count)
      parameters.values.write(real(p))
      const rate = (e: { name: string }) => (e.name === 'matrix' ? { lr: 1e-2, decay: 0.1 } : { lr: 3e-2, decay: 0 })
      const opt = new AdamW(
        [
          { parameters, match: (e) => e.name === 'matrix', learningRate: 1e-2, weightDecay: 0.1 },
          { parameters, match: (e) => e.name === 'bias', learningRate: 3e-2 },
        ],
        { maxGradNorm, betas: [0.8, 0.95], eps: 1e-6 },
      )
      const [m, v] = [new Float64Array(count), new Float64Array(count)]
      for (let step = 1; step <= 5; step++) {
        const g = random.normals(count)
        parameters.gradients.write(real(g))
        const scale = 1 / step
        const squared = opt.step({ scale })
        const norm2 = g.reduce((sum, x) => sum + x * x, 0)
        t.ok(Math.abs((await squared.value()) - norm2) < tolerance * norm2 * 10, 'squared norm')
        squared.dispose()
        const factor = maxGradNorm ? Math.min(1, maxGradNorm / (Math.sqrt(norm2) + 1e-6)) : 1
        for (const entry of parameters.entries) {
          if (entry.name === 'frozen') continue
          const { lr, decay } = rate(entry)
          for (let i = entry.offset; i < entry.offset + entry.size; i++) {
            const x = g[i]! * factor
            p[i]! -= lr * scale * decay * p[i]!
            m[i] = 0.8 * m[i]! + 0.2 * x
            v[i] = 0.95 * v[i]! + 0.05 * x * x
            p[i]! -= ((lr * scale) / (1 - 0.8 ** step)) * (m[i]! / (Math.sqrt(v[i]! / (1 - 0.95 ** step)) + 1e-6))
          }
        }
      }
      const got = await parameters.values.values()
      t.ok(
        got.every((x, i) => Math.abs(x - p[i]!) <= tolerance * (1 + Math.abs(p[i]!))),
        'parameters after 5 steps',
      )
      t.ok(
        (await parameters.gradients.values()).every((x) => x === 0),
        'gradients are zeroed',
      )

      const state = new Map<string, Float32Array | Float64Array>()
      for (const [key, tensor] of opt.state()) state.set(key, await tensor.values())
      t.throws(() => opt.restore(new Map(), 5), { code: 'ERR_CHECKPOINT' })
      opt.restore(state, 5)

      parameters.gradients.write(real(new Float64Array(count).fill(Number.NaN)))
      const bad = opt.step()
      t.ok(Number.isNaN(await bad.value()))
      bad.dispose()
      t.same(await parameters.values.values(), got, 'a non-finite norm changes nothing')
      opt.dispose()
      parameters.dispose()
      t.equal(device.memory().tensors, before)
    })

t.test('an entry in two groups is refused', async (t) => {
  using parameters = new Parameters(Device.open('cpu'), shapes)
  t.throws(
    () =>
      new AdamW([
        { parameters, learningRate: 1 },
        { parameters, learningRate: 2 },
      ]),
    { code: 'ERR_ARGUMENT' },
  )
})

t.test('rates, clips and scales that are no numbers are refused', async (t) => {
  using parameters = new Parameters(Device.open('cpu'), shapes)
  for (const bad of [Number.NaN, -1, Number.POSITIVE_INFINITY]) {
    t.throws(() => new AdamW([{ parameters, learningRate: bad }]), { code: 'ERR_ARGUMENT' })
    t.throws(() => new AdamW([{ parameters, learningRate: 1, weightDecay: bad }]), { code: 'ERR_ARGUMENT' })
  }
  t.throws(() => new AdamW([{ parameters, learningRate: 1 }], { maxGradNorm: -1 }), { code: 'ERR_ARGUMENT' })
  t.throws(() => new AdamW([]), { code: 'ERR_ARGUMENT' })
  using opt = new AdamW([{ parameters, learningRate: 1 }])
  t.throws(() => opt.step({ scale: Number.NaN }), { code: 'ERR_ARGUMENT' })
  t.equal(opt.stepCount, 0)
  t.throws(() => schedule('zigzag' as 'linear', 0, 10), { code: 'ERR_ARGUMENT' })
  t.throws(() => linear(1, Number.NaN), { code: 'ERR_ARGUMENT' })
})

t.test('a step that was skipped for its gradient, taken off the count, leaves no trace', async (t) => {
  const device = Device.open('cpu')
  const after = async (gradients: number[]): Promise<number[]> => {
    using parameters = new Parameters(device, [{ name: 'p', shape: [4] }])
    using opt = new AdamW([{ parameters, learningRate: 0.1 }])
    parameters.values.write(Float32Array.of(1, 2, 3, 4))
    parameters.zeroGradients()
    for (const gradient of gradients) {
      parameters.gradients.write(Float32Array.of(gradient, 0.5, -1, 2))
      const norm = await opt.step().value()
      if (!Number.isFinite(norm)) opt.stepCount--
    }
    return [...(await parameters.values.values())]
  }
  t.same(await after([1, Number.NaN, Number.POSITIVE_INFINITY, 2]), await after([1, 2]))
})
