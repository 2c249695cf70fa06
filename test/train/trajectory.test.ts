/** Ten training steps against PyTorch (test/fixtures/trajectory): GradCache, loss, clipping, AdamW and schedule together. */
import path from 'node:path'
import t, { type Test } from 'tap'
import type { TokenColumn, TrainBatch } from '../../lib/data/collate.js'
import { contrastive } from '../../lib/losses/index.js'
import { dense } from '../../lib/models/dense.js'
import { SafetensorsFile } from '../../lib/models/safetensors.js'
import type { Precision } from '../../lib/tensor/device.js'
import { Device, ops, Segments, scope, Tensor } from '../../lib/tensor/index.js'
import { AdamW } from '../../lib/train/adamw.js'
import { type EmbeddingModel, gradCacheAsync } from '../../lib/train/gradcache.js'
import { linear } from '../../lib/train/schedule.js'
import { fixtures, json, loadEncoder } from '../models/fixture.js'
import { cudaDevices } from '../tensor/gpu.js'

const about = json('trajectory', 'about.json')
const file = await SafetensorsFile.open(path.join(fixtures, 'trajectory/expected.safetensors'))
t.teardown(() => file.close())

async function batchOf(step: number): Promise<TrainBatch> {
  const column = async (side: 'query' | 'document', number: number): Promise<TokenColumn> => {
    const ids = Int32Array.from(await file.numbers(`step${step}.${side}Ids`))
    const offsets = Float64Array.from(await file.numbers(`step${step}.${side}Offsets`))
    const count = offsets.length - 1
    return {
      ids,
      offsets,
      keyCounts: Int32Array.from({ length: count }, (_, i) => offsets[i + 1]! - offsets[i]!),
      keep: null,
      keptOffsets: offsets,
      rows: Float64Array.from({ length: count }, (_, i) => i),
      column: number,
    }
  }
  const queries = await column('query', 0)
  const documents = await column('document', 1)
  const groups = Int32Array.from({ length: queries.offsets.length - 1 }, (_, i) => i)
  return {
    step,
    source: 'fixture',
    queries,
    documents,
    perQuery: 1,
    counts: [groups.length],
    queryOffsets: queries.keptOffsets,
    documentOffsets: documents.keptOffsets,
    queryGroups: groups,
    documentGroups: groups,
    scores: null,
  }
}

interface How {
  device: Device
  precision?: Precision
  chunkTokens: number
  keepBytes?: number
  temperature?: number
  /** Step t takes the batch of step t + shift. */
  shift?: number
}

/** Ten steps: losses and gradient norms. */
async function train(t: Test, how: How) {
  const { device, precision = 'float32', chunkTokens, keepBytes = 0, temperature = 0.05, shift = 0 } = how
  const before = device.memory().tensors
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
        const ids = Tensor.fromInt32(device, column.ids.subarray(start, end))
        const hidden = encoder.forward({ ids, segments, keyCounts: null }, null)
        return { tokens: ops.l2Normalize(dense(params, head, hidden)), segments }
      }),
  }
  const opt = new AdamW(
    [{ parameters: params, learningRate: 1e-3, decay: ({ shape }) => (shape.length > 1 ? 0.01 : 0) }],
    { clip: 1 },
  )
  const losses: number[] = []
  const gradientNorms: number[] = []
  for (let step = 0; step < 10; step++) {
    const loss = await gradCacheAsync(
      model,
      await batchOf((step + shift) % 10),
      ({ queries, documents }) => contrastive(queries, documents, { temperature }),
      { chunkTokens, keepBytes, seed: 0, step },
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
  t.equal(device.memory().tensors, before)
  return { losses, gradientNorms }
}

for (const [name, chunkTokens, keepBytes, tolerance] of [
  ['cpu-f64', 1e9, 0, 1e-9],
  ['cpu-f64', 40, 100_000, 1e-9],
  ['cpu', 100, 0, 1e-4],
] as const)
  t.test(`${name}, chunks of ${chunkTokens} tokens`, async (t) => {
    const { losses, gradientNorms } = await train(t, { device: Device.open(name), chunkTokens, keepBytes })
    for (const [step, value] of losses.entries()) {
      const [wantLoss, wantNorm] = [about.losses[step], about.gradientNorms[step]]
      t.ok(Math.abs(value - wantLoss) <= tolerance * wantLoss, `step ${step}: loss ${value}, PyTorch ${wantLoss}`)
      t.ok(
        Math.abs(gradientNorms[step]! - wantNorm) <= 10 * tolerance * wantNorm,
        `step ${step}: gradient norm ${gradientNorms[step]}, PyTorch ${wantNorm}`,
      )
    }
  })

/** Root mean square of the relative differences. */
function deviation(got: readonly number[], want: readonly number[]): number {
  return Math.sqrt(want.reduce((sum, w, i) => sum + (got[i]! / w - 1) ** 2, 0) / want.length)
}

for (const device of cudaDevices())
  t.test(`bfloat16 on ${device.name} leaves float64 at most twice as far as torch's autocast does`, async (t) => {
    const { temperature, shifts, float64, autocast } = about.mixed
    const runs = []
    for (const shift of shifts)
      runs.push(await train(t, { device, precision: 'bfloat16', chunkTokens: 100, temperature, shift }))
    for (const what of ['losses', 'gradientNorms'] as const) {
      const want = float64[what].flat()
      const [ours, theirs] = [runs.flatMap((run) => run[what]), autocast[what].flat()].map((x) => deviation(x, want))
      t.ok(ours! <= 2 * theirs!, `${what}: ${ours}, autocast ${theirs}`)
      t.ok(ours! > 1e-5, `${what}: it does compute in bfloat16`)
    }
  })
