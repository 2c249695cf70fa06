import { types } from 'node:util'
import type { TrainBatch } from '../data/collate.js'
import type { TokenColumn } from '../data/column.js'
import { Buckets } from '../distributed/buckets.js'
import { allGatherTokens, type CommDtype, reduceScatterRows } from '../distributed/exchange.js'
import { type Pending, type ProcessGroup, singleProcess } from '../distributed/group.js'
import { AbortedError, ArgumentError, RecipeError } from '../errors.js'
import type { Guide, Ranks, TokenEmbeddings } from '../losses/index.js'
import type { StepKey } from '../nn/index.js'
import type { Parameters } from '../nn/parameters.js'
import {
  above,
  checkOptions,
  func,
  type Kinds,
  number,
  oneOf,
  processGroup,
  required,
  seed,
  signal,
  whole,
} from '../options.js'
import type { OnProgress, Progress } from '../progress.js'
import { offsetsOf, type Range, rangesOf } from '../ragged.js'
import type { Device } from '../tensor/device.js'
import { copyRows } from '../tensor/ops.gen.js'
import { zeros } from '../tensor/ops.js'
import { Scope } from '../tensor/scope.js'
import { Tape, withoutTape } from '../tensor/tape.js'
import { type DType, Segments, Tensor } from '../tensor/tensor.js'
import { describeChange, recipeChanges } from '../text/alignment.js'
import type { Recipe } from '../text/recipe.js'

/** What GradCache needs of a model; `Colbert` is one. */
export interface EmbeddingModel {
  /** Where it computes. */
  readonly device: Device
  /** What gradients accumulate into. */
  readonly parameters: Parameters
  /** Dimension of a token embedding. */
  readonly dim: number
  /** Type of token embeddings. Default: the device's real type. */
  readonly tokenType?: DType
  /** How it scores, which the embeddings that a loss is given carry. Default false. */
  readonly clampNegatives?: boolean
  /** How it reads texts, which must be how those of a batch became tokens. */
  readonly recipe?: Recipe
  /** Unit-norm embeddings of sequences [first, last) of a column; dropout only with a key. */
  embed(column: TokenColumn, first: number, last: number, key: StepKey | null): TokenEmbeddings
}

/**
 * From packed unit-norm embeddings to a scalar [1]; called on a tape. On several ranks `ranks.gathered` says which side
 * holds all ranks' embeddings; the loss returned is that of the whole batch, the same on every rank, and the gradients
 * it sends back are this rank's share: ranks sum them.
 */
export type BatchLoss = (input: {
  queries: TokenEmbeddings
  documents: TokenEmbeddings
  batch: TrainBatch
  ranks: Ranks
  /** For a loss that takes long: told how far the device is with it. */
  onProgress?: OnProgress | undefined
}) => Tensor

export interface GradCacheOptions extends StepKey {
  /** Tokens encoded at a time; a longer sequence is a micro-batch of its own. */
  microBatchTokens: number
  /** Bytes that the graphs of the first micro-batches may hold so that they need not be encoded twice. Default 0. */
  activationMemory?: number
  /** Factor on every gradient; 1 is the gradient of the returned loss. */
  gradientScale?: number
  /** The ranks that share the batch, each with its own rows. Default: this process alone. */
  group?: ProcessGroup
  /**
   * On several ranks: the side whose embeddings every rank gets from all others, and whose gradients go back to it; the other
   * side stays where it is. Queries are shorter. `none` is for losses of each query and its own documents.
   * Default `queries`.
   */
  gather?: Ranks['gathered']
  /** Default `float32`. */
  commDtype?: CommDtype
  /** Parameter gradients travel in pieces of this size. Default 25 MiB. */
  bucketBytes?: number
  /** Several ranks must be aborted at the same micro-batch, or not at all. */
  signal?: AbortSignal
  /** Of `gradCacheAsync`: told after each micro-batch, in which of the passes the device is, and by the loss. Nothing waits for it. */
  onProgress?: OnProgress
}

const gradCacheOptions: Kinds<GradCacheOptions> = {
  seed,
  step: whole(0),
  microBatchTokens: above(0),
  activationMemory: number(0),
  gradientScale: number(),
  group: processGroup,
  gather: oneOf('queries', 'documents', 'none'),
  commDtype: oneOf('float32', 'float16'),
  bucketBytes: above(0),
  signal,
  onProgress: func,
}

type Side = 'queries' | 'documents'

interface MicroBatch extends Range {
  side: Side
  /** Set while its graph is kept. */
  kept?: { tape: Tape; tokens: Tensor }
}

/**
 * Gao et al. 2021, "Scaling deep contrastive learning batch size under memory limited setup", as three passes over the
 * tape: encode micro-batch by micro-batch; loss → gradient of each embedding; encode again and start backward from that
 * gradient. Micro-batches whose graphs fit in `activationMemory` are encoded once. The result is the gradient of the whole
 * batch: the size of micro-batches and keeping graphs change memory and time, and the order of parameter sums is the same
 * in every case.
 *
 * On several ranks the embeddings of one side are gathered as soon as they are there, while the other side is encoded;
 * its gradients are summed at their owners while the other side goes backward, so that side comes last; parameter gradients
 * are summed over ranks in pieces while the last micro-batch goes backward. The number of collectives does not depend on
 * micro-batches.
 *
 * Gradients accumulate into the model's parameters, which hold nothing before on several ranks (it would be summed too).
 * Those of a learned temperature are the caller's to sum. Everything is issued, nothing awaited.
 * @returns the loss, [1]; the caller disposes of it
 */
export function gradCache(
  model: EmbeddingModel,
  batch: TrainBatch,
  loss: BatchLoss,
  options: GradCacheOptions,
): Tensor {
  if (options?.onProgress)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      'gradCache: onProgress has no effect, nothing is awaited; gradCacheAsync tells',
    )
  const passes = gradCachePasses(model, batch, loss, options)
  for (;;) {
    const next = passes.next()
    if (next.done) return next.value
  }
}

/**
 * The same, but at most one micro-batch ahead of the device, so that the event loop stays free in steps of any size.
 * @throws AbortedError ERR_ABORTED once `signal` fires and the queue has drained; gradients are then incomplete
 */
export async function gradCacheAsync(
  model: EmbeddingModel,
  batch: TrainBatch,
  loss: BatchLoss,
  options: GradCacheOptions,
): Promise<Tensor> {
  const passes = gradCachePasses(model, batch, loss, options)
  let before: { through: Promise<void>; progress: Progress } | null = null
  try {
    for (;;) {
      const next = passes.next()
      if (next.done) return next.value
      const issued = model.device.event()
      issued.catch(() => {}) // awaited below, or superseded by an earlier failure
      if (before) {
        await before.through
        options.onProgress?.(before.progress)
      }
      before = { through: issued, progress: next.value }
      if (options.signal?.aborted) {
        await issued
        throw new AbortedError('ERR_ABORTED', 'the step was aborted')
      }
    }
  } finally {
    passes.return(undefined as never)
  }
}

/** How `embedBatch` encodes and gathers. */
export type EmbedBatchOptions = Pick<
  GradCacheOptions,
  'microBatchTokens' | 'group' | 'gather' | 'commDtype' | 'signal' | 'onProgress'
>

const embedBatchOptions: Kinds<EmbedBatchOptions> = {
  microBatchTokens: above(0),
  group: processGroup,
  gather: oneOf('queries', 'documents', 'none'),
  commDtype: oneOf('float32', 'float16'),
  signal,
  onProgress: func,
}

/**
 * The embeddings of a batch without graphs or dropout, each side as `gradCache` gives it to a loss: for a guide, whose batch
 * is the rows of the trained model's in tokens of its own (`data.at(step, { …, like: batch })`).
 * @returns both sides; the caller disposes of their tensors
 * @throws RecipeError ERR_RECIPE for a batch of another recipe than the model's; AbortedError ERR_ABORTED
 */
export async function embedBatch(
  model: EmbeddingModel,
  batch: TrainBatch,
  options: EmbedBatchOptions,
): Promise<Pick<Guide, 'queries' | 'documents'>> {
  checkOptions('embedBatch', options, embedBatchOptions)
  required('embedBatch', 'microBatchTokens', options?.microBatchTokens, embedBatchOptions.microBatchTokens)
  checkRecipe(model.recipe, batch.recipe)
  checkGroup('embedBatch', options)
  const { group = singleProcess, commDtype = 'float32', microBatchTokens } = options
  checkSlice(batch, group)
  const gathered = group.size > 1 ? (options.gather ?? 'queries') : 'none'
  const gatheredSide =
    gathered === 'none' ? null : gatheredSideOf(batch, { group, counts: batch.counts, gathered }, gathered)
  using owned = new Scope()
  const total = Math.max(1, batch.queries.offsets.length + batch.documents.offsets.length - 2)
  let done = 0
  let before: Promise<void> | null = null
  const sideOf = async (side: Side): Promise<TokenEmbeddings> => {
    const column = batch[side]
    const whole = owned.run(() => wholeOf(model, column))
    for (const { first, last } of rangesOf(column.offsets, { rows: microBatchTokens })) {
      using temporary = new Scope()
      temporary.run(() => {
        const { tokens } = withoutTape(() => model.embed(column, first, last, null))
        copyRows(tokens, whole.tokens, { row: column.keptOffsets[first]! })
      })
      const issued = model.device.event()
      issued.catch(() => {}) // awaited below, or superseded by an earlier failure
      if (before) await before
      before = issued
      done += last - first
      options.onProgress?.({ ...{ stage: 'training', part: `guide, ${side}`, done, total }, unit: 'texts' })
      if (options.signal?.aborted) throw new AbortedError('ERR_ABORTED', 'the step was aborted')
    }
    if (gatheredSide?.side !== side) return whole
    return owned.run(() => ({
      ...whole,
      tokens: allGatherTokens(group, whole.tokens, gatheredSide.rows, commDtype).wait(),
      segments: Segments.of(model.device, gatheredSide.offsets),
    }))
  }
  const sides = { queries: await sideOf('queries'), documents: await sideOf('documents') }
  for (const { tokens, segments } of Object.values(sides)) for (const each of [tokens, segments]) owned.release(each)
  return sides
}

/** @throws RecipeError ERR_RECIPE for a batch that would teach a model another recipe than the one it goes by */
function checkRecipe(models: Recipe | undefined, batchs: Recipe | undefined): void {
  if (!models || !batchs || models === batchs) return
  const changes = recipeChanges(models, batchs)
  if (changes.length > 0)
    throw new RecipeError(
      'ERR_RECIPE',
      `the batch was made by another recipe than the model's:\n  ${changes
        .map((change) => describeChange(change, 'of the model', 'of the batch'))
        .join('\n  ')}\nOpen the data with the model; its setRecipe changes how it reads texts`,
      { changes },
    )
}

/** The passes; yields after each micro-batch where they are. Nothing ambient survives a yield: tapes and scopes are explicit. */
function* gradCachePasses(
  model: EmbeddingModel,
  batch: TrainBatch,
  loss: BatchLoss,
  options: GradCacheOptions,
): Generator<Progress, Tensor> {
  checkOptions('gradCache', options, gradCacheOptions)
  for (const name of ['seed', 'step', 'microBatchTokens'] as const)
    required('gradCache', name, options?.[name], gradCacheOptions[name])
  checkGroup('gradCache', options)
  checkRecipe(model.recipe, batch.recipe)
  const { device } = model
  const { group = singleProcess, commDtype = 'float32', bucketBytes = 25 * 2 ** 20 } = options
  checkSlice(batch, group)
  const gathered = group.size > 1 ? (options.gather ?? 'queries') : 'none'
  const ranks: Ranks = { group, counts: batch.counts, gathered }
  const gatheredSide = gathered === 'none' ? null : gatheredSideOf(batch, ranks, gathered)
  const key = { seed: options.seed, step: options.step }
  const microBatchesOf = (side: Side): MicroBatch[] =>
    [...rangesOf(batch[side].offsets, { rows: options.microBatchTokens })].map((range) => ({ side, ...range }))
  const microBatches = { queries: microBatchesOf('queries'), documents: microBatchesOf('documents') }
  const total = 2 * (microBatches.queries.length + microBatches.documents.length) + 1
  let done = 0
  const passed = (part: string): Progress => ({
    stage: 'training',
    part,
    done: ++done,
    total,
    unit: 'micro-batches',
  })
  const embed = ({ side, first, last }: MicroBatch) => model.embed(batch[side], first, last, key)
  const rowsOf = ({ side, first, last }: MicroBatch): [number, number] => {
    const { keptOffsets } = batch[side]
    return [keptOffsets[first]!, keptOffsets[last]!]
  }
  using owned = new Scope()
  try {
    const whole = owned.run(() => ({
      queries: wholeOf(model, batch.queries),
      documents: wholeOf(model, batch.documents),
    }))

    let budget = options.activationMemory ?? 0
    let arriving: Pending | null = null
    for (const side of ['queries', 'documents'] as const) {
      for (const microBatch of microBatches[side]) {
        using temporary = new Scope()
        temporary.run(() => {
          const before = device.memory().bytes
          const tape = budget > 0 ? new Tape() : null
          const { tokens } = tape ? tape.run(() => embed(microBatch)) : withoutTape(() => embed(microBatch))
          copyRows(tokens, whole[side].tokens, { row: rowsOf(microBatch)[0] })
          if (tape) {
            microBatch.kept = { tape, tokens }
            budget -= device.memory().bytes - before
          }
        })
        yield passed(`first pass, ${side}`)
      }
      if (gatheredSide?.side === side)
        owned.run(() => {
          arriving = allGatherTokens(group, whole[side].tokens, gatheredSide.rows, commDtype)
        })
    }

    const [value, gradients, reducing] = owned.run(() => {
      if (gatheredSide) {
        const own = whole[gatheredSide.side]
        whole[gatheredSide.side] = {
          ...own,
          tokens: arriving!.wait(),
          segments: Segments.of(device, gatheredSide.offsets),
        }
        for (const tensor of [own.tokens, own.segments]) tensor.dispose()
      }
      const tape = new Tape()
      const { queries, documents } = whole
      queries.tokens.requiresGradient = documents.tokens.requiresGradient = true
      const value = checkLoss(
        tape.run(() => loss({ queries, documents, batch, ranks, onProgress: options.onProgress })),
      )
      const seed = options.gradientScale === undefined ? undefined : Tensor.from(device, [options.gradientScale])
      const [dQueries, dDocuments] = tape.backward(value, seed, [queries.tokens, documents.tokens])
      const gradients = { queries: dQueries!, documents: dDocuments! }
      let reducing: Pending | null = null
      if (gatheredSide) {
        const all = gradients[gatheredSide.side] ?? zeros(device, whole[gatheredSide.side].tokens.shape)
        reducing = reduceScatterRows(group, all, gatheredSide.rows)
        all.dispose()
      }
      for (const side of [queries, documents]) side.tokens.dispose()
      return [value, gradients, reducing]
    })
    yield passed('loss')

    const buckets = new Buckets(group, model.parameters, bucketBytes)
    const order: Side[] = gathered === 'documents' ? ['queries', 'documents'] : ['documents', 'queries']
    const last = [...microBatches[order[0]!], ...microBatches[order[1]!]].at(-1)
    for (const side of order) {
      if (gatheredSide?.side === side) gradients[side] = owned.run(() => reducing!.wait())
      for (const microBatch of microBatches[side]) {
        using temporary = new Scope()
        temporary.run(() => {
          const gradient = gradients[side]?.rows(...rowsOf(microBatch))
          if (!gradient) return
          const tape = microBatch.kept?.tape ?? new Tape()
          const tokens = microBatch.kept?.tokens ?? tape.run(() => embed(microBatch)).tokens
          delete microBatch.kept
          if (microBatch === last) buckets.expect(tape.parameters())
          tape.backward(tokens, gradient, [], microBatch === last ? (parameter) => buckets.final(parameter) : undefined)
        })
        yield passed(`second pass, ${side}`)
      }
    }
    buckets.finish()
    return owned.release(value)
  } finally {
    for (const microBatch of [...microBatches.queries, ...microBatches.documents]) microBatch.kept?.tape.dispose()
  }
}

/** The side that is gathered, where its sequences are in the whole batch, and how many rows each rank has of it. */
function gatheredSideOf(
  { queryOffsets, documentOffsets, documentsPerQuery }: TrainBatch,
  { counts }: Ranks,
  side: Side,
): { side: Side; offsets: Float64Array; rows: number[] } {
  const offsets = side === 'queries' ? queryOffsets : documentOffsets
  if (!offsets)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      'the batch does not say where all documents start: ask for its part with { documents: true } to gather them',
    )
  // Where the queries of each rank end, and with them their documents, in sequences of that side.
  const sequences = side === 'queries' ? null : offsetsOf(documentsPerQuery)
  let query = 0
  let from = 0
  const rows = counts.map((count) => {
    query += count
    const start = from
    from = offsets[sequences ? sequences[query]! : query]!
    return from - start
  })
  return { side, offsets, rows }
}

/** What is of ranks says so. */
function checkGroup(what: string, options: Partial<GradCacheOptions>): void {
  for (const name of ['gather', 'commDtype', 'bucketBytes'] as const)
    if (options[name] !== undefined && !options.group)
      throw new ArgumentError('ERR_ARGUMENT', `${what}: ${name} has no effect without group; leave it out`, {
        option: name,
      })
}

/** A rank that has other rows than the others think would only be noticed in a collective. */
function checkSlice({ counts, queries, documents, documentsPerQuery }: TrainBatch, { rank, size }: ProcessGroup): void {
  const [q, d] = [queries.offsets.length - 1, documents.offsets.length - 1]
  const [first, total] = [offsetsOf(counts)[rank]!, offsetsOf(counts)[size]]
  const bounds = offsetsOf(documentsPerQuery)
  const expected = bounds[first + q]! - bounds[first]!
  if (counts.length !== size || counts[rank] !== q || documentsPerQuery.length !== total || d !== expected)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `rank ${rank} of ${size} has ${q} queries and ${d} documents, but the batch counts [${counts}] queries by rank, and ` +
        `${expected} documents for this one by documentsPerQuery [${documentsPerQuery.length}]: give every rank its own part of the batch`,
      { rank, size, queries: q, documents: d, expected, counts },
    )
}

/** A loss function is the user's: what it returns is checked before it is differentiated. */
function checkLoss(value: unknown): Tensor {
  if (!(value instanceof Tensor) || value.size !== 1)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `the loss function returned ${value instanceof Tensor ? `shape [${value.shape}]` : types.isPromise(value) ? 'a promise' : String(value)}, ` +
        'expected a tensor of one element, at once',
    )
  if (!value.disposed && !value.requiresGradient)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      'the loss does not depend on the embeddings: compute it with the ops of lateforge/tensor from those it is given',
    )
  return value
}

/** Room for all embeddings of a column. */
function wholeOf(model: EmbeddingModel, column: TokenColumn): TokenEmbeddings {
  const segments = Segments.of(model.device, column.keptOffsets)
  const tokens = Tensor.empty(model.device, [segments.rowCount, model.dim], model.tokenType)
  return { tokens, segments, clampNegatives: model.clampNegatives }
}
