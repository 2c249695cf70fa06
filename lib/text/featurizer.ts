import { RecipeError } from '../errors.js'
import { atOnce } from '../turns.js'
import { fixedRecipe, type Recipe } from './recipe.js'
import type { Tokenizer } from './tokenizer/tokenizer.js'

type Role = 'query' | 'document'

/** A text as tokens. */
export interface TextFeatures {
  ids: Int32Array
  /** Whether the text has more tokens than the recipe takes. */
  truncated: boolean
}

/** A text taken apart. */
interface Parts {
  ids: Int32Array
  /** Of each token, whether it is a special one or the prefix, and not of the text. */
  special: boolean[]
  /** Tokens that the text has beyond its length. */
  cut: number[]
  /** Whether it has more than those. */
  goesOn: boolean
}

interface RolePlan {
  prompt: string
  /** The prefix id, or none. */
  prefix: readonly number[]
  /** Text tokens that fit beside special tokens and prefix. */
  room: number
}

/**
 * Text to token ids by a recipe, exactly as PyLate builds them: `[CLS] [prefix] prompt text… [SEP]`, cut so that the
 * whole has at most the recipe's length. Only real tokens come out; query expansion is `expandTo` and
 * `maskId`, applied when sequences are collated.
 */
export class Featurizer {
  readonly tokenizer: Tokenizer
  /** The recipe, bound to this tokenizer by its hash; frozen. */
  readonly recipe: Recipe
  /** Queries with fewer tokens are filled up to this many with `maskId`; 0 without expansion. */
  readonly expandTo: number
  readonly maskId: number
  /**
   * 1 at the ids of tokens that documents leave out of scoring, one byte per id. A word counts only where it is itself a
   * token: PyLate maps the others to the unknown id and then drops every unknown token, which we do not imitate.
   */
  readonly skip: Uint8Array
  /** The same of queries, expansion included; null where they leave none out. */
  readonly querySkip: Uint8Array | null
  private readonly plans: Readonly<Record<Role, RolePlan>>

  /**
   * @throws RecipeError `ERR_RECIPE` when a prefix is not a token, a length leaves no room for text, or the recipe
   * belongs to another tokenizer.
   */
  constructor(tokenizer: Tokenizer, recipe: Recipe) {
    if (recipe.tokenizerHash !== '' && recipe.tokenizerHash !== tokenizer.hash) {
      throw new RecipeError(
        'ERR_RECIPE',
        `the recipe was made for tokenizer ${recipe.tokenizerHash.slice(0, 12)} but this one is ${tokenizer.hash.slice(0, 12)}. Use the tokenizer saved with the recipe (its prefixes added).`,
        { expected: recipe.tokenizerHash, found: tokenizer.hash },
      )
    }
    this.tokenizer = tokenizer
    const { expansionToken } = recipe
    this.maskId = expansionToken === '' ? tokenizer.mask : expansionId(tokenizer, expansionToken)
    const isMask = expansionToken !== '' && this.maskId === tokenizer.mask
    this.recipe = fixedRecipe({
      ...recipe,
      tokenizerHash: tokenizer.hash,
      expansionToken: isMask ? '' : expansionToken,
    })
    this.plans = {
      query: plan(tokenizer, 'query', recipe.queryPrefix, recipe.queryPrompt, recipe.queryLength),
      document: plan(tokenizer, 'document', recipe.documentPrefix, recipe.documentPrompt, recipe.documentLength),
    }
    const { queryExpansion, queryLength } = recipe
    this.expandTo = queryExpansion === true ? queryLength : Number(queryExpansion)
    this.skip = skipped(tokenizer, recipe, 'document')
    this.querySkip = recipe.skiplistTasks.includes('query') ? skipped(tokenizer, recipe, 'query') : null
  }

  /** Token ids of a query, at most `queryLength`. */
  query(text: string): Int32Array {
    return this.features(text, 'query').ids
  }

  /** Token ids of a document, at most `documentLength`. */
  document(text: string): Int32Array {
    return this.features(text, 'document').ids
  }

  /** Token ids of a text, and whether it has more than the recipe takes. */
  features(text: string, role: Role): TextFeatures {
    return atOnce(this.featuresInSteps(text, role))
  }

  /** `features` that yields between small steps. */
  *featuresInSteps(text: string, role: Role): Generator<void, TextFeatures> {
    const { room } = this.plans[role]
    const body = yield* this.bodyInSteps(text, role, room + 1)
    const truncated = body.length > room
    if (truncated) body.length = room
    return { ids: Int32Array.from(this.framed(body, role)), truncated }
  }

  /** A text taken apart for a person to look at: its tokens, and the first `most` of those that did not fit. */
  *partsInSteps(text: string, role: Role, most: number): Generator<void, Parts> {
    const { room } = this.plans[role]
    const body = yield* this.bodyInSteps(text, role, room + most + 1)
    const beyond = body.splice(room)
    const ids = Int32Array.from(this.framed(body, role))
    const special = this.framed(new Array<number>(body.length).fill(-1), role).map((id) => id >= 0)
    return { ids, special, cut: beyond.slice(0, most), goesOn: beyond.length > most }
  }

  /** Tokens of prompt and text, as many as are wanted. */
  private *bodyInSteps(text: string, role: Role, limit: number): Generator<void, number[]> {
    const { prompt } = this.plans[role]
    const { tokenizer, recipe } = this
    const whole = recipe.strip ? strip(prompt + text) : prompt + text
    return yield* tokenizer.encodeInSteps(whole, limit, recipe.lowerCase)
  }

  /** Special tokens and prefix around tokens of a text. */
  private framed(body: readonly number[], role: Role): number[] {
    const { leading, trailing } = this.tokenizer
    const ids = [...leading, ...body, ...trailing]
    ids.splice(1, 0, ...this.plans[role].prefix) // position 1 whatever stands before it, as PyLate does
    return ids
  }
}

function plan(tokenizer: Tokenizer, role: Role, prefix: string, prompt: string, length: number): RolePlan {
  const prefixId = tokenizer.tokenToId(prefix)
  if (prefix !== '' && prefixId === undefined) {
    throw new RecipeError(
      'ERR_RECIPE',
      `the ${role} prefix "${prefix}" is not a token. Add it with tokenizer.addTokens(["${prefix}"]) and resize the model's embeddings, or use "" for none.`,
      { role, prefix },
    )
  }
  const prefixIds = prefix === '' ? [] : [prefixId!]
  const special = tokenizer.leading.length + prefixIds.length + tokenizer.trailing.length
  if (length <= special) {
    throw new RecipeError(
      'ERR_RECIPE',
      `${role}Length is ${length}, which leaves no room for text beside ${special} special tokens.`,
      { role, length },
    )
  }
  return { prompt, prefix: prefixIds, room: length - special }
}

function expansionId(tokenizer: Tokenizer, token: string): number {
  const id = tokenizer.tokenToId(token)
  if (id === undefined)
    throw new RecipeError('ERR_RECIPE', `expansionToken is "${token}", which is no token; use '' for the mask token.`, {
      token,
    })
  return id
}

function skipped(tokenizer: Tokenizer, recipe: Recipe, role: Role): Uint8Array {
  const { skiplistWords, skiplistTasks, keepOnlyTokenIds: only } = recipe
  const skip = new Uint8Array(tokenizer.vocabSize)
  if (role === 'document' && only.length > 0) {
    skip.fill(1)
    for (const id of only) if (id < skip.length) skip[id] = 0
  }
  if (!skiplistTasks.includes(role)) return skip
  for (const word of skiplistWords) {
    const id = tokenizer.tokenToId(word)
    if (id !== undefined) skip[id] = 1
  }
  return skip
}

/** Python's `str.strip()`, whose white space is not JavaScript's (it has the separators U+001C-1F and U+0085, not U+FEFF). */
function strip(text: string): string {
  let start = 0
  let end = text.length
  while (start < end && isPythonSpace(text.charCodeAt(start))) start++
  while (end > start && isPythonSpace(text.charCodeAt(end - 1))) end--
  return text.slice(start, end)
}

function isPythonSpace(code: number): boolean {
  if (code <= 0x20) return (code >= 0x09 && code <= 0x0d) || code >= 0x1c
  if (code < 0x85) return false
  return (
    code === 0x85 ||
    code === 0xa0 ||
    code === 0x1680 ||
    (code >= 0x2000 && code <= 0x200a) ||
    code === 0x2028 ||
    code === 0x2029 ||
    code === 0x202f ||
    code === 0x205f ||
    code === 0x3000
  )
}
