/** Ops that write where they are told to. */
import t from 'tap'
import { Device, raw, scope, Tensor } from '../../lib/tensor/index.js'

for (const name of ['cpu', 'cpu-f64', 'cuda-host'])
  t.test(name, async (t) => {
    const device = Device.open(name)
    const before = device.memory().tensors
    const y = scope(() => {
      const y = Tensor.from(device, [1, 2, 3, 4, 5, 6, 7, 8], [4, 2])
      raw.copyRows(Tensor.from(device, [-1, -2, -3, -4], [2, 2]), y, { row: 1 })
      raw.addInto(Tensor.from(device, [10, 10, 10, 10], [2, 2]), y.rows(2, 4))
      raw.zero(y.rows(0, 1))
      raw.rescale(y.rows(2, 3), null, { by: 2 })
      raw.rescale(y.rows(3, 4), Tensor.from(device, [-0.5]), { by: 3 })
      t.throws(() => raw.rescale(y, Tensor.from(device, [1, 2]), { by: 1 }), { code: 'ERR_SHAPE' })
      t.throws(() => raw.copyRows(y, y.rows(0, 2), { row: 0 }), { code: 'ERR_SHAPE' })
      t.throws(() => raw.addInto(y, y.rows(0, 2)), { code: 'ERR_SHAPE' })
      return y
    })
    t.same([...(await y.values())], [0, 0, -1, -2, 14, 12, -25.5, -27])
    y.dispose()
    t.equal(device.memory().tensors, before)
  })
