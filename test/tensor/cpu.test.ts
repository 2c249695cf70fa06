/** Settings of the CPU: threads, and how far they step back. Process-wide, so a file of their own. */
import { readdirSync, readFileSync } from 'node:fs'
import t from 'tap'
import { setCpu } from '../../lib/index.js'
import { Random } from '../../lib/io/random.js'
import { Device } from '../../lib/tensor/device.js'
import { linear, linearBackward } from '../../lib/tensor/ops.gen.js'
import { add } from '../../lib/tensor/ops.js'
import { scope } from '../../lib/tensor/scope.js'
import { Tensor } from '../../lib/tensor/tensor.js'

const device = Device.open()
const size = 1 << 20
/** An op that all threads take part in. */
async function work() {
  const sum = scope(() => {
    const x = Tensor.from(device, new Float32Array(size).fill(1))
    return add(x, x)
  })
  const data = await sum.data()
  sum.dispose()
  return data
}

/** Nice values of this process's threads: field 19 of their stat, counted behind the name in brackets. */
const niceValues = (): number[] =>
  readdirSync('/proc/self/task').map((thread) =>
    Number(readFileSync(`/proc/self/task/${thread}/stat`, 'utf8').split(') ').at(-1)!.split(' ')[16]),
  )

t.test('threads', async (t) => {
  const before = setCpu()
  t.match(before.isa, /^(portable|avx2|avx512)$/)
  const one = await work()
  t.equal(setCpu({ threads: 3 }).threads, 3)
  t.same(await work(), one, 'the same bits')
  t.equal(setCpu({ threads: before.threads }).threads, before.threads)
})

t.test('a nice value', { skip: process.platform !== 'linux' && 'threads are asked for it in /proc' }, async (t) => {
  const own = Number(readFileSync('/proc/self/stat', 'utf8').split(') ').at(-1)!.split(' ')[16])
  t.equal(setCpu({ threads: 3, nice: 7 + own }).nice, 7 + own)
  // A worker follows when it joins in.
  for (let i = 0; i < 20; i++) await work()
  const found = niceValues().filter((nice) => nice === 7 + own).length
  t.ok(found >= 2, `${found} threads step back, the device's and those of the team`)
  t.equal(
    Number(readFileSync('/proc/self/stat', 'utf8').split(') ').at(-1)!.split(' ')[16]),
    own,
    'JavaScript does not',
  )
})

/** The nearest number of eight bits, ties to even. */
const rounded = (x: number): number => {
  const [float, bits] = [new Float32Array([x]), new Uint32Array(1)]
  bits.set(new Uint32Array(float.buffer))
  bits[0] = (bits[0]! + 0x7fff + ((bits[0]! >>> 16) & 1)) & 0xffff0000
  return new Float32Array(bits.buffer)[0]!
}

const able = (() => {
  try {
    return setCpu({ matmul: 'bfloat16' }).matmul === 'bfloat16'
  } catch (error) {
    t.match(error, { code: 'ERR_UNSUPPORTED', message: /AVX512-BF16/ })
    t.equal(setCpu().matmul, 'float32')
    return false
  } finally {
    setCpu({ matmul: 'float32' })
  }
})()

t.test('products in bfloat16', { skip: !able && 'this processor has no AVX512-BF16' }, async (t) => {
  const seed = 20261130
  t.comment(`seed ${seed}`)
  const random = new Random(seed)
  const [rows, inner, outer] = [37, 301, 45]
  const numbers = (count: number) => Float32Array.from({ length: count }, () => 2 * random.next() - 1)
  const [x, w, dy] = [numbers(rows * inner), numbers(outer * inner), numbers(rows * outer)]
  /** y = x wᵀ, dx = dy w, dw = dyᵀ x, one number after the other; sums by `add`. */
  const products = (of: (v: number) => number, add: (sum: number, v: number) => number) => {
    const sum = (k: number, a: (k: number) => number, b: (k: number) => number) => {
      let total = 0
      for (let i = 0; i < k; i++) total = add(total, of(a(i)) * of(b(i)))
      return total
    }
    const grid = (m: number, n: number, f: (i: number, j: number) => number) =>
      Float64Array.from({ length: m * n }, (_, at) => f(Math.floor(at / n), at % n))
    const [xAt, wAt] = [(r: number, i: number) => x[r * inner + i]!, (o: number, i: number) => w[o * inner + i]!]
    const dyAt = (r: number, o: number) => dy[r * outer + o]!
    return [
      grid(rows, outer, (r, o) =>
        sum(
          inner,
          (i) => xAt(r, i),
          (i) => wAt(o, i),
        ),
      ),
      grid(rows, inner, (r, i) =>
        sum(
          outer,
          (o) => dyAt(r, o),
          (o) => wAt(o, i),
        ),
      ),
      grid(outer, inner, (o, i) =>
        sum(
          rows,
          (r) => dyAt(r, o),
          (r) => xAt(r, i),
        ),
      ),
    ]
  }
  const ours = async () => {
    const [y, dx, dw] = scope(() => {
      const of = (data: Float32Array, ...shape: number[]) => Tensor.from(device, data, shape)
      const [input, weight, gradient] = [of(x, rows, inner), of(w, outer, inner), of(dy, rows, outer)]
      const dw = of(new Float32Array(outer * inner), outer, inner)
      const [dx] = linearBackward(input, weight, gradient, dw, null, { needInput: 1 })
      return [linear(input, weight, null), dx!, dw]
    })
    const found = await Promise.all([y!, dx!, dw!].map((tensor) => tensor.values()))
    for (const tensor of [y!, dx!, dw!]) tensor.dispose()
    return found
  }
  const off = (found: ArrayLike<number>, exact: Float64Array) =>
    Math.max(...exact.map((value, i) => Math.abs(value - found[i]!)))
  const exact = products(
    (v) => v,
    (sum, v) => sum + v,
  )
  const naive = products(rounded, (sum, v) => Math.fround(sum + v))
  const before = await ours()
  t.equal(setCpu({ matmul: 'bfloat16' }).matmul, 'bfloat16')
  const narrow = await ours()
  t.same(setCpu({ threads: 3 }) && (await ours()), narrow, 'the same bits on any number of threads')
  setCpu({ matmul: 'float32' })
  t.same(await ours(), before, 'and back')
  for (const [i, name] of ['y', 'dx', 'dw'].entries()) {
    const [error, limit] = [off(narrow[i]!, exact[i]!), off(naive[i]!, exact[i]!)]
    t.ok(error <= 2 * limit, `${name}: ${error}, naive ${limit}`)
    t.ok(error > 10 * off(before[i]!, exact[i]!), `${name} was rounded`)
  }
})

t.test('what it refuses', async (t) => {
  for (const bad of [
    { threads: 0 },
    { threads: 1.5 },
    { nice: 20 },
    { nice: -1 },
    { thread: 1 },
    { matmul: 'float16' },
  ])
    t.throws(() => setCpu(bad as object), { code: 'ERR_ARGUMENT' }, JSON.stringify(bad))
})
