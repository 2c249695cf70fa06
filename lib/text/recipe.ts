import { createHash } from 'node:crypto'
import { nearest, RecipeError } from '../errors.js'

/**
 * How text becomes tokens. It travels with checkpoint, shards, index and report, and the sides of a comparison must
 * have the same one: queries and documents encoded with other prompts or lengths silently rank worse.
 */
export interface Recipe {
  /** Marker token inserted after [CLS]; `''` for none. PyLate's default ends in a space, which belongs to the token. */
  queryPrefix: string
  /** Marker token of documents, as `queryPrefix`. */
  documentPrefix: string
  /** Plain text put before every text; it uses up length. */
  queryPrompt: string
  /** Plain text before every document, as `queryPrompt`. */
  documentPrompt: string
  /** Total tokens of a sequence with [CLS], prefix, prompt and [SEP], as in PyLate. */
  queryLength: number
  /** Total tokens of a document, as `queryLength`. */
  documentLength: number
  /**
   * Fill queries with expansion tokens, each a scoring vector: up to queryLength (`true`; sentence-transformers calls it
   * "fixed"), or up to so many tokens, while longer queries keep theirs up to queryLength ("min").
   */
  queryExpansion: boolean | number
  /** Whether other tokens may attend to those expansion tokens. */
  attendToExpansionTokens: boolean
  /** The token queries are filled with; `''` for the tokenizer's mask token. */
  expansionToken: string
  /** Tokens left out of scoring, by exact token. */
  skiplistWords: string[]
  /** Whose tokens the skiplist is for. */
  skiplistTasks: ('query' | 'document')[]
  /** Ids of the only document tokens that score; none: all do. Models of page images keep their patches by it. */
  keepOnlyTokenIds: number[]
  /** Negative similarities count as 0, as in PyLate, whose masked tokens score 0. Skipped tokens never score. */
  clampNegatives: boolean
  /**
   * `none`: every token scores, which is late interaction. A dense model has one vector a text instead: its first token's
   * (`cls`), or the mean over its tokens; MaxSim is the cosine then.
   */
  pooling: 'none' | 'cls' | 'mean'
  /** Take white space from both ends of prompt and text, as PyLate does; sentence-transformers 6 leaves it. */
  strip: boolean
  /** Lower-case texts before the tokenizer sees them. */
  lowerCase: boolean
  /** `Tokenizer.hash`, prefixes included; `''` until a Featurizer binds the recipe to a tokenizer. */
  tokenizerHash: string
}

/** The 32 ASCII punctuation marks. */
export const PUNCTUATION: readonly string[] = [...'!"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~']

const DEFAULTS: Readonly<Recipe> = {
  queryPrefix: '[Q] ',
  documentPrefix: '[D] ',
  queryPrompt: '',
  documentPrompt: '',
  queryLength: 32,
  documentLength: 180,
  queryExpansion: true,
  attendToExpansionTokens: false,
  expansionToken: '',
  skiplistWords: [...PUNCTUATION],
  skiplistTasks: ['document'],
  keepOnlyTokenIds: [],
  clampNegatives: false,
  pooling: 'none',
  strip: true,
  lowerCase: false,
  tokenizerHash: '',
}
/** Of a dense model, as sentence-transformers'. */
const DENSE: Readonly<Partial<Recipe>> = {
  queryPrefix: '',
  documentPrefix: '',
  queryExpansion: false,
  skiplistWords: [],
  strip: false,
}
/** What says which tokens score, or how; a dense model has one vector. */
const OF_TOKENS = ['queryExpansion', 'skiplistWords', 'keepOnlyTokenIds', 'clampNegatives'] as const
const FIELDS = Object.keys(DEFAULTS) as (keyof Recipe)[]

/**
 * PyLate's defaults, or those of dense models where `pooling` is given, with `overrides`.
 * @throws RecipeError `ERR_RECIPE` for an unknown field or a value of the wrong kind.
 */
export function defaultRecipe(overrides: Partial<Recipe> = {}): Recipe {
  for (const [key, value] of Object.entries(overrides)) {
    if (!(key in DEFAULTS)) {
      const hint = nearest(key, FIELDS)
      throw invalid(key, value, hint === undefined ? `one of ${FIELDS.join(', ')}` : `"${hint}"?`, 'has no field')
    }
  }
  const given = Object.fromEntries(Object.entries(overrides).filter(([, value]) => value !== undefined))
  const pooled = (given.pooling ?? 'none') !== 'none'
  const recipe = { ...DEFAULTS, ...(pooled && DENSE), ...given } as Recipe
  for (const field of FIELDS) {
    const value: unknown = recipe[field]
    const list = lists[field]
    if (list) {
      if (!Array.isArray(value) || !value.every(list.is)) throw invalid(field, value, list.expected)
      Object.assign(recipe, { [field]: [...value] })
    } else if (field === 'queryLength' || field === 'documentLength') {
      if (!isLength(value)) throw invalid(field, value, 'a number of tokens from 1 to 1048576')
    } else if (field === 'pooling') {
      if (!['none', 'cls', 'mean'].includes(recipe.pooling)) throw invalid(field, value, '"none", "cls" or "mean"')
    } else if (field === 'queryExpansion') {
      if (typeof value !== 'boolean' && !(isLength(value) && value <= recipe.queryLength))
        throw invalid(field, value, `true, false or a number of tokens up to queryLength, ${recipe.queryLength}`)
    } else if (typeof value !== typeof DEFAULTS[field]) {
      throw invalid(field, value, `a ${typeof DEFAULTS[field]}${value === null ? "; in YAML none is ''" : ''}`)
    }
  }
  const idle =
    pooled && OF_TOKENS.find((field) => (Array.isArray(recipe[field]) ? recipe[field].length > 0 : recipe[field]))
  if (idle)
    throw invalid(
      idle,
      recipe[idle],
      `${Array.isArray(recipe[idle]) ? '[]' : 'false'}: pooling "${recipe.pooling}" makes one vector of all tokens`,
    )
  if (recipe.queryExpansion === recipe.queryLength) recipe.queryExpansion = true
  // Nothing can attend to positions that do not exist; PyLate turns the flag off too.
  if (!recipe.queryExpansion) Object.assign(recipe, { attendToExpansionTokens: false, expansionToken: '' })
  return recipe
}

const isLength = (value: unknown): value is number =>
  Number.isInteger(value) && (value as number) >= 1 && (value as number) <= 1 << 20

/** What each entry of a list is. */
const lists: Partial<Record<keyof Recipe, { expected: string; is(entry: unknown): boolean }>> = {
  skiplistWords: { expected: 'an array of tokens', is: (word) => typeof word === 'string' },
  skiplistTasks: {
    expected: 'an array of "query" and "document"',
    is: (task) => task === 'query' || task === 'document',
  },
  keepOnlyTokenIds: { expected: 'an array of ids', is: (id) => Number.isInteger(id) && (id as number) >= 0 },
}

/** A copy that nobody can change: what a model goes by, and has learned, changes by `setRecipe` alone. */
export function fixedRecipe(recipe: Recipe): Recipe {
  const copy = { ...recipe }
  for (const field of Object.keys(lists) as (keyof Recipe)[])
    Object.assign(copy, { [field]: Object.freeze([...(recipe[field] as unknown[])]) })
  return Object.freeze(copy)
}

/** sha256 (hex) over all fields. */
export function recipeHash(recipe: Recipe): string {
  return createHash('sha256')
    .update(JSON.stringify(FIELDS.map((field) => recipe[field])))
    .digest('hex')
}

function invalid(field: string, value: unknown, expected: string, problem = 'has a bad value in'): RecipeError {
  return new RecipeError(
    'ERR_RECIPE',
    `the recipe ${problem} "${field}": got ${JSON.stringify(value)}, expected ${expected}`,
    {
      field,
      value,
    },
  )
}
