/** Parameter gradients in pieces: which, in which order, and that they start while backward still goes on. */
import t from 'tap'
import { Buckets } from '../../lib/distributed/buckets.js'
import { type ProcessGroup, singleProcess } from '../../lib/distributed/group.js'
import { contrastive } from '../../lib/losses/index.js'
import { Device, ops, scope, Tape, Tensor } from '../../lib/tensor/index.js'
import { gradCache } from '../../lib/train/gradcache.js'
import { ToyModel, toyBatch } from '../train/toy.js'

const device = Device.open('cpu')

/** Two ranks of which this is one and the other has zeros: notes what is summed. */
function recorder(log: (string | number)[]): ProcessGroup {
  const sum = (tensor: Tensor) => {
    log.push(tensor.size)
    return { wait: () => tensor }
  }
  return { ...singleProcess, size: 2, allReduceSum: sum }
}

t.test('from the end of the buffer to its start, each piece once it is final', async (t) => {
  const model = new ToyModel(device, 1)
  const sizes = model.parameters.entries.map((e) => e.size) // table, qkv, norm, projection
  const [table, qkv, norm, projection] = sizes as [number, number, number, number]
  for (const [bytes, pieces] of [
    [1, [projection, norm, qkv, table]],
    [4 * projection, [projection, norm + qkv, table]],
    [4 * (projection + 1), [projection + norm, qkv, table]],
    [1e9, [projection + norm + qkv + table]],
  ] as const) {
    const log: (string | number)[] = []
    const buckets = new Buckets(recorder(log), model.parameters, bytes)
    buckets.finish()
    t.same(log, pieces, `${bytes} bytes`)
  }
  const log: (string | number)[] = []
  const buckets = new Buckets(recorder(log), model.parameters, 1)
  const get = (name: string) => model.parameters.get(name)
  buckets.expect(new Set(['qkv', 'norm', 'table'].map(get)))
  t.same(log, [projection], 'what is not expected is final')
  buckets.final(get('table'))
  buckets.final(get('qkv'))
  t.same(log, [projection], 'but pieces keep their order')
  buckets.final(get('norm'))
  t.same(log, [projection, norm, qkv, table])
  buckets.finish()
  t.equal(log.length, 4, 'each once')

  model.parameters.freeze((name) => name === 'qkv' || name === 'projection')
  log.length = 0
  new Buckets(recorder(log), model.parameters, 1e9).finish()
  t.same(log, [norm, table], 'frozen parameters stay out')
  log.length = 0
  new Buckets({ ...recorder(log), size: 1 }, model.parameters, 1e9).finish()
  t.same(log, [], 'one rank has nothing to sum')
  model.parameters.dispose()
})

t.test('the tape tells when a parameter is final', async (t) => {
  const before = device.memory().tensors
  const model = new ToyModel(device, 1)
  const [w, norm, unused] = ['projection', 'norm', 'qkv'].map((name) => model.parameters.get(name))
  const order: Tensor[] = []
  scope(() => {
    const tape = new Tape()
    const x = Tensor.from(device, new Float32Array(48).fill(0.5), [2, 24])
    const y = tape.run(() => ops.add(ops.linear(x, w!), ops.linear(ops.layerNorm(x, norm!, null, 1e-5).y, w!)))
    t.same(tape.parameters(), new Set([w, norm]))
    t.notOk(tape.parameters().has(unused!))
    const seed = Tensor.from(device, new Float32Array(32).fill(1), [2, 16])
    tape.backward(y, seed, [], (parameter) => order.push(parameter))
  })
  t.same(
    order.map((p) => p === w),
    [false, true],
    'the one used first is final last',
  )
  model.parameters.dispose()
  t.equal(device.memory().tensors, before)
})

t.test('pieces travel while the last micro-batch goes backward', async (t) => {
  const model = new ToyModel(device, 1)
  const batch = { ...toyBatch(1, 4, 1), counts: [4, 0] }
  const log: (string | number)[] = []
  const group = recorder(log)
  const backward = Tape.prototype.backward
  Tape.prototype.backward = function (...args) {
    const result = backward.apply(this, args)
    log.push('backward')
    return result
  }
  t.teardown(() => {
    Tape.prototype.backward = backward
  })
  const value = gradCache(
    model,
    batch,
    ({ queries, documents }) => contrastive(queries, documents, { temperature: 0.1 }),
    { seed: 1, step: 1, microBatchTokens: 30, group, gather: 'none', bucketBytes: 1 },
  )
  const first = log.findIndex((entry) => typeof entry === 'number')
  t.equal(log.filter((entry) => typeof entry === 'number').length, 4)
  t.equal(log.at(-1), 'backward', 'every piece was on its way before the last backward returned')
  t.equal(log.slice(first).filter((entry) => entry === 'backward').length, 1, 'and none before it')
  value.dispose()
  model.parameters.dispose()
})
