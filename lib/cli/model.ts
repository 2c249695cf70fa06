/** A model as a verb of the command line uses it: by its own recipe, but for what was asked for and accepted. */
import { ArgumentError } from '../errors.js'
import { Colbert } from '../models/colbert.js'
import type { LoadPrecision } from '../models/options.js'
import type { OnProgress } from '../progress.js'
import { type AlignedField, describeChange } from '../text/alignment.js'
import { defaultRecipe, type Recipe } from '../text/recipe.js'
import { colour } from './common.js'
import { showing } from './progress.js'

/** Options of every verb that uses a model as it is. */
export interface ModelOptions {
  device: string
  /** Default bfloat16 on a GPU, else float32. */
  precision?: LoadPrecision
  /** Take a dense model as what it is. */
  dense?: boolean
  /** `field=value`, each. */
  recipe?: readonly string[]
  acceptRecipeChange?: readonly string[]
}

/** Loads a model. How its download stands, and what is worth knowing of its recipe, goes to standard error where `aloud`. */
export async function loadModel(
  name: string,
  options: ModelOptions,
  { signal, aloud = true }: { signal: AbortSignal; aloud?: boolean },
): Promise<Colbert> {
  const { acceptRecipeChange = [] } = options
  const note = (text: string) => aloud && process.stderr.write(`${colour('yellow', 'warn')}  ${text}\n`)
  const load = (onProgress: OnProgress): Promise<Colbert> =>
    Colbert.load(name, {
      device: options.device,
      precision: options.precision,
      dense: options.dense,
      signal,
      onProgress,
      recipe: recipeOf(options.recipe ?? []),
      acceptRecipeChange: acceptRecipeChange as AlignedField[],
      onNote: note,
    })
  const model = await showing(load, aloud)
  for (const change of model.recipeChanges)
    if (acceptRecipeChange.includes(change.field) && same(change.to, model.recipe[change.field]))
      note(`${name}: ${describeChange(change)} (accepted)`)
  return model
}

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b)

/** Fields of a recipe from `field=value`: texts as they stand, all else as JSON. */
function recipeOf(settings: readonly string[]): Partial<Recipe> {
  const recipe: Record<string, unknown> = {}
  const kinds = defaultRecipe()
  for (const setting of settings) {
    const split = setting.indexOf('=')
    if (split < 1)
      throw new ArgumentError('ERR_ARGUMENT', `--recipe ${setting}: expected field=value, as queryLength=64`)
    const [field, text] = [setting.slice(0, split), setting.slice(split + 1)]
    // A field that there is not is named when the recipe is made.
    const isText = !Object.hasOwn(kinds, field) || typeof kinds[field as keyof Recipe] === 'string'
    recipe[field] = isText ? text : jsonOf(setting, text)
  }
  return recipe as Partial<Recipe>
}

function jsonOf(setting: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new ArgumentError('ERR_ARGUMENT', `--recipe ${setting}: "${text}" is no number, true, false or list in JSON`)
  }
}
