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
      t.throws(() => raw.copyRows(y, y.rows(0, 2), { row: 0 }), { code: 'ERR_SHAPE' })
      t.throws(() => raw.addInto(y, y.rows(0, 2)), { code: 'ERR_SHAPE' })
      return y
    })
    t.same([...(await y.values())], [0, 0, -1, -2, 7, 6, 17, 18])
    y.dispose()
    t.equal(device.memory().tensors, before)
  })
