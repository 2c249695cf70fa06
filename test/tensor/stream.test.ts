/** The laws of the runtime: streams, errors, scopes, handles, memory. */
import { spawnSync } from 'node:child_process'
import t from 'tap'
import { Device, ops, raw, Scope, Segments, scope, Tape, Tensor } from '../../lib/tensor/index.js'

for (const name of ['cpu', 'cpu-f64', 'cuda-host']) {
  t.test(name, async (t) => {
    const device = Device.open(name)
    const start = device.memory()

    await t.test('ops return at once and reads see everything issued before', async (t) => {
      const out = scope(() => {
        let x = Tensor.from(device, new Float32Array(64 * 64).fill(1 / 64), [64, 64])
        const w = Tensor.from(device, new Float32Array(64 * 64).fill(1 / 64), [64, 64])
        for (let i = 0; i < 200; i++) x = raw.linear(x, w, null)
        return x
      })
      const values = await out.values()
      t.ok(values.every((v) => Math.abs(v - 1 / 64) < 1e-6))
      out.dispose()
    })

    await t.test('an execution error is reported by every read until synchronize, naming the op', async (t) => {
      using x = Tensor.from(device, [1, Number.NaN, 3])
      using y = Tensor.from(device, [1, 2, 3])
      raw.assertFinite(y)
      t.same([...(await y.values())], [1, 2, 3])
      raw.assertFinite(x)
      raw.zero(y) // skipped
      await t.rejects(y.data(), { code: 'ERR_DEVICE', message: /assertFinite/ })
      await t.rejects(device.event(), { message: /assertFinite/ })
      await t.rejects(device.synchronize(), { message: /assertFinite/ })
      t.same([...(await y.values())], [1, 2, 3], 'the op after the error did not run, and the stream works again')
    })

    await t.test('a stale handle throws and names the op', async (t) => {
      const x = Tensor.from(device, [1, 2])
      const again = Tensor.from(device, [3, 4])
      x.dispose()
      x.dispose()
      t.throws(() => raw.add(x, again), { code: 'ERR_DISPOSED', message: /add/ })
      t.throws(() => x.data(), { code: 'ERR_DISPOSED' })
      again.dispose()
    })

    await t.test('shapes, types and index ranges are checked before anything is queued', async (t) => {
      using scoped = new Scope()
      scoped.run(() => {
        const x = Tensor.from(device, new Float32Array(6), [2, 3])
        const w = Tensor.from(device, new Float32Array(8), [2, 4])
        t.throws(() => raw.linear(x, w, null), { code: 'ERR_SHAPE', message: /linear.*\[2, 3\].*\[2, 4\]/ })
        const ids = Tensor.fromInt32(device, Int32Array.from([0, 2]))
        t.throws(() => raw.embedding(x, ids), { code: 'ERR_ARGUMENT', message: /\[0, 2\].*\[0, 2\)/ })
        t.throws(() => raw.embedding(x, x), { code: 'ERR_DTYPE' })
        t.throws(() => ops.gatherRows(x, Tensor.fromInt32(device, Int32Array.from([1, 0]))), { code: 'ERR_ARGUMENT' })
        t.throws(() => Segments.of(device, [0, -1]), { code: 'ERR_ARGUMENT' })
        const short = Segments.of(device, [0, 1])
        t.throws(() => raw.poolRows(x, short, { kind: 0 }), { code: 'ERR_SHAPE' })
        t.throws(() => Tensor.from(device, [1, 2], [3]), { code: 'ERR_SHAPE' })
        t.throws(() => x.rows(1, 3), { code: 'ERR_ARGUMENT' })
        t.throws(() => x.view(4, [3]), { code: 'ERR_SHAPE' })
      })
    })

    await t.test('scopes free what they made, also when they throw, and keep what they return', async (t) => {
      const before = device.memory().tensors
      const { kept, list } = scope(() => {
        Tensor.from(device, [1])
        const inner = scope(() => ({ a: Tensor.from(device, [2]), b: Tensor.from(device, [3]) }))
        return { kept: inner.a, list: [Tensor.from(device, [4])] }
      })
      t.equal(device.memory().tensors, before + 2)
      t.equal(await kept.value(), 2)
      kept.dispose()
      list[0]!.dispose()
      t.throws(() =>
        scope(() => {
          Tensor.from(device, [1])
          throw new Error('on purpose')
        }),
      )
      t.equal(device.memory().tensors, before)
      t.throws(() => scope(async () => 1), { code: 'ERR_ARGUMENT' })
    })

    await t.test('views share memory and outlive what they came from', async (t) => {
      const x = Tensor.from(device, [1, 2, 3, 4, 5, 6], [3, 2])
      const row = x.rows(1, 2)
      x.dispose()
      t.same([...(await row.values())], [3, 4])
      row.dispose()
    })

    await t.test(
      'the memory limit throws a typed error that names the largest tensors, and nothing is lost',
      async (t) => {
        const limit = device.memory().limit
        const big = Tensor.empty(device, [1 << 20])
        device.setMemoryLimit(device.memory().bytes + (1 << 20))
        t.throws(() => Tensor.empty(device, [1 << 20]), { code: 'ERR_OUT_OF_MEMORY', message: /Largest tensors/ })
        device.setMemoryLimit(limit)
        Tensor.empty(device, [1 << 20]).dispose()
        big.dispose()
      },
    )

    await t.test('a tape refuses to cut off a gradient in silence', async (t) => {
      scope(() => {
        const x = Tensor.from(device, [1, 2], [1, 2])
        x.requiresGradient = true
        const tape = new Tape()
        t.throws(() => tape.run(() => raw.scale(x, null, { by: 2 })), { code: 'ERR_UNSUPPORTED', message: /scale/ })
      })
    })

    await t.test('two tapes interleave', async (t) => {
      const result = scope(() => {
        const x = Tensor.from(device, [3], [1, 1])
        const z = Tensor.from(device, [5], [1, 1])
        x.requiresGradient = z.requiresGradient = true
        const [one, two] = [new Tape(), new Tape()]
        const a = one.run(() => ops.scale(x, 2))
        const b = two.run(() => ops.scale(z, 7))
        const c = one.run(() => ops.add(a, x))
        const [dz] = two.backward(b, undefined, [z])
        const [dx] = one.backward(c, undefined, [x])
        return [dx!, dz!]
      })
      t.same([await result[0]!.value(), await result[1]!.value()], [3, 7])
      for (const r of result) r.dispose()
    })

    const end = device.memory()
    t.equal(end.tensors, start.tensors, 'as many tensors as at the start')
    t.equal(end.bytes, start.bytes, 'as many bytes as at the start')
  })
}

t.test('the event loop keeps ticking while the device works', async (t) => {
  const device = Device.open('cpu')
  const results: Tensor[] = scope(() => {
    const x = Tensor.from(device, new Float32Array(1024 * 1024).fill(0.001), [1024, 1024])
    return Array.from({ length: 8 }, () => raw.linear(x, x, null))
  })
  let ticks = 0
  const timer = setInterval(() => ticks++, 1)
  await device.event()
  clearInterval(timer)
  t.ok(ticks > 0, `${ticks} timer ticks during the work`)
  for (const r of results) r.dispose()
})

t.test('a tensor that nobody disposes of is freed with a warning when it is collected', async (t) => {
  const script = `
    import { Device, scope, Tensor } from '${new URL('../../lib/tensor/index.js', import.meta.url)}'
    const device = Device.open('cpu')
    const kept = Tensor.from(device, [1])
    ;(() => { Tensor.from(device, [2, 3]); scope(() => { Tensor.from(device, [4]) }) })()
    process.on('warning', (w) => console.log(w.name + ' ' + w.message))
    for (let i = 0; i < 20 && device.memory().tensors > 1; i++) { gc(); await new Promise((r) => setTimeout(r, 10)) }
    console.log('left ' + device.memory().tensors + ' ' + kept.disposed)
  `
  const { stdout } = spawnSync(process.execPath, ['--expose-gc', '--input-type=module', '-e', script], {
    encoding: 'utf8',
  })
  t.match(stdout, /LateforgeLeak a float32 tensor of shape \[2\] was .*dispose/)
  t.match(stdout, /left 1 false/)
})

t.test(
  'processes end cleanly: at the end, by exit in the middle of work, by an uncaught throw, with workers',
  async (t) => {
    const url = new URL('../../lib/tensor/index.js', import.meta.url)
    const start = `
    import { Device, raw, Tensor } from '${url}'
    const x = Tensor.from(Device.open('cpu'), new Float32Array(1 << 20).fill(1), [1024, 1024])
    for (let i = 0; i < 20; i++) raw.linear(x, x, null)
  `
    const worker = `
    import { Worker } from 'node:worker_threads'
    const code = ${JSON.stringify(start)} + "x.data().then(() => process.exit(0))"
    const w = [1, 2].map(() => new Worker(new URL('data:text/javascript,' + encodeURIComponent(code))))
    let left = 2
    for (const one of w) one.on('exit', () => { if (--left === 0) console.log('workers done') })
    setTimeout(() => w[1].terminate(), 20)
  `
    const run = (code: string) => {
      const result = spawnSync(process.execPath, ['--input-type=module', '-e', code], {
        encoding: 'utf8',
        timeout: 60_000,
      })
      return { status: result.status, signal: result.signal, stdout: result.stdout }
    }
    t.match(run(start), { status: 0, signal: null })
    t.match(run(`${start}; process.exit(3)`), { status: 3, signal: null })
    t.match(run(`${start}; throw new Error('on purpose')`), { status: 1, signal: null })
    t.match(run(worker), { status: 0, signal: null, stdout: /workers done/ })
  },
)
