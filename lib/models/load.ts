import { ArgumentError, FormatError } from '../errors.js'
import { defaultRecipe } from '../text/recipe.js'
import { Tokenizer } from '../text/tokenizer/tokenizer.js'
import { freshHead, type ModelSpec, withPrefixes } from './create.js'
import { ModelWeights } from './formats/load.js'
import { locateModel } from './formats/source.js'
import { LearnedRecipe } from './learned-recipe.js'
import type { LoadOptions } from './options.js'

/** A model in a folder, before it has a device. */
export interface StoredModel {
  spec: ModelSpec
  /** Its weights, open: `close()` them. */
  weights: ModelWeights
  /** The folder has no projection; the values of the new one are still to be drawn. */
  fresh: boolean
}

/** The model of a folder, or of a name on the Hub: all that can be refused is, before its weights are fetched. Errors as `Colbert.load`, but for those of the device. */
export async function openStoredModel(dir: string, options: LoadOptions): Promise<StoredModel> {
  const { layout, fetchWeights } = await locateModel(dir, options)
  const dense = layout.name === 'dense'
  if (dense && options.freshProjection)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      'dense and freshProjection are two kinds of model, with one vector a text or one a token; give one of them',
    )
  const fresh = layout.head.length === 0 && !dense
  if (fresh && !options.freshProjection)
    throw new FormatError(
      'ERR_FORMAT',
      `${dir} holds ${layout.pools ? 'a dense model, which pools a text into one vector' : 'an encoder without a projection'} ` +
        'and is no ColBERT model yet. To train its encoder as one, ask for a new projection: ' +
        '{ freshProjection: true, dim: 128 }. To use it as a dense model: { dense: true }',
      { dir },
    )
  const own = (['freshProjection', 'dim', 'head'] as const).find((key) => options[key])
  if (!fresh && own)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      dense ? `${own} has no effect with dense: true` : `${dir} has a projection of its own; ${own} does not apply`,
    )
  if (!fresh && options.seed !== undefined)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `seed is ${options.seed}, but nothing of ${dir} starts at random; it goes with freshProjection`,
    )
  // An encoder alone does not say how it pools: whoever asks for a dense model does.
  const said = dense && layout.recipe.pooling === undefined ? { pooling: options.recipe?.pooling } : {}
  const folders = defaultRecipe({ ...layout.recipe, ...said })
  const recipe = defaultRecipe({ ...folders, ...options.recipe })
  if (dense !== (recipe.pooling !== 'none'))
    throw new ArgumentError(
      'ERR_ARGUMENT',
      dense
        ? `${dir}: a dense model pools its tokens. Say how: recipe: { pooling: 'cls' } or 'mean', whichever it was trained with`
        : `recipe.pooling is "${recipe.pooling}", but this is no dense model; for one ask with { dense: true }`,
      { dir },
    )
  const learned = new LearnedRecipe(folders, layout.trained)
  learned.change(folders, options.recipe ?? {}, recipe, 0, options.acceptRecipeChange ?? [])
  const stored = lowerCasing(await Tokenizer.load(layout.encoderDir), layout.lowerCases)
  await fetchWeights()
  const weights = await ModelWeights.open(layout)
  try {
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
    const head = fresh ? freshHead(config.width, options) : layout.head.map((layer) => layer.config)
    const { architecture, json } = layout
    return { spec: { architecture, config, json, head, tokenizer, recipe, learned }, weights, fresh }
  } catch (error) {
    await weights.close()
    throw error
  }
}

/** As sentence-transformers 6 changes a tokenizer for `do_lower_case`, unless it has such a normaliser. */
function lowerCasing(tokenizer: Tokenizer, asked: boolean): Tokenizer {
  const { json, ...shared } = tokenizer.shared
  const normalizer = json.normalizer as { type: string; normalizers?: { type: string }[] } | null
  const parts = normalizer?.type === 'Sequence' ? normalizer.normalizers! : normalizer ? [normalizer] : []
  if (!asked || parts.some(({ type }) => type === 'Lowercase')) return tokenizer
  const lowered = { type: 'Sequence', normalizers: [{ type: 'Lowercase' }, ...parts] }
  return Tokenizer.fromShared({ ...shared, json: { ...json, normalizer: lowered } })
}
