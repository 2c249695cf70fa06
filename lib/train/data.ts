import { type DataOptions, openData as openFeaturized, type TrainData } from '../data/collate.js'
import type { Featurizer } from '../text/featurizer.js'

/** As the phases of a run read it: by a model's recipe, or by a featurizer of one's own. */
export type OpenDataOptions = Omit<DataOptions, 'featurizer'> &
  ({ model: { readonly featurizer: Featurizer } } | { featurizer: Featurizer })

/**
 * Training data by step, for a loop of one's own. Errors as `openData` of lib/data.
 * @returns batches that are a pure function of (seed, step)
 */
export function openData(options: OpenDataOptions): Promise<TrainData> {
  const featurizer = 'model' in options ? options.model.featurizer : options.featurizer
  return openFeaturized({ ...options, featurizer })
}
