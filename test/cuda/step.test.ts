/**
 * Two training steps of a small random model through GradCache, MaxSim, InfoNCE and AdamW: the CUDA kernels, run on the
 * host (`cuda-host`) and on a GPU where there is one, against the CPU. Dropout is on, so both draw the same numbers; queries have rows that are no
 * keys, and the window is shorter than the documents.
 */
import { isDeepStrictEqual } from 'node:util'
import t from 'tap'
import { distance } from '../../lib/bench/infonce.js'
import { contrastive } from '../../lib/losses/index.js'
import { Colbert } from '../../lib/models/colbert.js'
import { Device, type Precision } from '../../lib/tensor/device.js'
import { type BatchLoss, gradCache } from '../../lib/train/gradcache.js'
import { AdamW } from '../../lib/train/optim/adamw.js'
import { texts, tokenizer } from '../models/words.js'
import { seed } from '../seed.js'
import { cudaDevices } from '../tensor/gpu.js'
import { batchOfTexts } from './batch.js'

const queries = texts.slice(0, 3)
const documents = [texts[3]!, texts[1]!, texts[0]!, texts[2]!, texts[1]!, texts[3]!]
const loss: BatchLoss = ({ queries, documents, batch }) =>
  contrastive(queries, documents, { temperature: 0.1, documentsPerQuery: batch.documentsPerQuery, blockQueries: 2 })

async function train(architecture: 'modernbert' | 'bert', device: Device, precision: Precision = 'float32') {
  const start = device.memory()
  const shape = { architecture, layers: 3, width: 64, heads: 2, dim: 32, positions: 64, localAttention: 8, tokenizer }
  const model = await Colbert.create(
    { ...shape, dropout: 0.1, recipe: { queryLength: 24, documentLength: 64 } },
    { seed, device, precision },
  )
  const optimiser = new AdamW(model.parameterGroups([{ learningRate: 1e-3, weightDecay: 0.01 }]), {
    maxGradNorm: 1,
    eps: 1e-6,
  })
  const batch = batchOfTexts(model, queries, documents)
  const losses: number[] = []
  let gradients: ArrayLike<number> = []
  for (const step of [0, 1]) {
    const value = gradCache(model, batch, loss, { seed, step, microBatchTokens: 50, activationMemory: step * 1e9 })
    losses.push(await value.value())
    value.dispose()
    if (step === 0) gradients = await model.parameters.gradients.values()
    optimiser.step({ scale: 1 })
  }
  const values = await model.parameters.values.values()
  optimiser.dispose()
  model.dispose()
  return {
    losses,
    gradients,
    values,
    left: [device.memory().tensors - start.tensors, device.memory().bytes - start.bytes],
  }
}

for (const architecture of ['modernbert', 'bert'] as const)
  t.test(`${architecture}: two steps`, async (t) => {
    const want = await train(architecture, Device.open('cpu'))
    t.not(want.losses[0], want.losses[1], 'it learns something')
    for (const device of cudaDevices()) {
      const got = await train(architecture, device)
      const off = [0, 1].map((step) => Math.abs(got.losses[step]! / want.losses[step]! - 1))
      // AdamW's first step is as large where a gradient is mostly rounding as where it is not.
      t.ok(off[0]! <= 1e-5 && off[1]! <= 1e-4, `${device.name}: losses are off by ${off}`)
      for (const what of ['gradients', 'values'] as const) {
        const d = distance(got[what], want[what])
        t.ok(d <= 1e-4, `${device.name}: ${what} are off by ${d}`) // CPU and CUDA are each up to 1e-5 from float64
      }
      t.same(got.left, [0, 0], 'nothing leaks')
      t.ok(isDeepStrictEqual(await train(architecture, device), got), 'the same bits in another order of threads')

      // How close bfloat16 should be is measured in test/train/trajectory.test.ts.
      const mixed = await train(architecture, device, 'bfloat16')
      const lossOff = [0, 1].map((step) => Math.abs(mixed.losses[step]! / want.losses[step]! - 1))
      t.ok(Math.max(...lossOff) <= 0.05, `${device.name}, bfloat16: losses are off by ${lossOff}`)
      t.not(distance(mixed.values, want.values), 0, 'it is bfloat16')
      t.ok(distance(mixed.values, want.values) <= 0.01, 'parameters stay float32')
      t.same(mixed.left, [0, 0], 'nothing leaks')
      t.ok(isDeepStrictEqual(await train(architecture, device, 'bfloat16'), mixed), 'the same bits again')
    }
  })
