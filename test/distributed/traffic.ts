/** One rank of traffic.test.ts: what travels, how often, how exactly, and what happens to numbers that are none. */
import { createHash } from 'node:crypto'
import type { TrainBatch } from '../../lib/data/collate.js'
import type { TokenColumn } from '../../lib/data/column.js'
import { type ProcessGroup, singleProcess } from '../../lib/distributed/group.js'
import { contrastive } from '../../lib/losses/index.js'
import { Device, ops, Tensor } from '../../lib/tensor/index.js'
import { type BatchLoss, type GradCacheOptions, gradCache, gradCacheAsync } from '../../lib/train/gradcache.js'
import { gradientScaleOf } from '../../lib/train/loss.js'
import { Random } from '../random.js'
import { ToyModel, toyBatch, vocabulary } from '../train/toy.js'
import { group, note, report, seedOf } from './rank.js'
import { share, shareAlone } from './share.js'

const { rank, size } = group
const random = new Random(seedOf())
const problems: string[] = []
const numbers: Record<string, unknown> = {}
const digest = createHash('sha256')
const check = (condition: boolean, what: string) => condition || problems.push(what)

const queries = 8
const counts = { 1: [8], 2: [3, 5], 3: [4, 0, 4], 4: [5, 0, 2, 1] }[size]!
const inOrder = Array.from({ length: queries }, (_, i) => i)
const nce: BatchLoss = ({ queries, documents, batch, ranks }) =>
  contrastive(queries, documents, {
    temperature: 0.2,
    documentsPerQuery: batch.documentsPerQuery,
    ranks,
    blockQueries: 3,
  })

async function step(model: ToyModel, batch: TrainBatch, options: Partial<GradCacheOptions>, loss = nce) {
  const value = gradCache(model, batch, loss, { seed: 3, step: 1, microBatchTokens: 60, ...options })
  const gradients = Float64Array.from(await model.parameters.gradients.values())
  const result = { loss: await value.value(), gradients }
  value.dispose()
  model.parameters.zeroGradients()
  return result
}
const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0)
const bits = (a: Float64Array, b: Float64Array) => Buffer.from(a.buffer).equals(Buffer.from(b.buffer))

const cpu = Device.open('cpu')
const exact = Device.open('cpu-f64')
const model = new ToyModel(cpu, 1)
const precise = new ToyModel(exact, 1)

/** Every sequence of a side as long as the next. */
function fixed(queryTokens: number, documentTokens: number): TrainBatch {
  const column = (length: number, number: number): TokenColumn => {
    const offsets = Float64Array.from({ length: queries + 1 }, (_, i) => i * length)
    const ids = Int32Array.from({ length: queries * length }, () => random.integer(vocabulary))
    const rows = Float64Array.from(inOrder)
    const keyLengths = new Int32Array(queries).fill(length)
    return { ids, offsets, keyLengths, keep: null, keptOffsets: offsets, rows, column: number }
  }
  const [q, d] = [column(queryTokens, 0), column(documentTokens, 1)]
  return { ...toyBatch(1, queries, 1), queries: q, documents: d, queryOffsets: q.offsets, documentOffsets: d.offsets }
}

// Calls and bytes of one step are exactly what the formulas say, whatever the micro-batches.
{
  const [queryTokens, documentTokens] = [32, 300]
  const part = share(fixed(queryTokens, documentTokens), inOrder, counts, rank)
  const own = counts[rank]!
  const others = queries - own
  /** A sum of n floats: small ones go to everybody, larger ones by slices, there and back. */
  const reduced = (n: number) => {
    if (4 * n <= 64 << 10) return 4 * n * (size - 1)
    const slice = (r: number) => Math.floor((n * (r + 1)) / size) - Math.floor((n * r) / size)
    return 4 * (n - slice(rank) + (size - 1) * slice(rank))
  }
  const { entries, count } = model.parameters
  const travelled: Record<string, number> = {}
  for (const gather of ['queries', 'documents', 'none'] as const)
    for (const [microBatchTokens, bucketBytes] of [
      [50, 1e9],
      [1e9, 1],
    ] as const) {
      const commDtype = gather === 'queries' && bucketBytes === 1 ? 'float16' : 'float32'
      const before = group.stats()
      await step(model, part, { group, gather, microBatchTokens, bucketBytes, commDtype })
      const after = group.stats()
      const used = (what: 'calls' | 'bytes') =>
        ['allGather', 'allToAll', 'allReduceSum', 'allReduceMax', 'broadcast', 'exchange'].map(
          (kind) => after[what][kind]! - before[what][kind]!,
        )
      const alone = size === 1
      const buckets = alone ? [] : bucketBytes === 1 ? entries.map((e) => e.size) : [count]
      const row = (gather === 'queries' ? queryTokens : documentTokens) * model.dim
      const gathered = gather === 'none' ? 0 : own * row * (commDtype === 'float16' ? 2 : 4) * (size - 1)
      const home = gather === 'none' ? 0 : others * row * 4
      const [stats, lse] = gather === 'queries' ? [others * 3 * 4, own * 4 * (size - 1)] : [0, 0]
      const calls = alone ? 0 : { queries: 2, documents: 1, none: 0 }[gather]
      const expected = {
        calls: [calls, calls, 1 + buckets.length, 0, 0, 0],
        bytes: [gathered + lse, home + stats, reduced(1) + sum(buckets.map(reduced)), 0, 0, 0],
      }
      const found = { calls: used('calls'), bytes: used('bytes') }
      if (JSON.stringify(found) !== JSON.stringify(expected))
        problems.push(`${gather}: ${JSON.stringify(found)}, expected ${JSON.stringify(expected)}`)
      if (commDtype === 'float32' && bucketBytes !== 1) travelled[gather] = found.bytes[0]! + found.bytes[1]!
    }
  if (size > 1 && own > 0) {
    const ratio = travelled.documents! / travelled.queries!
    Object.assign(numbers, { travelled, ratio, tokens: documentTokens / queryTokens })
    check(ratio >= 8, `documents take only ${ratio} times the bytes of queries`)
  }
}

// 16 bits on the wire: the gradient's error against the same step in double without it. Not a fresh batch: among so few
// tokens, one whose maximum moves to another document token shows in the whole gradient.
{
  const batch = toyBatch(1, queries, 4)
  const norm = (g: Float64Array) => Math.sqrt(g.reduce((s, x) => s + x * x, 0))
  const reference = await step(precise, batch, {})
  for (const gather of ['queries', 'documents'] as const) {
    const half = await step(precise, share(batch, inOrder, counts, rank), { group, gather, commDtype: 'float16' })
    const error = norm(half.gradients.map((g, i) => g - reference.gradients[i]!)) / norm(reference.gradients)
    numbers[`float16 ${gather}`] = error
    check(error < 5e-3 && (size === 1 || error > 1e-6), `float16 ${gather}: the gradient is off by ${error}`)
  }
}

const batch = toyBatch(seedOf(), queries, 4)
const part = share(batch, inOrder, counts, rank)
const reference = await step(precise, batch, {})

// Blocks that are scored again have the bits of those that were kept.
const scoresKept = (keepScores: number): BatchLoss => {
  return ({ queries, documents, batch, ranks }) =>
    contrastive(queries, documents, {
      temperature: 0.1,
      documentsPerQuery: batch.documentsPerQuery,
      ranks,
      blockQueries: 2,
      keepScores,
    })
}
const kept = await step(model, part, { group }, scoresKept(1e9))
for (const bytes of [0, 700]) {
  const again = await step(model, part, { group }, scoresKept(bytes))
  check(again.loss === kept.loss && bits(again.gradients, kept.gradients), `keeping ${bytes} bytes changes bits`)
}

// Awaiting each micro-batch changes nothing.
{
  const options = { seed: 3, step: 1, microBatchTokens: 20, activationMemory: 20_000, group }
  const issued = await step(model, part, options)
  const value = await gradCacheAsync(model, part, nce, options)
  const awaited = Float64Array.from(await model.parameters.gradients.values())
  check((await value.value()) === issued.loss && bits(awaited, issued.gradients), 'awaiting micro-batches changes bits')
  value.dispose()
  model.parameters.zeroGradients()
}

// Ranks may hold any rows: rank r's become those of rank r + 1.
{
  const order = counts.map((n, r) => inOrder.slice(sum(counts.slice(0, r)), sum(counts.slice(0, r)) + n))
  const rotated = [...order.slice(1), order[0]!]
  const moved = share(
    batch,
    rotated.flat(),
    rotated.map((rows) => rows.length),
    rank,
  )
  const there = await step(precise, moved, { group })
  check(Math.abs(there.loss - reference.loss) <= 1e-13 * reference.loss, 'the loss depends on who has which rows')
  // One row, on the last rank: no negatives, no loss; with hard negatives there is one.
  const alone = toyBatch(seedOf(), 1, 4)
  const only = Array.from({ length: size }, (_, r) => (r === size - 1 ? 1 : 0))
  const single = await step(precise, share(alone, [0], only, rank), { group })
  const whole = await step(precise, alone, {})
  check(Math.abs(single.loss - whole.loss) <= 1e-13 * whole.loss, `one row: ${single.loss}, alone ${whole.loss}`)
}

// Without a gather: the mean, over all rows, of what each rank computes for itself.
{
  const local = await step(precise, part, { group, gather: 'none' })
  const onOwn = counts[rank] ? await step(precise, shareAlone(batch, inOrder, counts, rank), {}) : null
  const total = Tensor.from(exact, [(onOwn?.loss ?? 0) * counts[rank]!])
  group.allReduceSum(total).wait()
  const expected = (await total.value()) / queries
  total.dispose()
  check(Math.abs(local.loss - expected) <= 1e-13 * expected, `without a gather: ${local.loss}, expected ${expected}`)
}

// PyLate's factors, to the bit where they are powers of two.
{
  const alone = gradientScaleOf({ gradientScale: 'pylate', batch: queries, loss: 'contrastive', gather: 'none' }, size)
  check(alone === queries / size, `pylate without a gather is ${alone}: the batch of a rank`)
  const plain = await step(model, part, { group })
  for (const [gradientScale, factor] of [
    ['pylate', queries],
    ['pylate-contrastive', size],
    ['mean', 1],
    [0.25, 0.25],
  ] as const) {
    const scale = gradientScaleOf({ gradientScale, batch: queries, loss: 'contrastive', gather: 'queries' }, size)
    check(scale === factor, `${gradientScale} is ${scale}, expected ${factor}`)
    const scaled = await step(model, part, { group, gradientScale: scale })
    const most = plain.gradients.reduce((m, g) => Math.max(m, Math.abs(g)), 0)
    const off = plain.gradients.reduce((m, g, i) => Math.max(m, Math.abs(scaled.gradients[i]! - g * factor)), 0)
    const slack = factor === 3 ? 1e-5 * factor * most : 0
    check(off <= slack, `${gradientScale} on ${size} ranks is not ${factor} times the gradient: off by ${off}`)
  }
}

// A number that is none, on one rank, on either side: every rank has the same loss and the same gradients.
for (const side of ['queries', 'documents'] as const)
  for (const gather of ['queries', 'documents'] as const) {
    const poisoned: BatchLoss = (input) => {
      const { tokens } = input[side]
      const none = Tensor.from(tokens.device, new Float64Array(tokens.size).fill(Number.NaN), tokens.shape)
      const bad = rank === 0 ? { [side]: { ...input[side], tokens: ops.add(tokens, none) } } : {}
      return nce({ ...input, ...bad })
    }
    const got = await step(model, part, { group, gather }, poisoned)
    check(Number.isNaN(got.loss), `NaN in ${side} with ${gather} gathered: the loss is ${got.loss}`)
    check(got.gradients.some(Number.isNaN), `NaN in ${side} with ${gather} gathered: no gradient knows`)
    digest.update(got.gradients.map((g) => (Number.isNaN(g) ? 1 : 0)))
  }

// What does not fit is refused before anything travels.
{
  const refused = (what: string, run: () => unknown) => {
    try {
      run()
      problems.push(`${what} was accepted`)
    } catch (error) {
      if ((error as { code?: string }).code !== 'ERR_ARGUMENT') problems.push(`${what}: ${error}`)
    }
  }
  const options = { seed: 1, step: 1, microBatchTokens: 60 }
  const other: ProcessGroup = { ...singleProcess, size: size + 1 }
  refused('a batch of fewer ranks', () => gradCache(model, part, nce, { ...options, group: other }))
  refused('another rank’s rows', () => gradCache(model, { ...part, counts: counts.map((n) => n + 1) }, nce, options))
  const unknown = { ...part, documentOffsets: null }
  if (size > 1)
    refused('documents of unknown length', () =>
      gradCache(model, unknown, nce, { ...options, group, gather: 'documents' }),
    )
}

model.parameters.dispose()
precise.parameters.dispose()
note({ problems: problems.slice(0, 8), numbers, digest: digest.digest('hex') })
await report()
