/** What no caller of lateforge/tensor may do: reach memory that is not the tensor's. */
import t from 'tap'
import { native } from '../../lib/native.js'
import { Device, ops, raw, Segments, scope, Tensor } from '../../lib/tensor/index.js'

const device = Device.open()
const before = device.memory()

t.test('shapes whose sizes overflow', async (t) => {
  const tensor = Tensor.from(device, [1, 2, 3, 4])
  for (const shape of [[2 ** 40, 2 ** 40], [2 ** 32, 2 ** 32], [2 ** 53, 2 ** 53, 0], [-1, -4], [1.5], [Number.NaN]]) {
    t.throws(() => Tensor.empty(device, shape), { code: 'ERR_SHAPE' }, `empty [${shape}]`)
    t.throws(() => tensor.view(0, shape), { code: 'ERR_SHAPE' }, `view [${shape}]`)
  }
  t.throws(() => tensor.view(0, [1, 1, 1, 1, 1]), { code: 'ERR_SHAPE' })
  t.throws(() => tensor.view(0, 4 as unknown as number[]), { code: 'ERR_SHAPE' })
  t.throws(() => tensor.view(2, [3]), { code: 'ERR_SHAPE' })
  t.throws(() => tensor.view(0.5, [1]), { code: 'ERR_ARGUMENT' })
  const row = tensor.view(0, [1, 4])
  const index = Tensor.fromInt32(device, Int32Array.of(0))
  for (const rows of [2 ** 61, 2 ** 62, -1, Number.NaN])
    t.throws(() => raw.scatterRows(row, index, { rows }), { code: /ERR_SHAPE|ERR_ARGUMENT/ }, `${rows} rows`)
  const middle = tensor.view(1, [3])
  const inner = middle.view(1, [2])
  t.same([...(await inner.values())], [3, 4], 'a view of a view')
  for (const x of [tensor, row, index, middle, inner]) x.dispose()
})

t.test('indices that changed after they were checked', async (t) => {
  const ids = Tensor.fromInt32(device, Int32Array.of(0, 1, 0))
  const table = Tensor.from(device, [1, 2, 3, 4], [2, 2])
  const view = ids.view(1, [2])
  scope(() => t.same(raw.embedding(table, ids).shape, [3, 2]))
  view.write(Int32Array.of(1 << 20, 1 << 30))
  t.throws(() => raw.embedding(table, ids), { code: 'ERR_ARGUMENT' }, 'through a view')
  t.throws(() => raw.embedding(table, view), { code: 'ERR_ARGUMENT' })
  ids.write(Int32Array.of(0, 0, 1))
  t.throws(() => raw.embedding(table, view), { code: 'ERR_ARGUMENT' }, 'a view whose owner was written')
  scope(() => t.same(raw.embedding(table, ids).shape, [3, 2]))
  const wild = Tensor.fromInt32(device, Int32Array.of(1 << 20))
  raw.copyRows(wild, ids, { row: 0 })
  t.throws(() => raw.embedding(table, ids), { code: 'ERR_ARGUMENT' }, 'by an op')
  for (const x of [ids, table, view, wild]) x.dispose()
  await device.event()
})

t.test('segments that are none', async (t) => {
  const offsets = (values: number[]): Segments => Segments.of(device, values)
  const dy = Tensor.from(device, [1, 2, 3, 4], [2, 2])
  const falling = offsets([0, 1000, 3])
  t.throws(() => raw.poolRowsBackward(dy, falling, { kind: 0 }), { code: 'ERR_SHAPE' }, 'offsets that fall')
  const q = Tensor.from(device, new Float32Array(16), [2, 8])
  const two = offsets([0, 1, 2])
  const pairs = offsets([0, 0, 1, 1])
  const part = pairs.view(0, [2])
  const kind = { layout: 2, wantArgmax: 0, clampNegatives: 0 }
  t.throws(() => raw.maxsim(q, two, q, two, part, kind), { code: 'ERR_DTYPE' }, 'a part of the pairs')
  const none = offsets([])
  t.throws(() => raw.maxsim(q, none, q, two, null, { ...kind, layout: 0 }), { code: 'ERR_DTYPE' })
  const scores = ops.maxsim(q, two, q, two, 'pairs', none)
  t.same(scores.shape, [0], 'no pairs, no scores')
  const i32 = Tensor.fromInt32(device, Int32Array.of(0, 1, 2))
  const [teacher, loss, groups] = [Tensor.from(device, [1, 2]), Tensor.from(device, [0]), offsets([0, 2])]
  const flat = Tensor.from(device, [1, 2])
  t.throws(
    () => raw.marginMse(flat, teacher, groups, i32, loss, { normalizer: 1 }),
    { code: 'ERR_DTYPE' },
    'int32 offsets',
  )
  for (const x of [dy, falling, q, two, pairs, part, none, scores, i32, teacher, loss, groups, flat]) x.dispose()
})

/** Numbers that are no index, count or handle anywhere. */
const wild = [
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
  0.5,
  -1.5,
  1e30,
  -1e30,
  2 ** 53,
  2 ** 63,
  2 ** 64,
  Number.MIN_VALUE,
  -(2 ** 53),
]

t.test('numbers that are none, wherever native code takes one', async (t) => {
  const addon = native()
  const x = Tensor.from(device, [1, 2, 3, 4], [2, 2])
  const other = Tensor.from(device, [1, 2, 3, 4], [2, 2])
  const typed = { code: /^ERR_(ARGUMENT|SHAPE|DTYPE|DEVICE|DISPOSED|GROUP|DATA)$/ }
  const calls: Record<string, (n: number) => unknown> = {
    call: (n) => addon.call(n),
    openDevice: (n) => addon.openDevice('', n),
    'create, device': (n) => addon.create(n, 0, [1]),
    'create, type': (n) => addon.create(device.id, n, [1]),
    'create, shape': (n) => addon.create(device.id, 0, [1, n]),
    'createSegments, device': (n) => addon.createSegments(n, new Float64Array(1)),
    'createSegments, offset': (n) => addon.createSegments(device.id, Float64Array.of(0, n)),
    write: (n) => addon.write(n, new Float32Array(1)),
    'view, handle': (n) => addon.view(n, 0, [1]),
    'view, offset': (n) => addon.view(x.handle, n, [1]),
    'view, shape': (n) => addon.view(x.handle, 0, [n]),
    dispose: (n) => addon.dispose(n),
    read: (n) => addon.read(n),
    event: (n) => addon.event(n),
    elapsed: (n) => addon.elapsed(n),
    synchronize: (n) => addon.synchronize(n),
    memory: (n) => addon.memory(n),
    resetPeak: (n) => addon.resetPeak(n),
    'setMemoryLimit, device': (n) => addon.setMemoryLimit(n, 1),
    'setMemoryLimit, bytes': (n) => addon.setMemoryLimit(device.id, n),
    'largest, device': (n) => addon.largest(n, 1),
    'largest, most': (n) => addon.largest(device.id, n),
    'peak, device': (n) => addon.peak(n, 0.01),
    setThreads: (n) => addon.setThreads(n),
    shardInfo: (n) => addon.shardInfo(n),
    shardClose: (n) => addon.shardClose(n),
    'Segments.of': (n) => Segments.of(device, [0, n]),
    'Segments.fromLengths': (n) => Segments.fromLengths(device, [n]),
  }
  for (const [name, call] of Object.entries(calls))
    for (const n of [...wild, undefined as unknown as number, {} as number])
      t.throws(() => call(n), typed, `${name}: ${String(n)}`)
  // Those that promise refuse by rejecting.
  for (const n of wild) {
    await t.rejects(addon.shardLengths(n, new Float64Array(1), 0, 1), typed)
    await t.rejects(addon.shardCollate(1, new Float64Array(1), n, 1, 0, 0, false), typed)
  }
  for (const seconds of [Number.NaN, -1, Number.POSITIVE_INFINITY, 1e30])
    t.throws(() => addon.peak(device.id, seconds), typed, `${seconds} seconds`)
  t.throws(() => addon.memory(2 ** 32), typed, 'the 2^32nd device is not the first')
  t.throws(() => addon.openDevice('', 2 ** 32), typed)
  const segments = Segments.of(device, [0, 1, 2])
  for (const [first, last] of [
    [-1, 1],
    [0, 3],
    [2, 1],
    [0.5, 1],
    [0, Number.NaN],
  ] as const)
    t.throws(() => segments.slice(first, last), { code: 'ERR_ARGUMENT' }, `slice ${first} to ${last}`)
  for (const y of [x, other, segments]) y.dispose()
})

t.test('params and handles of every op', async (t) => {
  const addon = native()
  const x = Tensor.from(device, [1, 2, 3, 4], [2, 2])
  const typed = { code: /^ERR_(ARGUMENT|SHAPE|DTYPE|DISPOSED|UNSUPPORTED)$/ }
  for (const [op, { name, inputs, outputs, params }] of addon.opList().entries()) {
    const fill = () => {
      addon.block.fill(0)
      addon.block.fill(x.handle, 0, inputs.length)
    }
    for (const n of [...wild, undefined as unknown as number]) {
      fill()
      addon.block[0] = n
      t.throws(() => addon.call(op), typed, `${name}: ${inputs[0]!.name} ${n}`)
      for (const [i, param] of params.entries()) {
        if (!param.integer && Number.isFinite(n)) continue
        fill()
        addon.block[inputs.length + i] = n
        const message = new RegExp(`${name}: ${param.name} is `)
        t.throws(() => addon.call(op), { code: 'ERR_ARGUMENT', message }, `${name}: ${param.name} ${n}`)
      }
    }
    // Whole numbers whose sums and products are large: refused, or of no consequence.
    for (const [i] of params.entries())
      for (const n of [2 ** 53 - 1, 1 - 2 ** 53, 2 ** 52, 2 ** 31, 2 ** 32, -1]) {
        fill()
        addon.block[inputs.length + i] = n
        try {
          addon.call(op)
          const made = outputs.map((_, k) => addon.block[7 * k]!)
          for (const handle of made) if (handle > 0) addon.dispose(handle)
        } catch (error) {
          t.match(error, typed, `${name}: ${params[i]!.name} ${n}`)
        }
      }
  }
  x.dispose()
  await device.synchronize()
})

t.test('key counts of more tokens than their own sequence has', async (t) => {
  const qkv = Tensor.from(device, new Float32Array(5 * 24), [5, 24])
  const segments = Segments.of(device, [0, 4, 5])
  const counts = Tensor.fromInt32(device, Int32Array.of(1, 4))
  const p = { heads: 1, window: -1, dropout: 0, site: 0 }
  t.throws(() => raw.attention(qkv, segments, counts, null, p), {
    code: 'ERR_ARGUMENT',
    message: /sequence 1 has 4 keys, but 1 tokens/,
  })
  counts.write(Int32Array.of(4, 1))
  scope(() => void raw.attention(qkv, segments, counts, null, p))
  for (const x of [qkv, segments, counts]) x.dispose()
})

t.test('argmax of no token', async (t) => {
  for (const name of ['cpu', 'cpu-f64', 'cuda-host']) {
    const other = Device.open(name)
    const gradients = scope(() => {
      const q = Tensor.from(other, new Float32Array(16).fill(1), [2, 8])
      const segments = Segments.of(other, [0, 2])
      const [scores] = raw.maxsim(q, segments, q, segments, null, { layout: 0, wantArgmax: 0, clampNegatives: 0 })
      const argmax = Tensor.empty(other, [2], 'uint8')
      const dq = Tensor.from(other, new Float32Array(16), [2, 8])
      const dd = Tensor.from(other, new Float32Array(16), [2, 8])
      const backward = (argmax: Tensor) =>
        raw.maxsimBackward(q, segments, q, segments, null, argmax, scores, dq, dd, { layout: 0 })
      argmax.write(Uint8Array.of(255, 2))
      backward(argmax)
      for (const type of ['uint16', 'int32', 'float32'] as const)
        t.throws(() => backward(Tensor.empty(other, [2], type)), { code: 'ERR_DTYPE' }, `${name}: ${type}`)
      t.throws(() => backward(Tensor.empty(other, [1], 'uint8')), { code: 'ERR_SHAPE' }, `${name}: too few`)
      return [dq, dd]
    })
    for (const gradient of gradients) {
      t.ok(
        (await gradient.values()).every((x) => x === 0),
        `${name}: they give nothing`,
      )
      gradient.dispose()
    }
  }
})

t.test('tensors of other devices, types and lives', async (t) => {
  const other = Device.open('cpu-f64')
  const [a, b] = [Tensor.from(device, [1]), Tensor.from(other, [1])]
  t.throws(() => ops.add(a, b), { code: 'ERR_DEVICE' })
  t.throws(() => Tensor.empty(device, [1], 'complex' as 'int32'), { code: 'ERR_DTYPE' })
  const forged = new Tensor(device, a.handle + 5, 'float32', [1])
  t.throws(() => ops.add(a, forged), { code: 'ERR_DISPOSED' })
  t.throws(() => forged.data(), { code: 'ERR_DISPOSED' })
  const stale = a.handle
  for (const x of [a, b, forged]) x.dispose()
  t.throws(() => new Tensor(device, stale, 'float32', [1]).data(), { code: 'ERR_DISPOSED' })
  t.equal(other.memory().tensors, 0)
})

t.test('arrays on shared memory are read as any other', async (t) => {
  const shared = new Float32Array(new SharedArrayBuffer(32), 8, 4)
  shared.set([1, 2, 3, 4])
  using tensor = Tensor.from(device, shared)
  t.same([...(await tensor.values())], [1, 2, 3, 4])
})

t.test('memory is back where it was', async (t) => {
  await device.synchronize()
  const { tensors, bytes } = device.memory()
  t.same({ tensors, bytes }, { tensors: before.tensors, bytes: before.bytes })
})

t.test('a type that a device does not compute with is refused, not read as another', async (t) => {
  for (const name of ['cpu', 'cpu-f64', 'cuda-host']) {
    const other = Device.open(name)
    scope(() => {
      const x = Tensor.from(other, [1, 2, 3, 4], [2, 2])
      const half = ops.cast(x, 'float16')
      t.throws(() => raw.add(half, half), { code: 'ERR_DTYPE', message: /add: a is float16 \[2, 2\].*cast/ }, name)
      t.throws(() => raw.linear(x, half, null), { code: 'ERR_DTYPE', message: /one type/ })
      const target = Tensor.empty(other, [2, 2], 'float16')
      raw.copyRows(half, target, { row: 0 })
    })
    await other.synchronize()
  }
})
