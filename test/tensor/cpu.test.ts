/** Settings of the CPU: threads, and how far they step back. Process-wide, so a file of their own. */
import { readdirSync, readFileSync } from 'node:fs'
import t from 'tap'
import { setCpu } from '../../lib/index.js'
import { Device } from '../../lib/tensor/device.js'
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

t.test('what it refuses', async (t) => {
  for (const bad of [{ threads: 0 }, { threads: 1.5 }, { nice: 20 }, { nice: -1 }, { thread: 1 }])
    t.throws(() => setCpu(bad as object), { code: 'ERR_ARGUMENT' }, JSON.stringify(bad))
})
