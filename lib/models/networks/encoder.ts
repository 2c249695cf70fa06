import type { Json, JsonReader } from '../../io/json-reader.js'
import type { Packed, ParameterShape, Parameters, Training } from '../../nn/index.js'
import type { Initializer } from '../../nn/initializers.js'
import type { DropoutKey } from '../../tensor/ops.js'
import type { Tensor } from '../../tensor/tensor.js'

/** What every encoder's config has. */
export interface EncoderConfig {
  vocabulary: number
  width: number
  layers: number
  heads: number
  intermediate: number
  /** Longest sequence. */
  positions: number
}

/** More is a mistake or an attack; each layer is an object here before any memory is asked for. */
export const maxLayers = 1024

/** What config.json says of weights that we wrote as int8; other readers find that they do not know the method. */
export const int8Config = { quant_method: 'lateforge', weights: 'int8' } as const
const isInt8Config = (value: unknown): boolean => JSON.stringify(value) === JSON.stringify(int8Config)

/** What every config.json says alike. @throws FormatError ERR_FORMAT, also for heads that do not divide the width */
export function sharedConfigOf(f: JsonReader): Omit<EncoderConfig, 'positions'> {
  const width = f.count('hidden_size')
  const heads = f.count('num_attention_heads')
  if (width % heads !== 0) throw f.bad('num_attention_heads', heads, `a divisor of hidden_size ${width}`)
  if (f.has('quantization_config') && !isInt8Config(f.all.quantization_config))
    throw f.bad('quantization_config', '…', 'none: weights of 16 or 32 bits, which quantised ones are made from')
  return {
    vocabulary: f.count('vocab_size'),
    width,
    layers: f.count('num_hidden_layers', undefined, 1, maxLayers),
    heads,
    intermediate: f.count('intermediate_size'),
  }
}

/** One tensor of a checkpoint file, as a range of rows of one of our parameters (BERT's q, k and v are one matrix). */
export interface StoredPart {
  name: string
  /** The shape in the file. */
  shape: readonly number[]
  /** First element within the parameter. */
  offset: number
}

/** An encoder family: its config, its parameters and how they are named in files, and its forward pass. */
export interface Architecture<C extends EncoderConfig = EncoderConfig> {
  /** `model_type` in config.json. */
  name: string
  /** `architectures` of config.json when we write one. */
  className: string
  /** The matrix whose rows are the vocabulary. */
  embeddings: string
  /** Prefix of tensor names in files that hold a task head too. */
  prefix: string
  /** @throws FormatError ERR_FORMAT for what we cannot compute exactly */
  configOf(json: Json, file?: string): C
  /** A config.json for transformers. */
  jsonOf(config: C): Json
  parameters(config: C): ParameterShape[]
  /** How a fresh model starts, as transformers' `_init_weights`. */
  initializer(config: C, name: string): Initializer
  /** Where a parameter lives in a file. */
  stored(config: C, parameter: ParameterShape): StoredPart[]
  encoder(config: C, params: Parameters): Encoder
}

/** From token ids to the last hidden state. */
export interface Encoder {
  /** [T, width] for T token rows; dropout only when `training` is given. */
  forward(packed: Packed, training: Training | null): Tensor
  /** Frees tables; the parameters belong to the model. */
  dispose(): void
}

/** The dropout at one site of one layer: sites are numbered within a layer, so that no two share draws. */
export function dropoutAt(training: Training | null, p: number, layer: number, site: number): DropoutKey | null {
  return training && p > 0 ? { p, seeds: training.seeds, site: (layer << 8) | site } : null
}
