import t from 'tap'
import type { Embeddings, Role } from '../../lib/retrieval/embeddings.js'
import { DeviceEmbeddings, maxsim, maxsimSync, scoreBlocks } from '../../lib/retrieval/maxsim.js'
import { search } from '../../lib/retrieval/search.js'
import { Best } from '../../lib/retrieval/top-k.js'
import { Device } from '../../lib/tensor/device.js'
import { defaultRecipe } from '../../lib/text/recipe.js'
import { Random } from '../random.js'
import { seed } from '../seed.js'

const dim = 16
const draws = new Random(seed)
const random = () => draws.next()

/** Random token vectors of texts of these lengths. */
function vectors(lengths: number[]) {
  const offsets = new Float64Array(lengths.length + 1)
  for (const [i, n] of lengths.entries()) offsets[i + 1] = offsets[i]! + n
  return { data: Float32Array.from({ length: offsets.at(-1)! * dim }, () => random() - 0.5), offsets, dim }
}

type Side = ReturnType<typeof vectors>

/** The definition, in double precision. */
function score(q: Side, i: number, d: Side, j: number, clampNegatives = false): number {
  let sum = 0
  if (d.offsets[j] === d.offsets[j + 1]) return 0
  for (let a = q.offsets[i]!; a < q.offsets[i + 1]!; a++) {
    let best = clampNegatives ? 0 : Number.NEGATIVE_INFINITY
    for (let b = d.offsets[j]!; b < d.offsets[j + 1]!; b++) {
      let dot = 0
      for (let k = 0; k < dim; k++) dot += q.data[a * dim + k]! * d.data[b * dim + k]!
      best = Math.max(best, dot)
    }
    sum += best
  }
  return sum
}

const lengths = (n: number, most: number) => Array.from({ length: n }, () => 1 + Math.floor(random() * most))
const close = (a: Float32Array, b: number[]) => a.length === b.length && a.every((x, i) => Math.abs(x - b[i]!) < 1e-4)

t.test('all pairs, groups and pairs are the definition', async (t) => {
  const q = vectors(lengths(5, 9))
  const d = vectors([...lengths(6, 30), 0, 3])
  const all = (floor: boolean) =>
    Array.from({ length: 5 }, (_, i) => Array.from({ length: 8 }, (_, j) => score(q, i, d, j, floor))).flat()
  t.ok(close(await maxsim(q, d), all(false)))
  t.ok(close(await maxsim(q, d, { layout: 'all', clampNegatives: true }), all(true)))
  t.ok(
    close(
      await maxsim(q, d, { layout: 'grouped', pairs: [0, 2, 2, 5, 7, 8] }),
      [0, 0, 2, 2, 2, 3, 3, 4].map((i, j) => score(q, i, d, j)),
    ),
  )
  const pairs = [4, 0, 0, 7, 2, 2, 4, 0]
  const expected = [0, 1, 2, 3].map((n) => score(q, pairs[2 * n]!, d, pairs[2 * n + 1]!))
  t.ok(close(await maxsim(q, d, { layout: 'pairs', pairs }), expected))
  t.equal((await maxsim(q, vectors([]))).length, 0)
  t.equal((await maxsim(vectors([]), d)).length, 0)
})

t.test('blocks do not show', async (t) => {
  const device = Device.open()
  await device.synchronize()
  const before = device.memory()
  const q = vectors(lengths(300, 60)) // several blocks of queries
  const d = vectors([...Array(5).fill(30000), 7, 1]) // and of documents
  const scores = await maxsim(q, d)
  const near = (i: number, j: number) => Math.abs(scores[i * 7 + j]! - score(q, i, d, j)) < 1e-3
  for (let n = 0; n < 12; n++) t.ok(near(Math.floor(random() * 300), n % 7))
  const abort = AbortSignal.abort()
  await t.rejects(maxsim(q, d, { signal: abort }), { code: 'ERR_ABORTED' })
  await device.synchronize()
  t.same(device.memory().bytes, before.bytes, 'memory is given back')
})

t.test('bad input', async (t) => {
  const [q, d] = [vectors([2, 3]), vectors([4])]
  for (const [call, code] of [
    [() => maxsim({ ...q, dim: 0 }, { ...d, dim: 0 }), 'ERR_ARGUMENT'],
    [() => maxsim({ ...q, dim: 32 }, { ...d, dim: 32 }), 'ERR_SHAPE'],
    [() => maxsim(q, { ...d, dim: 32 }), 'ERR_ARGUMENT'],
    [() => maxsim(q, null as never), 'ERR_ARGUMENT'],
    [() => maxsim(q, d, { layout: 'some' as never }), 'ERR_ARGUMENT'],
    [() => maxsim(q, d, { layout: 'pairs' }), 'ERR_ARGUMENT'],
    [() => maxsim(q, d, { pairs: [0, 0] }), 'ERR_ARGUMENT'],
    [() => maxsim(q, d, { layout: 'pairs', pairs: [0, 1] }), 'ERR_ARGUMENT'],
    [() => maxsim(q, d, { layout: 'grouped', pairs: [0, 1] }), 'ERR_SHAPE'],
    [() => maxsim({ ...q, offsets: [0, 3, 2, 5] }, d), 'ERR_SHAPE'],
    [() => maxsim({ ...q, offsets: [1, 5] }, d), 'ERR_SHAPE'],
    [() => maxsim({ ...q, offsets: [] }, d), 'ERR_SHAPE'],
    [() => maxsim({ ...q, offsets: [0, 2.5, 5] }, d), 'ERR_SHAPE'],
    [() => maxsim({ ...q, data: [...q.data] as never }, d), 'ERR_ARGUMENT'],
  ] as const)
    await t.rejects(call(), { code }, String(call))
})

t.test('search: best first, ties by lowest index, typed errors', async (t) => {
  const device = Device.open()
  const of = <R extends Role>(role: R, side: Side, recipe = defaultRecipe()): Embeddings<R> => ({
    role,
    ...side,
    recipe,
  })
  const [q, d] = [vectors(lengths(4, 8)), vectors(lengths(50, 20))]
  const [queries, documents] = [of('query', q), of('document', d)]
  const ids = Array.from({ length: 50 }, (_, i) => `d${i}`)
  const hits = await search(device, queries, { ...documents, ids })
  for (const [i, list] of hits.entries()) {
    const expected = Array.from({ length: 50 }, (_, j) => ({ j, s: score(q, i, d, j) })).sort((a, b) => b.s - a.s)
    t.same(
      list.map((hit) => hit.index),
      expected.slice(0, 10).map(({ j }) => j),
      'ten, best first',
    )
    t.ok(list.every((hit) => hit.id === `d${hit.index}`))
  }
  using resident = await DeviceEmbeddings.upload({ ...documents, ids }, { device })
  t.same(await search(device, queries, resident), hits, 'documents on the device')
  const twice = vectors([3, 3, 3])
  twice.data.copyWithin(3 * dim, 0, 3 * dim)
  twice.data.copyWithin(6 * dim, 0, 3 * dim)
  t.same(
    (await search(device, queries, of('document', twice), { topK: 2 }))[0]!.map((h) => h.index),
    [0, 1],
    'ties',
  )
  t.equal((await search(device, queries, of('document', vectors([4])), { topK: 9 }))[0]!.length, 1)
  t.same(await search(device, queries, of('document', vectors([]))), [[], [], [], []])
  const swapped = search(device, documents as never, queries as never)
  await t.rejects(swapped, { code: 'ERR_ARGUMENT', message: /swapped/ })
  await t.rejects(search(device, queries, undefined as never), { code: 'ERR_ARGUMENT' })
  await t.rejects(search(device, queries, of('document', d, defaultRecipe({ queryPrefix: '' }))), {
    code: 'ERR_RECIPE',
  })
  await t.rejects(search(device, queries, { ...documents, dim: 8 }), { code: 'ERR_ARGUMENT' })
  await t.rejects(search(device, queries, documents, { topK: 0 }), { code: 'ERR_ARGUMENT' })
  const broken = { ...documents, data: documents.data.map((x, i) => (i === 0 ? Number.NaN : x)) }
  await t.rejects(search(device, queries, broken), { code: 'ERR_DATA', message: /document 0 is NaN/ })
})

t.test('texts of one token: the block of scores stays small', async (t) => {
  const device = Device.open()
  const [few, many] = [2500, 20_000]
  const ones = (n: number) => ({
    data: new Float32Array(8 * n).fill(0.5),
    offsets: Float64Array.from({ length: n + 1 }, (_, i) => i),
    dim: 8,
  })
  await device.synchronize()
  const before = device.memory().bytes
  device.resetPeak()
  let scores = 0
  for await (const block of scoreBlocks(ones(few), ones(many), { device, type: 'float32' })) {
    scores += block.scores.length
    if (!block.scores.every((s) => s === 2)) t.fail('a wrong score')
  }
  t.equal(scores, few * many)
  t.ok(device.memory().peak - before < 2 ** 27, 'two blocks of 32 MiB at most, and the tokens')
})

/** Bits of the nearest float16, of numbers that have one exactly or are below 1. */
function halves(data: Float32Array): Uint16Array {
  return Uint16Array.from(data, (x) => {
    if (x === 0) return 0
    const exponent = Math.max(-14, Math.floor(Math.log2(Math.abs(x))))
    const fraction = Math.round((Math.abs(x) / 2 ** exponent) * 1024)
    const bits = fraction < 1024 ? fraction : (exponent + 15) * 1024 + fraction - 1024
    return bits | (x < 0 ? 0x8000 : 0)
  })
}

t.test('at once, in place: the same scores, on memory of any alignment', async (t) => {
  const q = vectors(lengths(7, 40))
  const d = vectors([...lengths(9, 300), 0])
  const pairs = [6, 9, 0, 0, 2, 8]
  const layoutsOf = [{}, { clampNegatives: true }, { layout: 'pairs', pairs }] as const
  const groups = { layout: 'grouped', pairs: [0, 1, 1, 3, 5, 6, 9, 10] } as const
  for (const layout of [...layoutsOf, groups]) {
    const want = await maxsim(q, d, { ...layout })
    t.same(maxsimSync(q, d, { ...layout }), want)
    for (const device of ['cpu', Device.open('cpu')])
      t.same(await maxsim(q, d, { device, ...layout }), want, 'a device, or its name')
    const moved = (side: Side): Side => {
      const shared = new Float32Array(new SharedArrayBuffer(4 * side.data.length + 4), 4)
      shared.set(side.data)
      return { ...side, data: shared as never }
    }
    t.same(maxsimSync(moved(q), moved(d), { ...layout }), want, 'shared memory, four bytes off')
  }
  await t.rejects(maxsim(q, d, { device: 'gpu' }), { code: 'ERR_DEVICE' })
  t.equal(maxsimSync(q, vectors([])).length, 0)
  const twelve = { data: new Float32Array(12), offsets: [0, 1], dim: 12 } // no multiple of 8
  for (const [call, code] of [
    [() => maxsimSync({ ...q, dim: 32 }, { ...d, dim: 32 }), 'ERR_SHAPE'],
    [() => maxsimSync(twelve, twelve), 'ERR_SHAPE'],
    [() => maxsimSync(q, d, { layout: 'pairs', pairs: [0, 10] }), 'ERR_ARGUMENT'],
    [() => maxsimSync(q, d, { layout: 'grouped', pairs: [0, 10] }), 'ERR_SHAPE'],
    [() => maxsimSync({ ...q, data: halves(q.data) } as never, d), 'ERR_ARGUMENT'],
    [() => maxsimSync(q, d, { device: Device.open() } as never), 'ERR_ARGUMENT'],
  ] as const)
    t.throws(call, { code }, String(call))
})

t.test('float16 arrays, and documents that stay on the device', async (t) => {
  const q = vectors(lengths(5, 20))
  const d = vectors([...lengths(11, 60), 0])
  for (const side of [q, d]) side.data = side.data.map((x) => Math.round(x * 512) / 512) // exact in float16
  const half = { q: { ...q, data: halves(q.data) }, d: { ...d, data: halves(d.data) } }
  const want = await maxsim(q, d)
  for (const name of ['cpu', 'cuda-host']) {
    const device = Device.open(name)
    const before = device.memory()
    const near = (got: Float32Array) => got.every((s, i) => Math.abs(s - want[i]!) < 1e-4)
    t.ok(near(await maxsim(half.q, half.d, { device })), `${name}: both sides`)
    t.ok(near(await maxsim(q, half.d, { device })), 'one side')
    for (const vectors of [d, half.d]) {
      using resident = await DeviceEmbeddings.upload(vectors, { device })
      t.equal(resident.dtype, vectors === d ? 'float32' : 'float16')
      t.ok(near(await maxsim(q, resident)), `${name}: resident ${resident.dtype}`)
      t.ok(near(await maxsim(q, resident)), 'again')
      const groups = { layout: 'grouped', pairs: [0, 2, 2, 5, 7, 12] } as const
      t.same(await maxsim(q, resident, { ...groups }), await maxsim(q, vectors, { device, ...groups }))
      await t.rejects(maxsim({ ...q, dim: 8 }, resident), { code: 'ERR_ARGUMENT' })
      const other = Device.open(name === 'cpu' ? 'cpu-f64' : 'cpu')
      await t.rejects(maxsim(q, resident, { device: other }), {
        code: 'ERR_ARGUMENT',
        message: /documents are on/,
      })
    }
    await device.synchronize()
    t.same([device.memory().tensors, device.memory().bytes], [before.tensors, before.bytes], 'memory is given back')
  }
  const queries = { ...q, role: 'query' } as const
  async function* parts() {
    for (const { data, offsets, dim } of [half.d, d, d, half.d, half.d])
      yield { data, offsets, dim, role: 'document' } as const
  }
  const hits = await search(Device.open(), queries, parts(), { topK: 1000 })
  for (const [i, list] of hits.entries())
    for (const { index, score } of list)
      t.ok(Math.abs(score - want[i * 12 + (index % 12)]!) < 1e-4, 'a stream of both types')
  t.equal(hits[0]!.length, 60)
  t.same(await maxsim(q, d, { dtype: 'float16' }), want, 'a CPU multiplies what they stand for')
  const device = Device.open()
  await t.rejects(DeviceEmbeddings.upload({ ...d, dim: 32 }, { device }), { code: 'ERR_SHAPE' })
  const signal = AbortSignal.abort()
  await t.rejects(DeviceEmbeddings.upload(d, { device, signal }), { code: 'ERR_ABORTED' })
})

t.test('the selection keeps what sorting would', async (t) => {
  for (let round = 0; round < 50; round++) {
    const scores = Array.from({ length: 40 }, () => Math.floor(random() * 12))
    const best = new Best(1 + (round % 15))
    for (const [i, s] of scores.entries()) best.offer(i, s)
    const sorted = scores
      .map((score, index) => ({ index, score }))
      .sort((a, b) => b.score - a.score || a.index - b.index)
    t.same(best.sorted(), sorted.slice(0, 1 + (round % 15)))
  }
})
