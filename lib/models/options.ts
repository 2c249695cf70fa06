import type { HubProgress } from '../hub/repository.js'
import { flag, func, type Kinds, object, oneOf, signal, text, whole } from '../options.js'
import { type Device, deviceOption, type Precision, precisions } from '../tensor/device.js'
import type { Recipe } from '../text/recipe.js'

/** Options of `Colbert.create`. */
export interface CreateOptions {
  /** Decides every initial value, with the parameter's name. Default 0. */
  seed?: number
  /** `cpu`, `cuda`, or one of several GPUs, as `cuda:1`; or a device that is open. Default `cpu`. */
  device?: string | Device
  /** What it computes with. Default: `bfloat16` on a GPU, else `float32`. */
  precision?: Precision
}

/** Options of `Colbert.load`. */
export interface LoadOptions extends CreateOptions {
  /** A folder without a projection gets a new, random one; without this it is refused. */
  freshProjection?: boolean
  /** Dimension of the new projection. Default 128. */
  dim?: number
  /** Overrides what the folder says about text. */
  recipe?: Partial<Recipe>
  /** Of a model on the Hub: a branch, a tag or a commit, as after `@` in its name. Default `main`. */
  revision?: string
  /** Told how the download of a model on the Hub stands, a few times a second. */
  onProgress?: (progress: HubProgress) => void
  /** Ends a download; what is there of it is gone on with the next time. */
  signal?: AbortSignal
}

export const createOptions: Kinds<CreateOptions> = {
  seed: whole(0),
  device: deviceOption,
  precision: oneOf(...precisions),
}
export const loadOptions: Kinds<LoadOptions> = {
  ...createOptions,
  freshProjection: flag,
  dim: whole(1),
  recipe: object,
  revision: text,
  onProgress: func,
  signal,
}
