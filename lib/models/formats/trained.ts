/** What a folder says of the recipe that its weights were trained with. */
import type { Json, JsonReader } from '../../io/json-reader.js'
import { type AlignedField, alignedFields, isAlignedField, type RecipeChange } from '../../text/alignment.js'

/** How a model came by its recipe. */
export interface Trained {
  /** Whether its weights have learned by a recipe at all: a plain encoder, or a model that was only created, has not. */
  trained: boolean
  /** Fields of the recipe that the folder says nothing of, whatever its training did. */
  unknown: readonly AlignedField[]
  /** Changes of the recipe since its weights first learned one, oldest first. */
  changes: readonly RecipeChange[]
}

/** A model that has learned nothing yet. */
export const untrained: Trained = { trained: false, unknown: [], changes: [] }

/** A dense model that was trained with prompts: they are all that it has learned of how a ColBERT model reads texts. */
export const learnedPrompts: Trained = {
  trained: true,
  unknown: alignedFields.filter((field) => field !== 'queryPrompt' && field !== 'documentPrompt'),
  changes: [],
}

/** PyLate and sentence-transformers write empty prompts where none were given, though training may have had its own. */
export function unnamedPrompts(prompts: JsonReader): AlignedField[] {
  const named = ['query', 'document'].some((role) => prompts.text(role, '') !== '')
  return named ? [] : ['queryPrompt', 'documentPrompt']
}

/**
 * Of the settings of a folder: lateforge writes what it trained with, in a section of its own.
 * @param unsaid fields that folders of this kind, written by others, say nothing of
 * @param others keys of the section that are read elsewhere
 * @throws FormatError ERR_FORMAT for a section that is none
 */
export function trainedOf(
  settings: JsonReader,
  unsaid: readonly AlignedField[],
  others: readonly string[] = [],
): Trained {
  const own = settings.object('lateforge')
  own.allow(['trained', 'unknown', 'recipeChanges', ...others])
  const ours = settings.has('lateforge') || settings.object('__version__').has('lateforge')
  const changes = own.objects('recipeChanges')
  const odd = changes.find(({ field }) => !isAlignedField(field))
  if (odd) throw own.bad('recipeChanges', odd, 'fields of a recipe')
  const unknown = own.texts('unknown', ours ? [] : unsaid)
  if (!unknown.every(isAlignedField)) throw own.bad('unknown', unknown, 'fields of a recipe')
  return {
    trained: own.flag('trained', true),
    unknown,
    changes: changes as unknown as RecipeChange[],
  }
}

/** The section as it is written. */
export const trainedJson = ({ trained, unknown, changes }: Trained): Json => ({
  trained,
  ...(unknown.length > 0 && { unknown }),
  ...(changes.length > 0 && { recipeChanges: changes }),
})
