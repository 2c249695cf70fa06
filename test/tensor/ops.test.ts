/**
 * Every op: gradients against central differences in float64; float32 against float64; the CUDA kernels, run on the
 * host, against float64. All through one boundary.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { native } from '../../lib/native.js'
import { Device } from '../../lib/tensor/index.js'
import { Random } from '../random.js'
import { seed } from '../seed.js'
import { cases, coveredElsewhere } from './cases.js'
import { evaluate, inputsOf, rounded } from './evaluate.js'
import { cudaDevices } from './gpu.js'

t.test('every op of the list has a case', async (t) => {
  const covered = new Set([...cases.flatMap((c) => c.covers), ...Object.keys(coveredElsewhere)])
  const names = native()
    .opList()
    .map((op) => op.name)
  t.same(
    names.filter((n) => !covered.has(n)),
    [],
  )
  t.same(
    [...covered].filter((n) => !names.includes(n)),
    [],
    'no case names an op that is gone',
  )
  for (const [op, file] of Object.entries(coveredElsewhere))
    t.match(readFileSync(join('test', file), 'utf8'), new RegExp(`(raw\\.|Op::)${op}\\b`), `${file} calls ${op}`)
})

for (const c of cases)
  t.test(c.name, async (t) => {
    const exact = Device.open('cpu-f64')
    const before = [exact.memory().tensors, Device.open('cpu').memory().tensors]
    const random = new Random(seed)
    const values = inputsOf(c, random)
    const reference = await evaluate(c, exact, values, seed, true)
    t.ok(Number.isFinite(reference.value), 'finite')

    const h = c.step ?? 1e-5
    for (const [index, [name, data]] of Object.entries(values).entries()) {
      for (let trial = 0; trial < Math.min(data.length, 12); trial++) {
        const at = random.integer(data.length)
        const kept = data[at]!
        data[at] = kept + h
        const above = (await evaluate(c, exact, values, seed, false)).value
        data[at] = kept - h
        const below = (await evaluate(c, exact, values, seed, false)).value
        data[at] = kept
        const numeric = (above - below) / (2 * h)
        const analytic = reference.gradients![index]![at]!
        const tolerance = 1e-6 * (1 + Math.abs(numeric)) + 2e-10 / h
        if (Math.abs(numeric - analytic) > tolerance)
          t.fail(`d/d${name}[${at}]: ${analytic}, difference quotient ${numeric}`)
      }
    }

    const single = await evaluate(c, Device.open('cpu'), values, seed, true)
    close(t, single.y, reference.y, 'output')
    for (const [i, g] of single.gradients!.entries()) close(t, g, reference.gradients![i]!, `gradient ${i}`)
    const again = await evaluate(c, Device.open('cpu'), values, seed, true)
    t.same(again.gradients, single.gradients, 'the same bits again')
    t.same([exact.memory().tensors, Device.open('cpu').memory().tensors], before, 'nothing leaks')

    for (const device of cudaDevices()) {
      const first = await evaluate(c, device, values, seed, true)
      close(t, first.y, reference.y, `${device.name} output`)
      for (const [i, g] of first.gradients!.entries())
        close(t, g, reference.gradients![i]!, `${device.name} gradient ${i}`)
      const shuffled = await evaluate(c, device, values, seed, true)
      t.same(shuffled.y, first.y, `${device.name}: the same bits in another order of lanes, warps and blocks`)
      t.same(shuffled.gradients, first.gradients, `${device.name}: the same gradient bits`)

      const coarse = rounded(values)
      const want = await evaluate(c, exact, coarse, seed, true)
      const got = await evaluate(c, device, coarse, seed, true, 'bfloat16')
      close(t, got.y, want.y, `${device.name} output in bfloat16`, 1e-2)
      for (const [i, g] of got.gradients!.entries())
        close(t, g, want.gradients![i]!, `${device.name} gradient ${i} in bfloat16`, 1e-2)
      t.equal(device.memory().tensors, 0, 'nothing leaks')
    }
  })

function close(t: Test, got: ArrayLike<number>, want: ArrayLike<number>, what: string, relative = 2e-6): void {
  let difference = 0
  let norm = 0
  for (let i = 0; i < want.length; i++) {
    difference += (got[i]! - want[i]!) ** 2
    norm += want[i]! ** 2
  }
  t.equal(got.length, want.length)
  t.ok(
    Math.sqrt(difference) <= relative * Math.sqrt(norm) + 1e-6,
    `${what}: against float64, relative ${Math.sqrt(difference / (norm || 1))}`,
  )
}
