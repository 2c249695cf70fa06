import { nearest, RecipeError } from '../errors.js'
import type { Recipe } from './recipe.js'

/**
 * Fields of a recipe that a model's weights have learned. A model that was trained with prompts and used without them, or
 * the other way round, ranks worse and says nothing (the ColBERT-Zero paper's finding), so these stay as they were unless
 * somebody names the change. Lengths are not among them: they may differ, and only going beyond them is worth a word.
 */
export const alignedFields: readonly AlignedField[] = [
  'queryPrompt',
  'documentPrompt',
  'queryPrefix',
  'documentPrefix',
  'queryExpansion',
  'attendToExpansionTokens',
  'expansionToken',
  'skiplistWords',
  'skiplistTasks',
  'keepOnlyTokenIds',
  'clampNegatives',
  'pooling',
  'strip',
  'lowerCase',
]

/** A field of a recipe that must stay as the model was trained. */
export type AlignedField = Exclude<keyof Recipe, 'queryLength' | 'documentLength' | 'tokenizerHash'>

/** A field of a recipe that is no longer what the model was trained with. */
export interface RecipeChange {
  /** Its name. */
  field: AlignedField
  /** What the model was trained with. */
  from: Recipe[AlignedField]
  /** What it is now. */
  to: Recipe[AlignedField]
}

/** The fields in which two recipes differ and must not. */
export function recipeChanges(from: Recipe, to: Recipe): RecipeChange[] {
  return alignedFields
    .filter((field) => JSON.stringify(from[field]) !== JSON.stringify(to[field]))
    .map((field) => ({
      field,
      from: from[field],
      to: to[field],
    }))
}

/** `queryPrompt: "search_query: " in training, "" now`; of long lists only what is not in both. */
export function describeChange({ field, from, to }: RecipeChange, then = 'in training', now = 'now'): string {
  const show = (value: unknown, other: unknown): string => {
    if (!Array.isArray(value) || !Array.isArray(other) || value.length <= 4) return JSON.stringify(value)
    const alone = value.filter((word) => !other.includes(word))
    return `${value.length} entries (${alone.length === 0 ? 'none' : alone.map((word) => JSON.stringify(word)).join(' ')} of them alone)`
  }
  return `${field}: ${show(from, to)} ${then}, ${show(to, from)} ${now}`
}

/**
 * Checks that a model goes on by the recipe it was trained with.
 * @param accept fields whose change is wanted
 * @returns the changes that were accepted
 * @throws RecipeError `ERR_RECIPE` for any other change, with the difference; for a name that is no such field
 */
export function acceptedChanges(what: string, trained: Recipe, now: Recipe, accept: readonly string[]): RecipeChange[] {
  checkAccepted(accept)
  const changes = recipeChanges(trained, now)
  const refused = changes.filter(({ field }) => !accept.includes(field))
  if (refused.length > 0) {
    const fields = refused.map(({ field }) => field)
    throw new RecipeError(
      'ERR_RECIPE',
      `${what} was trained with another recipe:\n  ${refused.map((change) => describeChange(change)).join('\n  ')}\n` +
        'A model that is used otherwise than it was trained ranks worse. Leave it as it was, or accept exactly this ' +
        `change: acceptRecipeChange: ${JSON.stringify(fields).replaceAll('"', "'")} (on the command line: ` +
        `--accept-recipe-change ${fields.join(',')})`,
      { changes: refused },
    )
  }
  return changes
}

export const isAlignedField = (name: unknown): name is AlignedField =>
  (alignedFields as readonly unknown[]).includes(name)

/** @throws RecipeError `ERR_RECIPE` for a name that is no field whose change can be accepted */
export function checkAccepted(accept: readonly string[]): asserts accept is readonly AlignedField[] {
  for (const name of accept)
    if (!isAlignedField(name)) {
      const hint = nearest(name, alignedFields)
      const expected = hint === undefined ? `one of ${alignedFields.join(', ')}` : `"${hint}"?`
      throw new RecipeError(
        'ERR_RECIPE',
        `acceptRecipeChange: "${name}" is no change to accept; expected ${expected}`,
        {
          name,
        },
      )
    }
}

/** What is worth saying where texts may be longer than those of training. */
export function lengthNotes(trained: Recipe, now: Recipe): string[] {
  return (['queryLength', 'documentLength'] as const)
    .filter((key) => now[key] > trained[key])
    .map((key) => `${key} is ${now[key]}, beyond the ${trained[key]} tokens that the model was trained with`)
}

/** Why embeddings by two recipes cannot be compared, or null. Lengths may differ: they cut texts, and change no meaning. */
export function recipeMismatch(
  theirs: Recipe | undefined,
  queries: Recipe | undefined,
  whose = 'of the documents',
): string | null {
  if (!theirs || !queries) return theirs === queries ? null : `only one side says what its recipe is`
  const changes = recipeChanges(theirs, queries)
  if (changes.length > 0) return changes.map((c) => describeChange(c, whose, 'of the queries')).join('\n  ')
  const [t, q] = [theirs.tokenizerHash, queries.tokenizerHash]
  return t === q ? null : `tokenizer: ${t.slice(0, 12)} ${whose}, ${q.slice(0, 12)} of the queries`
}
