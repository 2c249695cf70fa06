/** Tensors of mapped files. */
import { rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { Device } from '../../lib/tensor/device.js'
import { add, copyRows, zero } from '../../lib/tensor/ops.gen.js'
import { Tensor } from '../../lib/tensor/tensor.js'

const device = Device.open()
const file = path.join(t.testdir(), 'numbers')
const numbers = Float32Array.from({ length: 3000 }, (_, i) => i / 7)
writeFileSync(file, Buffer.concat([Buffer.alloc(8), Buffer.from(numbers.buffer)]))

t.test('contents, without memory of the device, after the file lost its name too', async (t) => {
  const before = device.memory().bytes
  const mapped = Tensor.map(device, file, 8, [30, 100], 'float32')
  t.equal(device.memory().bytes, before)
  t.same(await mapped.data(), numbers)
  const last = mapped.rows(29, 30)
  rmSync(file)
  t.same(await mapped.data(), numbers)
  const sum = add(mapped, mapped)
  mapped.dispose() // `sum` is queued perhaps
  t.same(
    await sum.data(),
    numbers.map((x) => 2 * x),
  )
  t.same(await last.data(), numbers.subarray(2900), 'a view keeps it')
  last.dispose()
  sum.dispose()
  await device.synchronize()
  t.equal(device.memory().bytes, before)
  writeFileSync(file, Buffer.concat([Buffer.alloc(8), Buffer.from(numbers.buffer)]))
})

t.test('it is never written', async (t) => {
  const mapped = Tensor.map(device, file, 8, [30, 100], 'float32')
  const row = Tensor.from(device, numbers.subarray(0, 100), [1, 100])
  const refused = { code: 'ERR_ARGUMENT', message: /never written/ }
  t.throws(() => zero(mapped), refused)
  t.throws(() => mapped.write(numbers), refused)
  t.throws(() => copyRows(row, mapped, { row: 0 }), refused)
  const view = mapped.view(0, [100])
  t.throws(() => zero(view), refused)
  for (const tensor of [view, mapped, row]) tensor.dispose()
})

t.test('what it refuses', async (t) => {
  const map = (offset: number, shape: number[], name = file) => Tensor.map(device, name, offset, shape, 'float32')
  t.throws(() => map(0, [1], `${file}-none`), { code: 'ERR_FILE', message: /cannot be opened/ })
  t.throws(() => map(8, [3001]), {
    code: 'ERR_FORMAT',
    message: /has 12008 bytes, not float32 \[3001\] from byte 8 on/,
  })
  t.throws(() => map(12_009, [0]), { code: 'ERR_FORMAT' })
  t.throws(() => map(2, [1]), { code: 'ERR_FORMAT' })
  t.throws(() => map(-4, [1]), { code: /^ERR_/ })
  const empty = path.join(t.testdir(), 'empty')
  writeFileSync(empty, '')
  const none = map(0, [0, 8], empty)
  t.equal(none.size, 0)
  none.dispose()
  t.throws(() => Tensor.map(Device.open('cuda-host'), file, 8, [1], 'float32'), { code: 'ERR_UNSUPPORTED' })
})
