/** What a step will need of the device's memory, said before there is one. */
import type { TokenColumn } from '../../data/column.js'
import type { Colbert } from '../../models/colbert.js'
import type { Device } from '../../tensor/device.js'
import { scope } from '../../tensor/scope.js'
import { Tape, withoutTape } from '../../tensor/tape.js'
import { includes, partsOf } from '../config/losses.js'
import type { ResolvedPhase, ResolvedRun } from '../config/types.js'

/** A whole batch: tokens of its queries, expansion included, of its documents and of the longest; and how many those are. */
export interface BatchSizes {
  queries: number
  documents: number
  longest: number
  documentCount: number
}

interface Batch {
  /** Of all ranks together. */
  sizes: BatchSizes
  /** Of a token in a graph. */
  graphBytes: number
  /** Of a guide that is still to be loaded. */
  guideBytes: number
  ranks: number
}

/** Tokens of one rank. */
type Sides = Pick<BatchSizes, 'queries' | 'documents'>

/** Bytes of a device. */
export interface MemoryEstimate {
  /** At the peak of a step. */
  bytes: number
  /** Its parts, each at its own largest: what is there before the first step, and the optimiser's moments; */
  base: number
  /** embeddings of the batch and their gradients; */
  embeddings: number
  /** graphs of micro-batches, those that are kept and the one that goes backward; */
  graphs: number
  /** scores and argmax of the loss. */
  loss: number
}

/** What backward adds to a micro-batch's graph while it goes through it: measured, 2 to 7 % for 4 to 12 layers. */
const BACKWARD = 1.06
/** Rows of the encoder's width for each token, while it runs without a tape: measured, 16 to 21. */
const FORWARD = 20
/** Queries that `contrastive` scores at a time. */
const BLOCK = 1024
/** Bytes of the scores of earlier blocks that it keeps. */
const KEPT = 2 ** 28
const PROBE = { sequences: 2, length: 64 }

/** Bytes that graphs may hold so that they need not be made twice. */
export const activationMemoryOf = (
  { activationMemory }: Pick<ResolvedRun, 'activationMemory'>,
  device: Device,
): number => (activationMemory === 'auto' ? Math.floor(device.memory().limit / 4) : activationMemory)

/** Bytes that a tape keeps of the encoder for each token: it is tried. */
export function graphBytesOfToken(model: Colbert): number {
  const { device } = model
  const length = Math.min(model.positions, PROBE.length)
  const column = fill(model.featurizer.maskId, PROBE.sequences, length)
  const embed = () => model.embed(column, 0, PROBE.sequences, { seed: 0, step: 0 })
  return scope(() => {
    withoutTape(embed) // tables that outlive a pass are there now
    const before = device.memory().bytes
    using tape = new Tape()
    tape.run(embed)
    return (device.memory().bytes - before) / (PROBE.sequences * length)
  })
}

/**
 * The peak of a step over a batch, by what `gradCache` holds when: all embeddings while the loss makes their gradients,
 * beside the graphs that are kept; then the gradients, while micro-batch after micro-batch goes backward.
 */
export function estimateMemory(
  model: Colbert,
  config: Pick<ResolvedRun, 'microBatchTokens' | 'activationMemory'>,
  phase: Pick<ResolvedPhase, 'loss' | 'batch' | 'gather' | 'symmetric'>,
  { sizes, graphBytes, guideBytes, ranks }: Batch,
): MemoryEstimate {
  const { device, parameters, dim } = model
  const real = parameters.values.bytes / parameters.values.size
  const { bytes: live } = device.memory()
  const base = live + 2 * parameters.values.bytes + guideBytes
  const own = { queries: sizes.queries / ranks, documents: sizes.documents / ranks }
  const allPairs = includes(phase.loss, 'contrastive')
  const here = {
    queries: allPairs && phase.gather === 'queries' ? sizes.queries : own.queries,
    documents: allPairs && phase.gather === 'documents' ? sizes.documents : own.documents,
  }
  const pooled = model.recipe.pooling !== 'none'
  const rowsOfText = (side: keyof Sides): number =>
    pooled ? (side === 'queries' ? phase.batch : sizes.documentCount) / sizes[side] : 1
  const vectors = (here.queries * rowsOfText('queries') + here.documents * rowsOfText('documents')) * dim
  const parts = partsOf(phase.loss).length
  const sums = parts > 1 ? parts + 1 : 1 // each part's gradients, and their sum
  const [values, gradients] = [vectors * (model.tokenType === 'float16' ? 2 : real), vectors * real]

  const graphs = graphsOf(model, config, phase, { sizes, own, graphBytes, ranks })

  const columns = (sizes.documentCount * here.documents) / sizes.documents
  const rows = Math.min(BLOCK, (phase.batch * here.queries) / sizes.queries)
  const winner = sizes.longest < 2 ** 8 ? 1 : sizes.longest < 2 ** 16 ? 2 : 4
  const pairs = allPairs ? rows * columns : columns
  const turned = phase.symmetric ? 3 * pairs * real : 0 // scores turned, their gradients, and those turned back
  const block = pairs * (real + (winner * sizes.queries * rowsOfText('queries')) / phase.batch)
  // Scores of earlier blocks are kept where the softmax ends only after the last one.
  const late = allPairs && (phase.symmetric || (ranks > 1 && phase.gather === 'queries'))
  const earlier = Math.ceil((phase.batch * here.queries) / sizes.queries / BLOCK) - 1
  const loss = block + turned + (late ? Math.min(KEPT, earlier * block) : 0)

  const made = values + sums * gradients
  const peak = Math.max(values + graphs.forward, made + graphs.kept + loss, gradients + graphs.backward)
  return {
    bytes: Math.round(base + peak),
    base: Math.round(base),
    embeddings: Math.round(made),
    graphs: Math.round(Math.max(graphs.forward, graphs.backward)),
    loss: Math.round(loss),
  }
}

export const gibibytes = (bytes: number): string => (bytes / 2 ** 30).toPrecision(3)

/** Bytes of the graphs that are kept from the first pass, and of what is there at once in it and in backward. */
function graphsOf(
  { device, parameters }: Colbert,
  { microBatchTokens, activationMemory }: Pick<ResolvedRun, 'microBatchTokens' | 'activationMemory'>,
  { gather }: Pick<ResolvedPhase, 'gather'>,
  { sizes, own, graphBytes, ranks }: Omit<Batch, 'guideBytes'> & { own: Sides },
): { kept: number; forward: number; backward: number } {
  let budget = activationMemoryOf({ activationMemory }, device)
  const most = Math.max(microBatchTokens, sizes.longest)
  const kept = { queries: 0, documents: 0 }
  for (const side of ['queries', 'documents'] as const)
    for (let left = own[side]; left > 0 && budget > 0; left -= most) {
      const bytes = Math.min(left, most) * graphBytes
      kept[side] += bytes
      budget -= bytes
    }
  const all = kept.queries + kept.documents
  // The side that goes backward last has its graphs until then; the other one's go first, so micro-batches of it that
  // are made again find them gone.
  const last = ranks > 1 && gather === 'documents' ? 'documents' : 'queries'
  const first = last === 'queries' ? 'documents' : 'queries'
  const microBatch = (side: keyof Sides) => Math.min(own[side], most) * graphBytes
  const again = (side: keyof Sides) => (kept[side] < 0.999 * own[side] * graphBytes ? BACKWARD * microBatch(side) : 0)
  const backward = Math.max(
    all + (BACKWARD - 1) * Math.max(microBatch(first), microBatch(last)),
    kept[last] + again(first),
    again(last),
  )
  const width = parameters.entries[0]!.shape.at(-1)! // of the embedding matrix
  const activation = parameters.type === 'bfloat16' ? 2 : parameters.values.bytes / parameters.values.size
  const without = again(first) + again(last) > 0 ? FORWARD * width * activation * Math.min(own[first], most) : 0
  return { kept: all, forward: all + without, backward }
}

function fill(id: number, count: number, length: number): TokenColumn {
  const offsets = Float64Array.from({ length: count + 1 }, (_, i) => i * length)
  return {
    ids: new Int32Array(count * length).fill(id),
    offsets,
    keyLengths: new Int32Array(count).fill(length),
    keep: null,
    keptOffsets: offsets,
    rows: Float64Array.from({ length: count }, (_, i) => i),
    column: 1,
  }
}
