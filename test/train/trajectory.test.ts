/** Ten training steps against PyTorch (test/fixtures/trajectory): GradCache, loss, clipping, AdamW and schedule together. */
import path from 'node:path'
import t from 'tap'
import type { TokenColumn, TrainBatch } from '../../lib/data/collate.js'
import { contrastive } from '../../lib/losses/index.js'
import { dense } from '../../lib/models/dense.js'
import { SafetensorsFile } from '../../lib/models/safetensors.js'
import { Device, ops, Segments, scope, Tensor } from '../../lib/tensor/index.js'
import { AdamW } from '../../lib/train/adamw.js'
import { type EmbeddingModel, gradCacheAsync } from '../../lib/train/gradcache.js'
import { linear } from '../../lib/train/schedule.js'
import { fixtures, json, loadEncoder } from '../models/fixture.js'

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

for (const [name, chunkTokens, keepBytes, tolerance] of [
  ['cpu-f64', 1e9, 0, 1e-9],
  ['cpu-f64', 40, 100_000, 1e-9],
  ['cpu', 100, 0, 1e-4],
] as const)
  t.test(`${name}, chunks of ${chunkTokens} tokens`, async (t) => {
    const device = Device.open(name)
    const before = device.memory().tensors
    const { head, params, encoder } = await loadEncoder(path.join(fixtures, 'modernbert/dh32'), device)
    const model: EmbeddingModel = {
      device,
      parameters: params,
      dim: head.at(-1)!.out,
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
    for (let step = 0; step < 10; step++) {
      const loss = await gradCacheAsync(
        model,
        await batchOf(step),
        ({ queries, documents }) => contrastive(queries, documents, { temperature: 0.05 }),
        { chunkTokens, keepBytes, seed: 0, step },
      )
      const squared = opt.step({ scale: linear(step, 10) })
      const [value, norm] = [await loss.value(), Math.sqrt(await squared.value())]
      const [wantLoss, wantNorm] = [about.losses[step], about.gradientNorms[step]]
      t.ok(Math.abs(value - wantLoss) <= tolerance * wantLoss, `step ${step}: loss ${value}, PyTorch ${wantLoss}`)
      t.ok(
        Math.abs(norm - wantNorm) <= 10 * tolerance * wantNorm,
        `step ${step}: gradient norm ${norm}, PyTorch ${wantNorm}`,
      )
      loss.dispose()
      squared.dispose()
    }
    opt.dispose()
    encoder.dispose()
    params.dispose()
    t.equal(device.memory().tensors, before)
  })
