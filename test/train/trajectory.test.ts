/** Ten training steps against PyTorch, in float64, float32 and bfloat16. */
import t from 'tap'
import { Device } from '../../lib/tensor/index.js'
import { cudaDevices } from '../tensor/gpu.js'
import { about, mixedDeviation, train } from './ten-steps.js'

for (const [name, microBatchTokens, activationMemory, tolerance] of [
  ['cpu-f64', 1e9, 0, 1e-9],
  ['cpu-f64', 40, 100_000, 1e-9],
  ['cpu', 100, 0, 1e-4],
] as const)
  t.test(`${name}, micro-batches of ${microBatchTokens} tokens`, async (t) => {
    const device = Device.open(name)
    const before = device.memory().tensors
    const { losses, gradientNorms } = await train({ device, microBatchTokens, activationMemory })
    t.equal(device.memory().tensors, before)
    for (const [step, value] of losses.entries()) {
      const [wantLoss, wantNorm] = [about.losses[step], about.gradientNorms[step]]
      t.ok(Math.abs(value - wantLoss) <= tolerance * wantLoss, `step ${step}: loss ${value}, PyTorch ${wantLoss}`)
      t.ok(
        Math.abs(gradientNorms[step]! - wantNorm) <= 10 * tolerance * wantNorm,
        `step ${step}: gradient norm ${gradientNorms[step]}, PyTorch ${wantNorm}`,
      )
    }
  })

for (const device of cudaDevices())
  t.test(`bfloat16 on ${device.name} leaves float64 at most twice as far as torch's autocast does`, async (t) => {
    for (const [what, { ours, autocast }] of Object.entries(await mixedDeviation(device))) {
      t.ok(ours <= 2 * autocast, `${what}: ${ours}, autocast ${autocast}`)
      t.ok(ours > 1e-5, `${what}: it does compute in bfloat16`)
    }
  })
