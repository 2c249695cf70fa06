import type { HubProgress } from '../hub/repository.js'
import { flag, func, type Kinds, list, object, oneOf, signal, strings, text, whole } from '../options.js'
import type { OnProgress } from '../progress.js'
import { type Device, deviceOption, type Precision, precisions } from '../tensor/device.js'
import type { AlignedField } from '../text/alignment.js'
import type { Recipe } from '../text/recipe.js'
import type { TrainingRecord } from './formats/card.js'
import type { HeadLayerConfig } from './networks/dense.js'

export type { EvaluationDetails, EvaluationRecord, PhaseRecord, SourceRecord, TrainingRecord } from './formats/card.js'

/** Options of `Colbert.create`. */
export interface CreateOptions {
  /** Decides every initial value, with the parameter's name. Default 0. */
  seed?: number
  /** `cpu`, `cuda`, or one of several GPUs, as `cuda:1`; or a device that is open. Default `cpu`. */
  device?: string | Device
  /** What it computes with. Default: `bfloat16` on a GPU, else `float32`. */
  precision?: Precision
}

/** What a loaded model may compute with: `int8` encodes only, on the CPU. */
export const loadPrecisions = [...precisions, 'int8'] as const
/** What a loaded model computes with. */
export type LoadPrecision = (typeof loadPrecisions)[number]

/** Options of `Colbert.load`. */
export interface LoadOptions extends Omit<CreateOptions, 'precision'> {
  /**
   * What it computes with. `int8`: matrix products of int8 weights and int8 rows, with scales of their own, to encode and
   * serve on the CPU; such a model cannot be trained. Default: `bfloat16` on a GPU, else `float32`.
   */
  precision?: LoadPrecision
  /** A folder without a projection gets a new, random one; without this it is refused. */
  freshProjection?: boolean
  /** Dimension of the new projection, which is one matrix. Default 128. */
  dim?: number
  /** In place of `dim`, the layers of the new projection. */
  head?: readonly HeadLayerConfig[]
  /**
   * Take a dense model's folder as what it is: one unit vector a text, by its `pooling`, which is scored as the one row
   * that MaxSim sees. An encoder alone needs `recipe: { pooling: 'cls' }` or `'mean'`. Default false.
   */
  dense?: boolean
  /** Overrides what the folder says about text. What its weights have learned stays, but for `acceptRecipeChange`. */
  recipe?: Partial<Recipe>
  /** Fields of `recipe` that may differ from what the model was trained with. */
  acceptRecipeChange?: readonly AlignedField[]
  /** Told what whoever uses the model should know of its recipe. Default: a process warning. */
  onNote?: (note: string) => void
  /** Of a model on the Hub: a branch, a tag or a commit, as after `@` in its name. Default `main`. */
  revision?: string
  /** Told how the download of a model on the Hub stands, a few times a second, then how many tensors are read. */
  onProgress?: OnProgress<HubProgress>
  /** Ends a download; what is there of it is gone on with the next time. */
  signal?: AbortSignal
}

/** Options of `Colbert.save`. */
export interface SaveOptions {
  /** How the folder is laid out. Default: `pylate`, or `sentence-transformers` where that cannot hold the recipe. */
  layout?: 'pylate' | 'sentence-transformers' | 'stanford'
  /** How it was trained, for its card (README.md). Default: the card says nothing of that. */
  training?: TrainingRecord
}

export const createOptions: Kinds<CreateOptions> = {
  seed: whole(0),
  device: deviceOption,
  precision: oneOf(...precisions),
}
export const loadOptions: Kinds<LoadOptions> = {
  ...createOptions,
  precision: oneOf(...loadPrecisions),
  freshProjection: flag,
  dense: flag,
  dim: whole(1),
  head: list(object),
  recipe: object,
  acceptRecipeChange: strings,
  onNote: func,
  revision: text,
  onProgress: func,
  signal,
}
