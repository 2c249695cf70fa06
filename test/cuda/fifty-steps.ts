/** Fifty training steps that CPU, host emulation and GPU must agree on: trajectory.test.ts and the check on a GPU. */
import type { TrainBatch } from '../../lib/data/collate.js'
import { contrastive } from '../../lib/losses/index.js'
import { Colbert } from '../../lib/models/colbert.js'
import type { Device } from '../../lib/tensor/device.js'
import { gradCacheAsync } from '../../lib/train/gradcache.js'
import { AdamW } from '../../lib/train/optim/adamw.js'
import { linear } from '../../lib/train/optim/schedule.js'
import { texts, tokenizer } from '../models/words.js'
import { Random } from '../random.js'
import { batchOfTexts } from './batch.js'

const words = [...new Set(texts[3]!.split(/[ ,]+/))]

/** Four queries, each with a document that shares a word with it and one that does not. */
function batchOf(model: Colbert, seed: number, step: number): TrainBatch {
  const random = new Random(seed + step)
  const word = () => words[random.integer(words.length)]!
  const queries: string[] = []
  const documents: string[] = []
  for (let i = 0; i < 4; i++) {
    const topic = words[(4 * random.integer(4) + i) % words.length]!
    queries.push(`${topic} ${word()}`)
    documents.push(`${word()} ${topic} ${word()} ${topic}`, `${word()} ${word()} ${word()}`)
  }
  return batchOfTexts(model, queries, documents)
}

/** Losses, and the parameters at the end, of a float32 ModernBERT with dropout; clipping, warm-up and decay. */
export async function fiftySteps(device: Device, seed: number, steps = 50) {
  const shape = { layers: 2, width: 32, heads: 1, dim: 16, positions: 32, localAttention: 8, tokenizer }
  const model = await Colbert.create(
    { ...shape, architecture: 'modernbert', dropout: 0.1, recipe: { queryLength: 8, documentLength: 16 } },
    { seed, device, precision: 'float32' },
  )
  const optimiser = new AdamW(model.parameterGroups([{ learningRate: 3e-3, weightDecay: 0.01 }]), {
    maxGradNorm: 1,
    eps: 1e-6,
  })
  const losses: number[] = []
  for (let step = 0; step < steps; step++) {
    const value = await gradCacheAsync(
      model,
      batchOf(model, seed, step),
      ({ queries, documents, batch }) =>
        contrastive(queries, documents, {
          temperature: 0.2,
          documentsPerQuery: batch.documentsPerQuery,
          blockQueries: 2,
        }),
      { seed, step, microBatchTokens: 64, activationMemory: (step % 2) * 1e9 },
    )
    optimiser.step({ scale: linear(step, steps, 5) }).dispose()
    losses.push(await value.value())
    value.dispose()
  }
  const parameters = await model.parameters.values.values()
  optimiser.dispose()
  model.dispose()
  return { losses, parameters }
}
