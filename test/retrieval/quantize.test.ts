/** Embeddings in float16 and int8: what they become, and that searching them scores the numbers they stand for. */
import t from 'tap'
import { toHalf } from '../../lib/io/numbers.js'
import { DeviceEmbeddings, type Embeddings, maxsim, quantizeEmbeddings, type Role } from '../../lib/retrieval/maxsim.js'
import { search } from '../../lib/retrieval/search.js'
import { Device } from '../../lib/tensor/device.js'
import { cast } from '../../lib/tensor/ops.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { Random } from '../random.js'
import { seed } from '../seed.js'

const draws = new Random(seed)
const [normal, random] = [() => draws.normal(), () => draws.next()]
const dim = 24

function vectors<R extends Role>(lengths: readonly number[], role: R): Embeddings<R> {
  const offsets = [0]
  for (const length of lengths) offsets.push(offsets.at(-1)! + length)
  const rows = offsets.at(-1)!
  const data = Float32Array.from({ length: rows * dim }, normal)
  for (let row = 0; row < rows; row++) {
    const own = data.subarray(row * dim, (row + 1) * dim)
    const norm = Math.hypot(...own)
    for (const [k, x] of own.entries()) own[k] = x / norm
  }
  return { data, offsets, dim, role }
}
const queries = vectors([3, 1, 0, 17], 'query')
const documents = vectors([9, 0, 1, 40, 5], 'document')

t.test('float16 on the host is the cast on the device', async (t) => {
  const all = Float32Array.from({ length: 1 << 16 }, (_, i) => {
    const bits = new Uint32Array([(random() * 2 ** 32) >>> 0])
    return i % 2 === 0 ? new Float32Array(bits.buffer)[0]! : normal() * 2 ** Math.floor(40 * random() - 30)
  })
  const special = [
    0,
    -0,
    65504,
    65519.99,
    65520,
    Number.POSITIVE_INFINITY,
    Number.NaN,
    2 ** -24,
    2 ** -25,
    1.5 * 2 ** -25,
  ]
  all.set([...special, ...special.map((x) => -x), 1 + 2 ** -11, 1 + 3 * 2 ** -11, 2 ** -14 - 2 ** -26])
  const made = new Uint16Array(all.length)
  toHalf(all, made)
  const device = Device.open()
  const x = Tensor.from(device, all)
  const y = cast(x, 'float16')
  const isNan = (half: number): boolean => (half & 0x7fff) > 0x7c00
  const theirs = (await y.data()) as Uint16Array
  const wrong = made.findIndex((half, i) => half !== theirs[i] && !(isNan(half) && isNan(theirs[i]!)))
  t.equal(wrong, -1, `${all[wrong]} became ${made[wrong]}, not ${theirs[wrong]}`)
  x.dispose()
  y.dispose()
})

t.test('int8 keeps every number within half a step of its token', async (t) => {
  const { data, scales } = await quantizeEmbeddings(documents, 'int8')
  t.equal(scales!.length, 55)
  for (let i = 0; i < data.length; i++) {
    const scale = scales![Math.floor(i / dim)]!
    t.ok(Math.abs(data[i]! * scale - documents.data[i]!) <= 0.5001 * scale, `number ${i}`)
  }
  const zeros = await quantizeEmbeddings({ data: new Float32Array(16), offsets: [0, 2], dim: 8 }, 'int8')
  t.same([[...zeros.data], [...zeros.scales!]], [new Array(16).fill(0), [0, 0]])
  const same = await quantizeEmbeddings(zeros, 'int8')
  t.equal(same.data, zeros.data, 'what is int8 stays')
})

t.test('scores are those of the numbers that stored ones stand for', async (t) => {
  const device = Device.open()
  await device.synchronize()
  const before = device.memory()
  const pairs = [0, 0, 3, 3, 2, 1, 1, 4]
  for (const type of ['float16', 'int8'] as const) {
    const stored = await quantizeEmbeddings(documents, type)
    const exact = await maxsim(queries, documents)
    for (const on of ['cpu', 'cuda-host']) {
      const scores = await maxsim(queries, stored, { device: on })
      t.ok(
        scores.every((score, i) => Math.abs(score - exact[i]!) < (type === 'int8' ? 0.05 : 0.01)),
        `${type}, ${on}`,
      )
      if (type === 'int8') {
        const widened = Float32Array.from(stored.data, (n, i) => n * stored.scales![Math.floor(i / dim)]!)
        const want = await maxsim(queries, { ...documents, data: widened }, { device: on })
        // The CPU rounds numbers of a query token to 2^-16 of the largest; these are unit vectors, 17 of them.
        const off = Math.max(...scores.map((score, i) => Math.abs(score - want[i]!)))
        t.ok(off < (on === 'cpu' ? 1e-4 : 1e-5), `${on}: of what int8 stands for, off by ${off}`)
        t.same(await maxsim(queries, stored, { device: on, dtype: 'float32' }), want, 'widened on the host')
      }
      using resident = await DeviceEmbeddings.upload(stored, { device: on })
      t.equal(resident.dtype, type)
      t.same(await maxsim(queries, resident), scores, `${type} on ${on}, resident`)
      for (const layout of [
        { layout: 'pairs', pairs },
        { layout: 'grouped', pairs: [0, 1, 1, 4, 5] },
      ] as const) {
        const some = await maxsim(queries, resident, layout)
        t.same(some, await maxsim(queries, stored, { device: on, ...layout }), layout.layout)
        if (layout.layout === 'pairs')
          t.same(
            [...some],
            [0, 18, 11, 9].map((at) => scores[at]),
          )
      }
    }
    const [first] = await search(device, queries, stored, { topK: 2 })
    const row = [...exact.slice(0, 5)]
    t.equal(first![0]!.index, row.indexOf(Math.max(...row)))
  }
  await device.synchronize()
  t.same([device.memory().tensors, device.memory().bytes], [before.tensors, before.bytes], 'memory is given back')
})

t.test('a stream may change its type', async (t) => {
  const [half, eight] = [await quantizeEmbeddings(documents, 'float16'), await quantizeEmbeddings(documents, 'int8')]
  async function* parts() {
    for (const part of [documents, half, eight, eight, documents]) yield part
  }
  const hits = await search(Device.open(), queries, parts(), { topK: 25 })
  const exact = await maxsim(queries, documents)
  for (const [q, list] of hits.entries()) {
    t.equal(list.length, 25)
    for (const { index, score } of list) t.ok(Math.abs(score - exact[q * 5 + (index % 5)]!) < 0.05)
  }
})

t.test('bad input', async (t) => {
  const eight = await quantizeEmbeddings(documents, 'int8')
  const half = await quantizeEmbeddings(documents, 'float16')
  const { scales: _, ...bare } = eight
  await t.rejects(maxsim(queries, bare), { code: 'ERR_ARGUMENT', message: /scales/ })
  await t.rejects(maxsim(queries, { ...documents, scales: eight.scales! }), { code: 'ERR_ARGUMENT', message: /int8/ })
  await t.rejects(maxsim(queries, { ...eight, scales: eight.scales!.subarray(1) }), { code: 'ERR_SHAPE' })
  await t.rejects(maxsim(queries, half, { dtype: 'int8' as never }), { code: 'ERR_ARGUMENT', message: /dtype/ })
  await t.rejects(quantizeEmbeddings(half, 'int8'), { code: 'ERR_ARGUMENT' })
  await t.rejects(quantizeEmbeddings(documents, 'int4' as never), { code: 'ERR_ARGUMENT' })
  const wrong = { ...documents, data: documents.data.slice() }
  wrong.data[5 * dim + 3] = Number.NaN
  await t.rejects(quantizeEmbeddings(wrong, 'int8'), { code: 'ERR_DATA', message: /token 5/ })
  wrong.data[5 * dim + 3] = Number.POSITIVE_INFINITY
  await t.rejects(quantizeEmbeddings(wrong, 'int8'), { code: 'ERR_DATA', message: /token 5/ })
})
