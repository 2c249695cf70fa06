import type { TokenColumn, TrainBatch } from '../data/collate.js'
import { AbortedError, ArgumentError } from '../errors.js'
import type { TokenEmbeddings } from '../losses/index.js'
import type { Parameters } from '../nn/parameters.js'
import type { Device } from '../tensor/device.js'
import { type Group, self } from '../tensor/group.js'
import { copyRows } from '../tensor/ops.gen.js'
import { Scope } from '../tensor/scope.js'
import { Tape, withoutTape } from '../tensor/tape.js'
import { Segments, Tensor } from '../tensor/tensor.js'

/** Names the draws of one step: dropout depends on it, on the row and on the position, never on the chunking. */
export interface StepKey {
  seed: number
  step: number
}

/** What GradCache needs of a model; `Colbert` is one. */
export interface EmbeddingModel {
  readonly device: Device
  readonly parameters: Parameters
  /** Dimension of a token embedding. */
  readonly dim: number
  /** Unit-norm embeddings of sequences [first, last) of a column; dropout only with a key. */
  embed(column: TokenColumn, first: number, last: number, key: StepKey | null): TokenEmbeddings
}

export type BatchLoss = (embeddings: {
  queries: TokenEmbeddings
  documents: TokenEmbeddings
  batch: TrainBatch
}) => Tensor

export interface GradCacheOptions extends StepKey {
  /** Tokens encoded at a time; a longer sequence is a chunk of its own. */
  chunkTokens: number
  /** Bytes that the graphs of the first chunks may hold so that they need not be encoded twice. Default 0. */
  keepBytes?: number
  /** Factor on every gradient; 1 is the gradient of the returned loss. */
  gradientScale?: number
  group?: Group
  signal?: AbortSignal
}

interface Chunk {
  side: 'queries' | 'documents'
  first: number
  last: number
  /** Set while its graph is kept. */
  kept?: { tape: Tape; tokens: Tensor }
}

/**
 * Gao et al. 2021, "Scaling deep contrastive learning batch size under memory limited setup", as three passes over the
 * tape: encode chunk by chunk; loss → gradient of each embedding; encode again and start backward from that gradient.
 * Chunks whose graphs fit in `keepBytes` are encoded once. The result is the gradient of the whole batch: chunking and
 * keeping change memory and time, and the order of parameter sums is the same in every case.
 * Gradients accumulate into the model's parameters; everything is issued, nothing awaited.
 * @returns the loss, [1]; the caller disposes of it
 */
export function gradCache(
  model: EmbeddingModel,
  batch: TrainBatch,
  loss: BatchLoss,
  options: GradCacheOptions,
): Tensor {
  const passes = walk(model, batch, loss, options)
  for (;;) {
    const next = passes.next()
    if (next.done) return next.value
  }
}

/**
 * The same, but at most one chunk ahead of the device, so that the event loop stays free in steps of any size.
 * @throws AbortedError ERR_ABORTED once `signal` fires and the queue has drained; gradients are then incomplete
 */
export async function gradCacheAsync(
  model: EmbeddingModel,
  batch: TrainBatch,
  loss: BatchLoss,
  options: GradCacheOptions,
): Promise<Tensor> {
  const passes = walk(model, batch, loss, options)
  let before: Promise<void> | null = null
  try {
    for (;;) {
      const next = passes.next()
      if (next.done) return next.value
      const issued = model.device.event()
      issued.catch(() => {}) // awaited below, or superseded by an earlier failure
      if (before) await before
      before = issued
      if (options.signal?.aborted) {
        await issued
        throw new AbortedError('ERR_ABORTED', 'the step was aborted')
      }
    }
  } finally {
    passes.return(undefined as never)
  }
}

/** The passes; yields after each chunk. Nothing ambient survives a yield: tapes and scopes are explicit. */
function* walk(
  model: EmbeddingModel,
  batch: TrainBatch,
  loss: BatchLoss,
  options: GradCacheOptions,
): Generator<void, Tensor> {
  if (!(options?.chunkTokens > 0))
    throw new ArgumentError('ERR_ARGUMENT', `chunkTokens must be > 0, got ${options?.chunkTokens}`)
  for (const name of ['seed', 'step'] as const)
    if (!Number.isSafeInteger(options[name]) || options[name] < 0)
      throw new ArgumentError('ERR_ARGUMENT', `${name} is ${options[name]}, expected a whole number ≥ 0`)
  const { device } = model
  const key = { seed: options.seed, step: options.step }
  const chunks = [...chunksOf('queries', batch.queries, options.chunkTokens)]
  chunks.push(...chunksOf('documents', batch.documents, options.chunkTokens))
  const embed = (c: Chunk) => model.embed(batch[c.side], c.first, c.last, key)
  const rowsOf = (c: Chunk): [number, number] => {
    const { keptOffsets } = batch[c.side]
    return [keptOffsets[c.first]!, keptOffsets[c.last]!]
  }
  using owned = new Scope()
  try {
    const whole = owned.run(() => ({
      queries: wholeOf(model, batch.queries),
      documents: wholeOf(model, batch.documents),
    }))

    let budget = options.keepBytes ?? 0
    for (const chunk of chunks) {
      using temporary = new Scope()
      temporary.run(() => {
        const before = device.memory().bytes
        const tape = budget > 0 ? new Tape() : null
        const { tokens } = tape ? tape.run(() => embed(chunk)) : withoutTape(() => embed(chunk))
        copyRows(tokens, whole[chunk.side].tokens, { row: rowsOf(chunk)[0] })
        if (tape) {
          chunk.kept = { tape, tokens }
          budget -= device.memory().bytes - before
        }
      })
      yield
    }

    const [value, gradients] = owned.run(() => {
      const tape = new Tape()
      const { queries, documents } = whole
      queries.tokens.requiresGradient = documents.tokens.requiresGradient = true
      const value = checkLoss(tape.run(() => loss({ queries, documents, batch })))
      const seed = options.gradientScale === undefined ? undefined : Tensor.from(device, [options.gradientScale])
      const [dQueries, dDocuments] = tape.backward(value, seed, [queries.tokens, documents.tokens])
      for (const side of [queries, documents]) side.tokens.dispose()
      return [value, { queries: dQueries, documents: dDocuments }]
    })
    yield

    for (const chunk of chunks) {
      using temporary = new Scope()
      temporary.run(() => {
        const gradient = gradients[chunk.side]?.rows(...rowsOf(chunk))
        if (!gradient) return
        const tape = chunk.kept?.tape ?? new Tape()
        const tokens = chunk.kept?.tokens ?? tape.run(() => embed(chunk)).tokens
        delete chunk.kept
        tape.backward(tokens, gradient)
      })
      yield
    }
    ;(options.group ?? self).allReduceSum(model.parameters.gradients).wait()
    return owned.release(value)
  } finally {
    for (const chunk of chunks) chunk.kept?.tape.dispose()
  }
}

/** A loss function is the user's: what it returns is checked before it is differentiated. */
function checkLoss(value: unknown): Tensor {
  if (!(value instanceof Tensor) || value.size !== 1)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `the loss function returned ${value instanceof Tensor ? `shape [${value.shape}]` : value instanceof Promise ? 'a promise' : String(value)}, ` +
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
  return { tokens: Tensor.empty(model.device, [segments.rowCount, model.dim]), segments }
}

function* chunksOf(side: Chunk['side'], column: TokenColumn, chunkTokens: number): Generator<Chunk> {
  const { offsets } = column
  const count = offsets.length - 1
  let first = 0
  for (let i = 1; i <= count; i++)
    if (i === count || offsets[i + 1]! - offsets[first]! > chunkTokens) {
      yield { side, first, last: i }
      first = i
    }
}
