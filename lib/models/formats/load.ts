import { FormatError } from '../../errors.js'
import type { ParameterShape, Parameters } from '../../nn/index.js'
import { inTurns } from '../../turns.js'
import { denseFolder, denseParameters } from '../networks/dense.js'
import type { EncoderConfig } from '../networks/encoder.js'
import type { Layout } from './layout.js'
import { Weights } from './weights.js'

/** Tensors of task heads that a ColBERT model does not use. */
const unusedTensors = /^(pooler|cls|head|decoder|classifier|lm_head|predictions|linear)\.|(position_ids|inv_freq)$/

type Steps = Generator<void, void>
/** Values that are copied or summed at a time. */
const STEP = 1 << 17

/** The weight files of a model folder, opened and matched with our parameters. */
export class ModelWeights {
  readonly config: EncoderConfig
  /** Rows of the embedding matrix in the file; ours may have more, for tokens added since. */
  readonly storedVocabulary: number
  private readonly layout: Layout
  private readonly encoder: Weights
  private readonly heads: readonly Weights[]
  private readonly prefix: string

  private constructor(layout: Layout, encoder: Weights, heads: readonly Weights[]) {
    this.layout = layout
    this.encoder = encoder
    this.heads = heads
    const { architecture, json, configFile } = layout
    const found = ['', architecture.prefix].find((p) => encoder.has(p + architecture.embeddings))
    if (found === undefined)
      throw new FormatError(
        'ERR_FORMAT',
        `${encoder.dir} has no tensor "${architecture.embeddings}", with or without "${architecture.prefix}" before it`,
        { dir: encoder.dir },
      )
    this.prefix = found
    const stored = encoder.tensor(found + architecture.embeddings).shape
    this.config = architecture.configOf({ ...json, vocab_size: stored[0] }, configFile)
    this.storedVocabulary = this.config.vocabulary
  }

  static async open(layout: Layout): Promise<ModelWeights> {
    const encoder = await Weights.open(layout.encoderDir)
    const heads: Weights[] = []
    try {
      if (layout.name !== 'stanford') for (const { dir } of layout.head) heads.push(await Weights.open(dir))
      return new ModelWeights(layout, encoder, heads)
    } catch (error) {
      for (const weights of [encoder, ...heads]) await weights.close()
      throw error
    }
  }

  async close(): Promise<void> {
    for (const weights of [this.encoder, ...this.heads]) await weights.close()
  }

  /**
   * Fills the parameters, one tensor at a time. Rows for added tokens start as the mean of the stored ones.
   * @param told after each; those of a fresh projection are not counted
   * @throws FormatError ERR_FORMAT for a tensor that is missing, has another shape, or that nothing reads
   */
  async read(params: Parameters, told: (done: number, total: number) => void = () => {}): Promise<void> {
    let done = 0
    const total = params.entries.length
    const used = new Set<string>()
    for (const parameter of this.layout.architecture.parameters(this.config)) {
      const stored = this.layout.architecture.stored(this.config, parameter)
      const parts: Part[] = []
      for (const { name, shape, offset } of stored) {
        used.add(this.nameOf(name))
        parts.push({ values: await this.encoder.floats(this.nameOf(name), shape), offset })
      }
      const mean = parameter.name === this.layout.architecture.embeddings
      await inTurns(writeParts(params, parameter, parts, mean))
      told(++done, total)
    }
    for (const name of this.encoder.names) {
      const inside = name.startsWith(this.prefix) ? name.slice(this.prefix.length) : ''
      if (inside && !used.has(name) && !unusedTensors.test(inside) && !this.encoder.isScale(name))
        throw new FormatError(
          'ERR_FORMAT',
          `${this.encoder.dir}: nothing reads tensor "${name}"; the config describes another model than the weights`,
          { dir: this.encoder.dir, name },
        )
    }
    for (const [index, { config }] of this.layout.head.entries())
      for (const { name, shape } of denseParameters(config, index)) {
        const weights = this.layout.name === 'stanford' ? this.encoder : this.heads[index]!
        const values = await weights.floats(name.slice(denseFolder(index).length + 1), shape)
        await inTurns(params.writeInSteps(values, name))
        told(++done, total)
      }
  }

  /** The tensor's name in the file; old BERT files call a norm's weight and bias gamma and beta. */
  private nameOf(name: string): string {
    const full = this.prefix + name
    const old = full.replace(/LayerNorm\.weight$/, 'LayerNorm.gamma').replace(/LayerNorm\.bias$/, 'LayerNorm.beta')
    return !this.encoder.has(full) && this.encoder.has(old) ? old : full
  }
}

interface Part {
  values: Float32Array
  /** First element in the parameter. */
  offset: number
}

/** @param mean rows that no part has are the mean of those that are there */
function* writeParts(params: Parameters, parameter: ParameterShape, parts: Part[], mean: boolean): Steps {
  const { size } = params.entryOf(parameter.name)
  let [{ values }] = parts as [Part]
  if (values.length !== size) {
    values = new Float32Array(size)
    for (const part of parts)
      for (let at = 0; at < part.values.length; at += STEP) {
        values.set(part.values.subarray(at, at + STEP), part.offset + at)
        yield
      }
    if (mean) yield* appendMeanRows(values, parameter)
  }
  yield* params.writeInSteps(values, parameter.name)
}

function* appendMeanRows(values: Float32Array, { shape }: ParameterShape): Steps {
  const [rows, width] = shape as [number, number]
  const mean = new Float64Array(width)
  for (let i = 0; i < rows * width; i++) {
    if (i % STEP === 0) yield
    mean[i % width]! += values[i]! / rows
  }
  for (let i = rows * width; i < values.length; i++) values[i] = mean[i % width]!
}
