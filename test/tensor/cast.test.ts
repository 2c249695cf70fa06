/** 16-bit reals through the boundary: what JavaScript reads, and what survives the way there and back. */
import t from 'tap'
import { Device, ops, raw, scope, Tensor } from '../../lib/tensor/index.js'
import { Random } from '../random.js'
import { seed } from '../seed.js'

for (const name of ['cpu', 'cpu-f64', 'cuda-host'])
  t.test(`cast on ${name}`, async (t) => {
    const device = Device.open(name)
    const before = device.memory().tensors
    const values = new Random(seed).normals(1000)
    const [half, back, x] = scope(() => {
      const x = Tensor.from(device, values, [50, 20])
      const half = ops.cast(x, 'float16')
      return [half, ops.cast(half, device.real), x]
    })
    t.same([half!.dtype, half!.shape, back!.dtype], ['float16', [50, 20], device.real])
    const [bits, near, exact] = await Promise.all([half!.data(), back!.values(), x!.values()])
    t.equal(bits.length, 1000)
    await t.rejects(half!.values(), { code: 'ERR_DTYPE' })
    for (let i = 0; i < 1000; i++)
      if (Math.abs(near[i]! - exact[i]!) > 2 ** -11 * Math.abs(exact[i]!) + 2 ** -25)
        t.fail(`${exact[i]} became ${near[i]}`)
    scope(() => {
      for (const dtype of ['int32', 'uint16'] as const)
        t.throws(() => ops.cast(x!, dtype), { code: 'ERR_DTYPE' }, `to ${dtype}`)
      const wrong = Tensor.empty(device, [20, 50], 'float16')
      t.throws(() => raw.cast(x!, wrong), { code: 'ERR_SHAPE' })
    })
    const ids = Tensor.fromInt32(device, Int32Array.of(1))
    t.throws(() => raw.cast(ids, x!), { code: 'ERR_DTYPE' })
    for (const tensor of [half!, back!, x!, ids]) tensor.dispose()
    t.equal(device.memory().tensors, before)
  })
