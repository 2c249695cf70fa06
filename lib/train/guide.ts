import type { TrainBatch } from '../data/collate.js'
import type { Guide } from '../losses/guide.js'
import type { GuideConfig } from './config/types.js'
import { type EmbedBatchOptions, type EmbeddingModel, embedBatch } from './gradcache.js'

/** What the guide of a phase makes of a batch in its own tokens; `free` it once the step is issued. */
export async function askGuide(
  model: EmbeddingModel,
  { margin, relative }: Pick<GuideConfig, 'margin' | 'relative'>,
  batch: TrainBatch,
  options: EmbedBatchOptions,
): Promise<{ guide: Guide; free(): void }> {
  const { queries, documents } = await embedBatch(model, batch, options)
  return {
    guide: { queries, documents, margin, relative },
    free() {
      for (const { tokens, segments } of [queries, documents]) for (const each of [tokens, segments]) each.dispose()
    },
  }
}
