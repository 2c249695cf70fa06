import { ArgumentError, FormatError } from '../errors.js'
import { defaultRecipe } from '../text/recipe.js'
import { Tokenizer } from '../text/tokenizer/tokenizer.js'
import type { LoadOptions } from './colbert.js'
import { freshProjection, type ModelSpec, withPrefixes } from './create.js'
import { readLayout } from './formats/layout.js'
import { ModelWeights } from './formats/load.js'
import { LearnedRecipe } from './learned-recipe.js'

/** A model in a folder, before it has a device. */
export interface StoredModel {
  spec: ModelSpec
  /** Its weights, open: `close()` them. */
  weights: ModelWeights
  /** The folder has no projection; the values of the new one are still to be drawn. */
  fresh: boolean
}

/** The model of a folder. Errors as `Colbert.load`, but for those of the device. */
export async function openStoredModel(dir: string, options: LoadOptions): Promise<StoredModel> {
  const layout = await readLayout(dir)
  const fresh = layout.head.length === 0
  if (fresh && !options.freshProjection)
    throw new FormatError(
      'ERR_FORMAT',
      `${dir} holds an encoder without a projection, which is no ColBERT model yet. To train it as one, ask for a new ` +
        'one: { freshProjection: true, dim: 128 }',
      { dir },
    )
  if (!fresh && (options.freshProjection || options.dim !== undefined))
    throw new ArgumentError('ERR_ARGUMENT', `${dir} has a projection of its own; freshProjection and dim do not apply`)
  if (!fresh && options.seed !== undefined)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `seed is ${options.seed}, but nothing of ${dir} starts at random; it goes with freshProjection`,
    )
  const weights = await ModelWeights.open(layout)
  try {
    const folders = defaultRecipe(layout.recipe)
    const recipe = defaultRecipe({ ...folders, ...options.recipe })
    const learned = new LearnedRecipe(folders, layout.trained)
    learned.change(folders, options.recipe ?? {}, recipe, 0, options.acceptRecipeChange ?? [])
    const stored = await Tokenizer.load(layout.encoderDir)
    const tokenizer = withPrefixes(stored, recipe)
    if (stored.vocabSize > weights.storedVocabulary)
      throw new FormatError(
        'ERR_FORMAT',
        `${dir}: the tokenizer has ids up to ${stored.vocabSize - 1}, the embedding matrix only ` +
          `${weights.storedVocabulary} rows; one of them belongs to another model`,
        { dir },
      )
    const vocabulary = Math.max(weights.storedVocabulary, tokenizer.vocabSize)
    const config = { ...weights.config, vocabulary }
    const head = fresh ? [freshProjection(config.width, options.dim ?? 128)] : layout.head.map((layer) => layer.config)
    const { architecture, json } = layout
    return { spec: { architecture, config, json, head, tokenizer, recipe, learned }, weights, fresh }
  } catch (error) {
    await weights.close()
    throw error
  }
}
