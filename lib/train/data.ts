import { type DataOptions, openBatches, type TrainData } from '../data/collate.js'
import { ArgumentError } from '../errors.js'
import {
  above,
  checkOptions,
  either,
  func,
  type Kinds,
  kind,
  list,
  object,
  oneOf,
  required,
  seed,
  signal,
  text,
  whole,
} from '../options.js'
import type { Featurizer } from '../text/featurizer.js'

/** As the phases of a run read it: by a model's recipe, or by a featurizer of one's own. */
export type OpenDataOptions = Omit<DataOptions, 'featurizer'> &
  ({ model: { readonly featurizer: Featurizer } } | { featurizer: Featurizer })

const sampling = kind(
  '"proportional", { tempered: exponent } or a list of weights',
  (v) =>
    v === 'proportional' ||
    (Array.isArray(v) && v.every((weight) => Number.isFinite(weight) && weight >= 0)) ||
    (object.is(v) &&
      Object.keys(v as object).join() === 'tempered' &&
      Number.isFinite((v as { tempered: unknown }).tempered)),
)
const openOptions: Kinds<DataOptions & { model: object }> = {
  data: either(text, object, list(either(text, object))),
  sources: kind('an array of sources', Array.isArray),
  model: object,
  featurizer: object,
  batch: whole(1),
  negatives: whole(0),
  sampleNegatives: whole(1),
  dropAbove: above(0),
  seed,
  sampling,
  smallSources: oneOf('refuse', 'wrap'),
  cacheDir: text,
  workers: whole(0, 1024),
  signal,
  onProgress: func,
}

/**
 * Training data by step, for a loop of one's own. Errors as `openBatches` of lib/data.
 * @throws ArgumentError ERR_ARGUMENT for an unknown option or a bad value
 * @returns batches that are a pure function of (seed, step)
 */
export async function openData(options: OpenDataOptions): Promise<TrainData> {
  checkOptions<Partial<DataOptions & { model: object }>>('openData', options, openOptions)
  for (const key of ['batch', 'seed'] as const) required('openData', key, options?.[key], openOptions[key])
  const given = options as { model?: { featurizer: Featurizer }; featurizer?: Featurizer }
  if (!given.model === !given.featurizer)
    throw new ArgumentError('ERR_ARGUMENT', 'openData: give model or featurizer, one of the two', { option: 'model' })
  const featurizer = (given.model ?? given).featurizer!
  return openBatches({ ...options, featurizer })
}
