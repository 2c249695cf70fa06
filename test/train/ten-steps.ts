/**
 * Ten training steps whose numbers PyTorch has too (test/fixtures/trajectory): GradCache, loss, clipping, AdamW and
 * schedule together. Used by trajectory.test.ts and by the check on a GPU (test/gpu).
 */
import path from 'node:path'
import type { TrainBatch } from '../../lib/data/collate.js'
import type { TokenColumn } from '../../lib/data/column.js'
import { SafetensorsFile } from '../../lib/io/safetensors.js'
import { contrastive } from '../../lib/losses/index.js'
import { dense } from '../../lib/models/networks/dense.js'
import { type Device, ops, type Precision, Segments, scope, Tensor } from '../../lib/tensor/index.js'
import { type EmbeddingModel, gradCacheAsync } from '../../lib/train/gradcache.js'
import { AdamW } from '../../lib/train/optim/adamw.js'
import { linear } from '../../lib/train/optim/schedule.js'
import { fixtures, json, loadEncoder } from '../models/fixture.js'
import { plainColumn } from './toy.js'

export const about = json('trajectory', 'about.json')

async function batchOf(file: SafetensorsFile, step: number): Promise<TrainBatch> {
  const column = async (side: 'query' | 'document', number: number): Promise<TokenColumn> => {
    const ids = Int32Array.from(await file.numbers(`step${step}.${side}Ids`))
    const offsets = Float64Array.from(await file.numbers(`step${step}.${side}Offsets`))
    return plainColumn(ids, offsets, number)
  }
  const queries = await column('query', 0)
  const documents = await column('document', 1)
  const groups = Int32Array.from({ length: queries.offsets.length - 1 }, (_, i) => i)
  return {
    step,
    source: 'fixture',
    queries,
    documents,
    documentsPerQuery: new Int32Array(groups.length).fill(1),
    counts: [groups.length],
    queryOffsets: queries.keptOffsets,
    documentOffsets: documents.keptOffsets,
    queryDuplicateIds: groups,
    documentDuplicateIds: groups,
    scores: null,
  }
}

export interface How {
  device: Device
  precision?: Precision
  microBatchTokens: number
  activationMemory?: number
  temperature?: number
  /** Step t takes the batch of step t + shift. */
  shift?: number
}

export interface Ten {
  losses: number[]
  gradientNorms: number[]
}

/** Losses and gradient norms of ten steps. */
export async function train(how: How): Promise<Ten> {
  const { device, precision = 'float32', microBatchTokens, activationMemory = 0, temperature = 0.05, shift = 0 } = how
  await using file = await SafetensorsFile.open(path.join(fixtures, 'trajectory/expected.safetensors'))
  const { head, params, encoder } = await loadEncoder(path.join(fixtures, 'modernbert/dh32'), device, precision)
  const model: EmbeddingModel = {
    device,
    parameters: params,
    dim: head.at(-1)!.out,
    tokenType: precision === 'bfloat16' ? 'float16' : device.real,
    embed: (column, first, last) =>
      scope(() => {
        const [start, end] = [column.offsets[first]!, column.offsets[last]!]
        const segments = Segments.of(
          device,
          column.offsets.subarray(first, last + 1).map((o) => o - start),
        )
        const hostIds = column.ids.subarray(start, end)
        const ids = Tensor.fromInt32(device, hostIds)
        const hidden = encoder.forward({ ids, hostIds, segments, keyLengths: null }, null)
        return { tokens: ops.l2Normalize(dense(params, head, hidden)), segments }
      }),
  }
  const opt = new AdamW(
    [{ parameters: params, learningRate: 1e-3, weightDecay: ({ shape }) => (shape.length > 1 ? 0.01 : 0) }],
    { maxGradNorm: 1 },
  )
  const losses: number[] = []
  const gradientNorms: number[] = []
  for (let step = 0; step < 10; step++) {
    const loss = await gradCacheAsync(
      model,
      await batchOf(file, (step + shift) % 10),
      ({ queries, documents }) => contrastive(queries, documents, { temperature }),
      { microBatchTokens, activationMemory, seed: 0, step },
    )
    const squared = opt.step({ scale: linear(step, 10) })
    losses.push(await loss.value())
    gradientNorms.push(Math.sqrt(await squared.value()))
    loss.dispose()
    squared.dispose()
  }
  opt.dispose()
  encoder.dispose()
  params.dispose()
  return { losses, gradientNorms }
}

/** Root mean square of the relative differences. */
function deviation(got: readonly number[], want: readonly number[]): number {
  return Math.sqrt(want.reduce((sum, w, i) => sum + (got[i]! / w - 1) ** 2, 0) / want.length)
}

/**
 * How far bfloat16 is from PyTorch's float64, over three trajectories, and how far PyTorch's autocast is: losses and
 * gradient norms.
 */
export async function mixedDeviation(device: Device) {
  const { temperature, shifts, float64, autocast } = about.mixed
  const runs: Ten[] = []
  for (const shift of shifts)
    runs.push(await train({ device, precision: 'bfloat16', microBatchTokens: 100, temperature, shift }))
  const compared = (what: keyof Ten) => {
    const want = float64[what].flat()
    return {
      ours: deviation(
        runs.flatMap((run) => run[what]),
        want,
      ),
      autocast: deviation(autocast[what].flat(), want),
    }
  }
  return { losses: compared('losses'), gradientNorms: compared('gradientNorms') }
}
