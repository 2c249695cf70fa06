/** Parameters in the type that a model computes with: what it sees follows what the optimiser keeps. */
import t from 'tap'
import { Colbert } from '../../lib/models/colbert.js'
import { Parameters } from '../../lib/nn/parameters.js'
import { Device, ops, scope, type Tensor } from '../../lib/tensor/index.js'
import { AdamW } from '../../lib/train/optim/adamw.js'
import { tokenizer } from '../models/words.js'

const shapes = [
  { name: 'w', shape: [2, 3] },
  { name: 'b', shape: [3] },
]
// 1 + 2⁻⁹ has no bfloat16, which has 8 bits: it becomes 1, and 1 + 3 · 2⁻⁹ becomes 1 + 2⁻⁷ (to even).
const fine = [1 + 2 ** -9, 1 + 3 * 2 ** -9, -2, 0, 0.5, 3]
const coarse = [1, 1 + 2 ** -7, -2, 0, 0.5, 3]

const seen = async (parameter: Tensor): Promise<number[]> => {
  using real = scope(() => ops.cast(parameter, parameter.device.real))
  return [...(await real.values())]
}

t.test('a narrow copy follows the values', async (t) => {
  const device = Device.open('cuda-host')
  const before = device.memory().tensors
  const parameters = new Parameters(device, shapes, 'bfloat16')
  const [w, b] = [parameters.get('w'), parameters.get('b')]
  t.same([w.dtype, b.dtype, parameters.values.dtype], ['bfloat16', 'bfloat16', 'float32'])
  t.same([w.gradient!.dtype, w.gradient!.shape, w.requiresGradient], ['float32', [2, 3], true])
  t.same(await seen(w), [0, 0, 0, 0, 0, 0])

  parameters.write([...fine, 7, 8, 9])
  t.same([await seen(w), await seen(b)], [coarse, [7, 8, 9]])
  t.same([...(await parameters.values.values())], [...fine, 7, 8, 9], 'which stay as exact as they are')

  parameters.write([1 + 2 ** -9, 5, 6], 'b')
  t.same([await seen(w), await seen(b)], [coarse, [1, 5, 6]])
  t.same([...(await parameters.values.values())], [...fine, 1 + 2 ** -9, 5, 6])

  // Steps that are too small for bfloat16 add up.
  const optimiser = new AdamW([{ parameters, learningRate: 1e-3 }], { eps: 0 })
  for (let step = 0; step < 8; step++) {
    parameters.gradients.write(new Float32Array(9).fill(1))
    optimiser.step()
  }
  t.same((await seen(w)).slice(0, 3), [1 - 2 ** -7, 1 - 2 ** -8, -2 - 2 ** -6], 'after eight steps of 0.001')
  t.throws(() => parameters.write([1, 2], 'b'), { code: 'ERR_SHAPE' })
  t.throws(() => parameters.write([1, 2, 3], 'x'), { code: 'ERR_FORMAT' })
  optimiser.dispose()
  parameters.dispose()
  t.equal(device.memory().tensors, before)
})

t.test('many values are written in small steps', async (t) => {
  const values = Float32Array.from({ length: 1 << 20 }, (_, i) => i % 251)
  for (const type of ['float32', 'bfloat16'] as const) {
    const parameters = new Parameters(
      Device.open('cuda-host'),
      [
        { name: 'b', shape: [3] },
        { name: 'w', shape: [1 << 20] },
      ],
      type,
    )
    let steps = 0
    for (const _ of parameters.writeInSteps(values, 'w')) steps++
    t.ok(steps >= 4, `${steps} steps`)
    const read = await seen(parameters.get('w'))
    t.ok(read.every((value, i) => value === values[i]))
    t.same(await seen(parameters.get('b')), [0, 0, 0])
    t.throws(() => [...parameters.writeInSteps(values.subarray(1), 'w')], { code: 'ERR_SHAPE' })
    parameters.dispose()
  }
})

t.test('on other devices there is one type', async (t) => {
  for (const name of ['cpu', 'cpu-f64']) {
    const device = Device.open(name)
    using parameters = new Parameters(device, shapes)
    parameters.write([...fine, 7, 8, 9])
    parameters.write([4, 5, 6], 'b')
    t.same([...(await parameters.values.values())], [...fine, 4, 5, 6])
    t.equal(parameters.get('w').dtype, device.real)
    t.throws(() => device.typeOf('bfloat16'), { code: 'ERR_UNSUPPORTED', message: new RegExp(`"${name}"`) })
  }
})

t.test('models say what they compute with', async (t) => {
  const shape = { architecture: 'bert', layers: 1, width: 16, heads: 2, dim: 8, tokenizer } as const
  const create = (device: string, precision?: 'float32' | 'bfloat16') =>
    Colbert.create(shape, { device, ...(precision && { precision }) })
  for (const [device, precision, found, tokens] of [
    ['cpu', undefined, 'float32', 'float32'],
    ['cpu-f64', undefined, 'float32', 'float64'],
    ['cuda-host', undefined, 'bfloat16', 'float16'],
    ['cuda-host', 'float32', 'float32', 'float32'],
  ] as const) {
    using model = await create(device, precision)
    t.same([model.precision, model.tokenType], [found, tokens], `${device}, ${precision}`)
    const embeddings = await model.encodeDocuments(['some words', 'more'])
    t.ok(embeddings.data instanceof Float32Array)
    const norm = Math.hypot(...embeddings.data.subarray(0, 8))
    t.ok(Math.abs(norm - 1) < 1e-3, `unit vectors: ${norm}`)
  }
  await t.rejects(create('cpu', 'bfloat16'), { code: 'ERR_UNSUPPORTED' })
  // @ts-expect-error: not a precision
  await t.rejects(create('cpu', 'half'), { code: 'ERR_ARGUMENT', message: /"float32" or "bfloat16"/ })
})
