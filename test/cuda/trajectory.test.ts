/**
 * Fifty training steps (fifteen but in the long suite) of a small random model in float32, with dropout, clipping, a schedule and a fresh batch every
 * step: the CUDA kernels, run on the host (`cuda-host`) and on a GPU where there is one, against the CPU in float64, loss by loss.
 *
 * Float64, since rounding decides which of two tokens is a maximum where they are as similar to within rounding, and losses
 * part from there on. Of seed 2110032018 the CPU in float32 takes the other one at step 4, where they differ by 1.3e-6.
 */
import { isDeepStrictEqual } from 'node:util'
import t from 'tap'
import { Device } from '../../lib/tensor/device.js'
import { long } from '../long.js'
import { seed } from '../seed.js'
import { cudaDevices } from '../tensor/gpu.js'
import { fiftySteps } from './fifty-steps.js'

const steps = long ? 50 : 15

t.test(`losses stay together for ${steps} steps`, async (t) => {
  const want = await fiftySteps(Device.open('cpu-f64'), seed, steps)
  t.equal(want.losses.length, steps)
  const [before, after] = [want.losses.slice(0, 10), want.losses.slice(-10)].map((some) => some.reduce((a, b) => a + b))
  if (long) t.ok(after! < 0.95 * before!, `it learns: ${before! / 10} falls to ${after! / 10}`)
  for (const device of cudaDevices()) {
    const left = device.memory().tensors
    const got = await fiftySteps(device, seed, steps)
    const off = want.losses.map((loss, step) => Math.abs(got.losses[step]! / loss - 1))
    t.ok(Math.max(...off) <= 1e-3, `${device.name}: losses are off by at most ${Math.max(...off)}`)
    t.ok(
      isDeepStrictEqual(await fiftySteps(device, seed, steps), got),
      `${device.name}: the same bits in another order`,
    )
    t.equal(device.memory().tensors, left, 'nothing leaks')
  }
})
