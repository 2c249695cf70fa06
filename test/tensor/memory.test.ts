/** Lack of memory, and what native threads throw: typed errors, nothing aborted, and the stream works on. */
import t from 'tap'
import { backendPath } from '../../lib/backends.js'
import { native } from '../../lib/native.js'
import { Device, raw, Segments, scope, Tensor } from '../../lib/tensor/index.js'

const mib = 1 << 20

/** test/native/faulty_library.cc */
function faulty(): Device {
  const opened = native().openDevice(backendPath('lateforge_faulty'), 0)
  return Object.assign(Object.create(Device.prototype), { id: opened.id, name: opened.name, real: 'float64' }) as Device
}

t.test('what an op throws rejects every read with its type and its name, until synchronize', async (t) => {
  const device = faulty()
  const start = device.memory()
  const cases = [
    { by: 1e100, code: 'ERR_OUT_OF_MEMORY', message: /^scale: / },
    { by: 1e101, code: 'ERR_DEVICE', message: /^scale: task 50 of 100 fails/ },
    { by: 1e102, code: 'ERR_DEVICE', message: /^scale: / },
  ]
  for (const { by, ...expected } of cases)
    for (let round = 0; round < 5; round++) {
      const x = Tensor.from(device, [1, 2, 3])
      const y = raw.scale(x, null, { by })
      const later = raw.scale(x, null, { by: 2 })
      const [first, second, event] = await Promise.allSettled([y.values(), later.values(), device.event()])
      for (const result of [first, second, event])
        t.match(result, { status: 'rejected', reason: expected }, `a factor of ${by}`)
      await t.rejects(device.synchronize(), expected)
      const again = raw.scale(x, null, { by: 2 })
      t.same([...(await again.values())], [2, 4, 6], 'the stream works on')
      for (const tensor of [x, y, later, again]) tensor.dispose()
    }
  t.equal(device.memory().bytes, start.bytes)
})

t.test('what is thrown on the thread of JS has its type, and nothing leaks', async (t) => {
  const device = faulty()
  const start = device.memory().bytes
  const x = Tensor.from(device, [1, 2, 3])
  for (let round = 0; round < 5; round++) {
    t.throws(() => raw.scale(x, null, { by: 1e103 }), {
      name: 'OutOfMemoryError',
      code: 'ERR_OUT_OF_MEMORY',
      message: 'the host has no memory left',
    })
    t.throws(() => raw.scale(x, null, { by: 1e104 }), { code: 'ERR_INTERNAL', message: 'longer than it can be' })
  }
  const y = raw.scale(x, null, { by: 2 })
  t.same([...(await y.values())], [2, 4, 6], 'the device works on')
  for (const tensor of [x, y]) tensor.dispose()
  t.equal(device.memory().bytes, start)
})

t.test('a device without memory says what is free and in how many pieces; trim gives back what is free', async (t) => {
  const device = faulty() // 64 MiB, whatever its limit
  const blocks = Array.from({ length: 8 }, () => Tensor.empty(device, [(7 * mib) / 8]))
  for (let i = 0; i < 8; i += 2) blocks[i]!.dispose()
  t.throws(() => Tensor.empty(device, [(30 * mib) / 8]), {
    code: 'ERR_OUT_OF_MEMORY',
    message: /asks for 30\.0 MiB .*, of it free [\d.]+ MiB in \d+ pieces, the largest [\d.]+ MiB.*trim/s,
  })
  for (const block of blocks) block.dispose()
  await device.trim()
  t.equal(device.memory().reserved, 0)
  Tensor.empty(device, [(60 * mib) / 8]).dispose()
  t.equal(await device.trim(), 60 * mib)
})

t.test('memory in pieces below the limit is joined without waiting for the stream', async (t) => {
  for (const name of ['cpu', 'cpu-f64', 'cuda-host']) {
    const device = Device.open(name)
    await device.synchronize()
    await device.trim()
    const { limit, reserved } = device.memory()
    device.setMemoryLimit(reserved + 94 * mib)
    const width = device.real === 'float64' ? 8 : 4
    const values = scope(() => {
      // Uses that wait in the stream while their memory goes to other tensors, and other segments.
      const kept: Tensor[] = []
      for (let round = 0; round < 6; round++) {
        const x = Tensor.from(device, [round + 1, 10 * round], [1, 2])
        const large = Tensor.empty(device, [1, ((34 + 5 * round) * mib) / width])
        raw.zero(large)
        large.dispose()
        kept.push(raw.scale(x, null, { by: 2 }))
        x.dispose()
      }
      return kept
    })
    t.ok(device.memory().reserved <= device.memory().limit, name)
    for (const [round, y] of values.entries()) {
      t.same([...(await y.values())], [2 * round + 2, 20 * round], `${name} ${round}`)
      y.dispose()
    }
    device.setMemoryLimit(limit)
  }
})

t.test('workspaces count in the limit', async (t) => {
  const device = Device.open('cpu')
  const [q, d] = [Tensor.empty(device, [4096, 128]), Tensor.empty(device, [64, 128])]
  const [qs, ds] = [Segments.fromLengths(device, [4096]), Segments.fromLengths(device, [64])]
  const forward = () => raw.maxsim(q, qs, d, ds, null, { layout: 0, wantArgmax: 0, clampNegatives: 0 })[0]
  const { bytes, limit } = device.memory()
  device.resetPeak()
  forward().dispose()
  t.ok(device.memory().peak - bytes >= 4096 * 128 * 4, 'the packed queries are in the peak')
  device.setMemoryLimit(bytes + mib)
  t.throws(forward, {
    code: 'ERR_OUT_OF_MEMORY',
    message: /^the workspace of maxsim asks for/,
  })
  device.setMemoryLimit(limit)
  for (const tensor of [q, d, qs, ds]) tensor.dispose()
  await device.synchronize()
})
