/**
 * One rank of identity.test.ts: the gradients of all ranks sum to those of one process on the whole batch, whatever the
 * ranks, the side that is gathered, the masks, the micro-batches. Rank 0 computes the latter.
 */
import { createHash } from 'node:crypto'
import type { TrainBatch } from '../../lib/data/collate.js'
import { columnFromTexts } from '../../lib/data/column.js'
import { type ProcessGroup, singleProcess } from '../../lib/distributed/group.js'
import { contrastive, distillation, marginMse, type Scores } from '../../lib/losses/index.js'
import { Parameters } from '../../lib/nn/parameters.js'
import { offsetsOf } from '../../lib/ragged.js'
import { Device } from '../../lib/tensor/index.js'
import type { ResolvedPhase } from '../../lib/train/config/types.js'
import {
  type BatchLoss,
  type EmbeddingModel,
  embedBatch,
  type GradCacheOptions,
  gradCache,
} from '../../lib/train/gradcache.js'
import { lossOf } from '../../lib/train/loss.js'
import { AdamW } from '../../lib/train/optim/adamw.js'
import { Random } from '../random.js'
import { tinyModel, words } from '../train/tiny.js'
import { ToyModel, toyBatch } from '../train/toy.js'
import { group, note, report, seedOf } from './rank.js'
import { share, shareAlone } from './share.js'

const { rank, size } = group
const random = new Random(seedOf())
const problems: string[] = []
const worst: Record<string, number> = {}
const digest = createHash('sha256')

const queries = 8
const assignments: Record<number, number[][]> = {
  1: [[8]],
  2: [
    [4, 4],
    [7, 1],
    [0, 8],
  ],
  3: [
    [3, 3, 2],
    [6, 0, 2],
  ],
  4: [
    [2, 2, 2, 2],
    [3, 1, 2, 2],
    [5, 0, 2, 1],
  ],
}
const shuffled = () => {
  const order = Array.from({ length: queries }, (_, i) => i)
  for (let i = queries - 1; i > 0; i--) {
    const j = random.integer(i + 1)
    ;[order[i], order[j]] = [order[j]!, order[i]!]
  }
  return order
}

type Settings = {
  masks: boolean
  weights: boolean
  blockQueries: number
  keepScores: number
  symmetric?: boolean
  scores?: Scores
  /** Its margin, and whether that is relative. */
  guide?: [margin: number, relative: boolean]
}

/** What a guide, a model with other weights, makes of a batch; set by `step`. */
const guides = new WeakMap<TrainBatch, Awaited<ReturnType<typeof embedBatch>>>()

const infoNce =
  (settings: Settings, logScale: Parameters): BatchLoss =>
  ({ queries, documents, batch, ranks }) =>
    contrastive(queries, documents, {
      logScale: logScale.get('logScale'),
      documentsPerQuery: batch.documentsPerQuery,
      ranks,
      blockQueries: settings.blockQueries,
      keepScores: settings.keepScores,
      symmetric: settings.symmetric,
      scores: settings.scores,
      ...(settings.guide && {
        guide: { ...guides.get(batch)!, margin: settings.guide[0], relative: settings.guide[1] },
      }),
      ...(settings.masks && {
        queryDuplicateIds: batch.queryDuplicateIds,
        documentDuplicateIds: batch.documentDuplicateIds,
      }),
      // A weight belongs to its row, wherever that is.
      ...(settings.weights && { weights: weightsOf(batch) }),
    })
const weightsOf = ({ queryDuplicateIds }: TrainBatch) => queryDuplicateIds.map((g) => g % 3)
const weightOf = (batch: TrainBatch) => weightsOf(batch).reduce((sum, weight) => sum + weight, 0)
const distilled: BatchLoss = ({ queries, documents, batch, ranks }) =>
  distillation(queries, documents, { teacher: batch.scores!, documentsPerQuery: batch.documentsPerQuery, ranks })
const margins: BatchLoss = ({ queries, documents, batch, ranks }) =>
  marginMse(queries, documents, { teacher: batch.scores!, documentsPerQuery: batch.documentsPerQuery, ranks })

/** Both in one, as a phase has them: the teacher's term at a temperature of its own, or the one that is learned. */
const mixed = (logScale: Parameters, own: boolean): BatchLoss =>
  lossOf(
    {
      ...{ loss: { contrastive: 1, distillation: 0.7 }, temperature: 1, teacherTemperature: 2 },
      ...(own && { studentTemperature: 0.3, temperatureSquared: true }),
      ...{ scores: 'mean', symmetric: true, maskDuplicates: true, normalizeScores: false },
    } as ResolvedPhase,
    logScale.get('logScale'),
  )

function temperature(device: Device): Parameters {
  const parameters = new Parameters(device, [{ name: 'logScale', shape: [1] }])
  const value = [Math.log(5)]
  parameters.values.write(device.real === 'float64' ? Float64Array.from(value) : Float32Array.from(value))
  return parameters
}

interface Result {
  loss: number
  gradients: Float64Array
  scale: number
}

const guideMargins: Settings['guide'][] = [undefined, [0.3, false], [0.1, true], undefined, undefined]
const guideModels = new Map<Device, ToyModel>()

/** One step; the gradients of all ranks. Leaves them zero. */
async function step(
  model: EmbeddingModel,
  batch: TrainBatch,
  loss: BatchLoss,
  logScale: Parameters,
  options: Omit<GradCacheOptions, 'seed' | 'step'>,
): Promise<Result> {
  const guide = guideModels.get(model.device)
  const { activationMemory: _, gradientScale: __, bucketBytes: ___, ...asked } = options
  if (guide) guides.set(batch, await embedBatch(guide, batch, asked))
  const value = gradCache(model, batch, loss, { seed: 3, step: 1, ...options })
  for (const { tokens, segments } of Object.values(guides.get(batch) ?? {}))
    for (const each of [tokens, segments]) each.dispose()
  const ranks: ProcessGroup = options.group ?? singleProcess
  ranks.allReduceSum(logScale.gradients).wait()
  const gradients = Float64Array.from(await model.parameters.gradients.values())
  const result = { loss: await value.value(), gradients, scale: await logScale.gradients.value() }
  value.dispose()
  model.parameters.zeroGradients()
  logScale.zeroGradients()
  return result
}

/**
 * The same of one process, of a loss that gathers nothing: the ranks' own losses by their share of the batch.
 * @param weightOf of a batch, as the loss weighs it
 */
async function stepsAlone(
  model: EmbeddingModel,
  shares: TrainBatch[],
  loss: BatchLoss,
  logScale: Parameters,
  weightOf: (batch: TrainBatch) => number,
): Promise<Result> {
  const total = shares.reduce((sum, own) => sum + weightOf(own), 0)
  const sum = { loss: 0, gradients: new Float64Array(model.parameters.count), scale: 0 }
  for (const own of shares) {
    const gradientScale = weightOf(own) / total
    if (gradientScale === 0) continue
    const got = await step(model, own, loss, logScale, { microBatchTokens: 50, gradientScale })
    sum.loss += gradientScale * got.loss
    sum.scale += got.scale
    for (const [i, gradient] of got.gradients.entries()) sum.gradients[i]! += gradient
  }
  return sum
}

/**
 * Norm ratio and largest difference, against the largest gradient. In float32 single elements and the temperature's
 * gradient, a sum of terms of both signs, are less exact than the norm where the loss is small.
 */
function compare(label: string, kind: string, got: Result, want: Result, tolerance: number): void {
  const most = want.gradients.reduce((m, g) => Math.max(m, Math.abs(g)), 0)
  const norm = (g: Float64Array) => Math.sqrt(g.reduce((s, x) => s + x * x, 0))
  // Of what is 0, where few queries on a rank have no negative left: it is 0.
  const off = (got: number, want: number) => Math.abs(got - want) / (Math.abs(want) || 1)
  const errors = {
    loss: off(got.loss, want.loss),
    norm: off(norm(got.gradients), norm(want.gradients)),
    elementwise: got.gradients.reduce((m, g, i) => Math.max(m, Math.abs(g - want.gradients[i]!)), 0) / (most || 1),
    scale: off(got.scale, want.scale),
  }
  for (const [name, error] of Object.entries(errors)) {
    const key = `${kind} ${name}`
    worst[key] = Math.max(worst[key] ?? 0, error)
    const slack = name === 'scale' ? 10 : name === 'elementwise' && kind === 'model' ? 5 : 1
    if (!(error <= slack * tolerance)) problems.push(`${label}: ${name} is off by ${error}`)
  }
}

/** Documents of each query: the positive alone, as many for all, or 0 to 5 beside it, another number at each turn. */
const rows: Record<string, (turn: number) => number | number[]> = {
  'K=0': () => 1,
  'K=3': () => 4,
  'K=0..5': (turn) => Array.from({ length: queries }, (_, i) => [1, 4, 6, 1, 2, 3, 5, 1][(i + 3 * turn) % queries]!),
}

/** Texts that are equal across rows: two queries, two positives, a document and the first positive. */
function plant(batch: TrainBatch): TrainBatch {
  const starts = offsetsOf(batch.documentsPerQuery)
  const queryDuplicateIds = batch.queryDuplicateIds.map((g) => (g === 5 ? 2 : g))
  const documentDuplicateIds = batch.documentDuplicateIds.map((g) => (g === starts[6] ? starts[1]! : g === 3 ? 0 : g))
  return { ...batch, queryDuplicateIds, documentDuplicateIds }
}

function scored(batch: TrainBatch): TrainBatch {
  return { ...batch, scores: Float32Array.from(random.normals(batch.documentDuplicateIds.length)) }
}

const kinds = ['f64', 'f32'] as const
const devices = { f64: Device.open('cpu-f64'), f32: Device.open('cpu') }
for (const kind of kinds) {
  const device = devices[kind]
  const before = device.memory()
  const model = new ToyModel(device, 1)
  const guide = new ToyModel(device, 9)
  if (kind === 'f64') guideModels.set(device, guide)
  const logScale = temperature(device)
  let turn = 0
  for (const [shape, documentsOf] of Object.entries(rows))
    for (const [a, counts] of assignments[size]!.entries()) {
      const documents = documentsOf(a)
      const all = offsetsOf(toyBatch(1, queries, documents).documentsPerQuery)[queries]!
      const batch = scored(plant(toyBatch(seedOf() + a, queries, documents, [4, all - 2])))
      const order = shuffled()
      const part = share(batch, order, counts, rank)
      const shares = counts.map((_, r) => shareAlone(batch, order, counts, r))
      const alone = (loss: BatchLoss, weightOf = ({ counts }: TrainBatch) => counts[0]!) =>
        stepsAlone(model, shares, loss, logScale, weightOf)
      for (const gather of ['queries', 'documents', 'none'] as const) {
        const settings = {
          masks: a % 2 === 0,
          weights: a === 1,
          blockQueries: [3, 1024][random.integer(2)]!,
          keepScores: [0, 700, 2 ** 28][random.integer(3)]!,
          symmetric: turn % 2 === 1,
          scores: turn % 4 > 1 ? ('mean' as const) : ('sum' as const),
          // In float64: in float32 what lies at the margin by rounding would be left out on some ranks alone.
          guide: kind === 'f64' ? guideMargins[turn % guideMargins.length] : undefined,
        }
        turn++
        const loss = infoNce(settings, logScale)
        const cutting = {
          microBatchTokens: [10, 60, 1e9][random.integer(3)]!,
          activationMemory: [0, 40_000, 1e12][random.integer(3)]!,
          bucketBytes: [1, 4000, 1e9][random.integer(3)]!,
        }
        const got = await step(model, part, loss, logScale, { ...cutting, group, gather })
        digest.update(JSON.stringify([got.loss, got.scale])).update(new Uint8Array(got.gradients.buffer))
        const label = `${kind} ${shape} [${counts}] ${gather} ${JSON.stringify({ ...settings, ...cutting })}`
        if (rank === 0) {
          const want =
            gather === 'none'
              ? await alone(loss, settings.weights ? weightOf : undefined)
              : await step(model, batch, loss, logScale, { microBatchTokens: 50 })
          compare(label, kind, got, want, kind === 'f64' ? 1e-11 : 1e-5)
        }
      }
      if (shape !== 'K=0')
        for (const [name, loss, gather] of [
          ['distilled', distilled, 'none'],
          ['margins', margins, 'none'],
          ['mixed', mixed(logScale, true), 'queries'],
          ['mixed', mixed(logScale, false), 'documents'],
          ['mixed', mixed(logScale, a === 1), 'none'],
        ] as const) {
          const got = await step(model, part, loss, logScale, { microBatchTokens: 60, group, gather })
          digest.update(JSON.stringify(got.loss)).update(new Uint8Array(got.gradients.buffer))
          if (rank === 0) {
            const want =
              name === 'mixed' && gather === 'none'
                ? await alone(loss)
                : await step(model, batch, loss, logScale, { microBatchTokens: 50 })
            compare(
              `${kind} ${name} ${shape} [${counts}] ${gather}`,
              `${kind} ${name}`,
              got,
              want,
              kind === 'f64' ? 1e-11 : 1e-5,
            )
          }
        }
    }
  guideModels.delete(device)
  for (const used of [model.parameters, guide.parameters, logScale]) used.dispose()
  const after = device.memory()
  if (after.tensors !== before.tensors || after.bytes !== before.bytes)
    problems.push(`${kind}: ${after.tensors - before.tensors} tensors are left`)
}

// A whole model with dropout, from text, skiplist and query expansion included.
{
  const model = await tinyModel()
  const logScale = temperature(model.device)
  const text = (n: number) => Array.from({ length: n }, () => words[random.integer(words.length)]!).join(' ')
  for (const [shape, documentsOf] of Object.entries(rows)) {
    const toy = toyBatch(1, queries, documentsOf(1))
    const asked = Array.from({ length: queries }, () => text(1 + random.integer(5)))
    const documents = Array.from(toy.documentDuplicateIds, (i) =>
      i === 2 ? '' : `${text(1 + random.integer(9))}. ${text(2)}, .`,
    )
    const columns = {
      queries: columnFromTexts(model.featurizer, asked, 'query'),
      documents: columnFromTexts(model.featurizer, documents, 'document'),
    }
    const groupsOf = (texts: string[]) => Int32Array.from(texts, (t) => texts.indexOf(t))
    const batch: TrainBatch = {
      ...toy,
      ...columns,
      queryDuplicateIds: groupsOf(asked),
      documentDuplicateIds: groupsOf(documents),
    }
    const counts = assignments[size]!.at(-1)!
    const part = share(batch, shuffled(), counts, rank)
    const settings = { masks: true, weights: false, blockQueries: 5, keepScores: 1000 }
    const loss = infoNce(settings, logScale)
    for (const gather of ['queries', 'documents'] as const) {
      const got = await step(model, part, loss, logScale, {
        microBatchTokens: 40,
        activationMemory: 100_000,
        group,
        gather,
      })
      digest.update(JSON.stringify(got.loss)).update(new Uint8Array(got.gradients.buffer))
      if (rank === 0) {
        const want = await step(model, batch, loss, logScale, { microBatchTokens: 1e9 })
        compare(`model ${shape} [${counts}] ${gather}`, 'model', got, want, 1e-5)
      }
    }
  }
  logScale.dispose()
  model.dispose()
}

// The CUDA kernels, run on the host, against one process on the CPU.
{
  const device = Device.open('cuda-host')
  const [model, logScale] = [new ToyModel(device, 1), temperature(device)]
  const reference = rank === 0 ? ([new ToyModel(devices.f32, 1), temperature(devices.f32)] as const) : undefined
  const counts = assignments[size]!.at(-1)!
  const batch = scored(plant(toyBatch(seedOf() + 50, queries, rows['K=0..5']!(2))))
  const part = share(batch, shuffled(), counts, rank)
  const settings = { masks: true, weights: true, blockQueries: 5, keepScores: 0, symmetric: true }
  for (const gather of ['queries', 'documents', 'none'] as const) {
    const loss = (scale: Parameters) => (gather === 'none' ? margins : infoNce(settings, scale))
    const options = { microBatchTokens: 60, bucketBytes: 4000, group, gather }
    const got = await step(model, part, loss(logScale), logScale, options)
    digest.update(JSON.stringify([got.loss, got.scale])).update(new Uint8Array(got.gradients.buffer))
    if (!reference) continue
    const want = await step(reference[0], batch, loss(reference[1]), reference[1], { microBatchTokens: 50 })
    compare(`cuda-host [${counts}] ${gather}`, 'cuda-host', got, want, 1e-5)
  }
  for (const used of [model.parameters, logScale, reference?.[0].parameters, reference?.[1]]) used?.dispose()
  if (device.memory().tensors > 0) problems.push(`cuda-host: ${device.memory().tensors} tensors are left`)
}

// Ten steps of AdamW end where one process ends.
{
  const device = devices.f64
  const counts = assignments[size]!.at(-1)!
  const models = [new ToyModel(device, 2), ...(rank === 0 ? [new ToyModel(device, 2)] : [])]
  const settings = { masks: true, weights: false, blockQueries: 3, keepScores: 0 }
  const ends: Float64Array[] = []
  const batches = Array.from({ length: 10 }, (_, i) => ({
    whole: plant(toyBatch(seedOf() + 100 + i, queries, rows['K=0..5']!(i))),
    order: shuffled(),
  }))
  for (const [m, model] of models.entries()) {
    const logScale = temperature(device)
    const opt = new AdamW(
      [
        { parameters: model.parameters, learningRate: 1e-3, weightDecay: 0.01 },
        { parameters: logScale, learningRate: 1e-2 },
      ],
      { maxGradNorm: 1 },
    )
    for (const [i, { whole, order }] of batches.entries()) {
      const ranks = m === 0 ? group : singleProcess
      const batch = m === 0 ? share(whole, order, counts, rank) : whole
      const options = { seed: 1, step: i, microBatchTokens: 40, group: ranks }
      gradCache(model, batch, infoNce(settings, logScale), options).dispose()
      ranks.allReduceSum(logScale.gradients).wait()
      opt.step()
    }
    ends.push(Float64Array.from([...(await model.parameters.values.values()), await logScale.values.value()]))
    for (const used of [opt, logScale, model.parameters]) used.dispose()
  }
  digest.update(new Uint8Array(ends[0]!.buffer))
  if (rank === 0) {
    const off = ends[0]!.reduce((m, v, i) => Math.max(m, Math.abs(v - ends[1]![i]!)), 0)
    worst.trajectory = off
    if (!(off <= 1e-9)) problems.push(`ten steps end ${off} apart`)
  }
}

note({ problems: problems.slice(0, 8), worst, digest: digest.digest('hex') })
await report()
