/** What no caller of lateforge/tensor may do: reach memory that is not the tensor's. */
import t from 'tap'
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
  const wild = offsets([0, 1000, 3])
  t.throws(() => raw.poolRowsBackward(dy, wild, { kind: 0 }), { code: 'ERR_SHAPE' }, 'offsets that fall')
  const q = Tensor.from(device, new Float32Array(16), [2, 8])
  const two = offsets([0, 1, 2])
  const pairs = offsets([0, 0, 1, 1])
  const part = pairs.view(0, [2])
  const kind = { layout: 2, wantArgmax: 0, floorZero: 0 }
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
  for (const x of [dy, wild, q, two, pairs, part, none, scores, i32, teacher, loss, groups, flat]) x.dispose()
})

t.test('winners that are no tokens', async (t) => {
  for (const name of ['cpu', 'cpu-f64', 'cuda-host']) {
    const other = Device.open(name)
    const gradients = scope(() => {
      const q = Tensor.from(other, new Float32Array(16).fill(1), [2, 8])
      const segments = Segments.of(other, [0, 2])
      const [scores] = raw.maxsim(q, segments, q, segments, null, { layout: 0, wantArgmax: 0, floorZero: 0 })
      const winners = Tensor.empty(other, [2], 'uint8')
      const dq = Tensor.from(other, new Float32Array(16), [2, 8])
      const dd = Tensor.from(other, new Float32Array(16), [2, 8])
      const backward = (argmax: Tensor) =>
        raw.maxsimBackward(q, segments, q, segments, null, argmax, scores, dq, dd, { layout: 0 })
      winners.write(Uint8Array.of(255, 2))
      backward(winners)
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
