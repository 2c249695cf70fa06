import { ArgumentError, ConfigError, didYouMean } from '../errors.js'
import type { Json } from '../io/json-reader.js'
import { defaultRecipe, type Recipe } from '../text/recipe.js'
import { Tokenizer } from '../text/tokenizer/tokenizer.js'
import { architectures } from './formats/layout.js'
import { untrained } from './formats/trained.js'
import { LearnedRecipe } from './learned-recipe.js'
import type { BertConfig } from './networks/bert.js'
import { type DenseConfig, type HeadLayerConfig, headOf, headProblem } from './networks/dense.js'
import { type Architecture, type EncoderConfig, maxLayers } from './networks/encoder.js'
import type { ModernBertConfig } from './networks/modernbert.js'

export type { HeadLayerConfig } from './networks/dense.js'

/** A model to start from nothing. */
export interface CreateConfig {
  /** The encoder's kind. */
  architecture: 'modernbert' | 'bert' | 'roberta' | 'xlm-roberta'
  /** Number of transformer layers. */
  layers: number
  /** Hidden width, `heads` times the head dimension. */
  width: number
  /** Attention heads; the head dimension, width / heads, is a multiple of 8. */
  heads: number
  /** Inner width of the MLP. Default: 1.5 · width (ModernBERT, whose MLP is gated), 4 · width (the others). */
  intermediate?: number
  /**
   * Dimension of a token embedding, a multiple of 8: the projection is one matrix. Default 128; of a dense model
   * (`recipe.pooling`), which then has no projection, the width.
   */
  dim?: number
  /** In place of `dim`, a projection of several layers; the last one gives the token embedding. */
  head?: readonly HeadLayerConfig[]
  /** A folder with a tokenizer.json, a repository on the Hub that has one (`org/name`), or a tokenizer. */
  tokenizer: string | Tokenizer
  /** Longest sequence. Default 8192 (ModernBERT), 512 (the others). */
  positions?: number
  /** ModernBERT's local attention: a token sees this many tokens around it. Default 128; every third layer is global. */
  localAttention?: number
  /** Dropout in training. Default 0 (ModernBERT), 0.1 (the others), as published. */
  dropout?: number
  /** How text becomes tokens; what is left out is PyLate's default. */
  recipe?: Partial<Recipe>
}

const keys: readonly (keyof CreateConfig)[] = [
  'architecture',
  'layers',
  'width',
  'heads',
  'intermediate',
  'dim',
  'head',
  'tokenizer',
  'positions',
  'localAttention',
  'dropout',
  'recipe',
]

/** Everything a model is but its numbers. */
export interface ModelSpec {
  architecture: Architecture
  config: EncoderConfig
  json: Json
  head: DenseConfig[]
  tokenizer: Tokenizer
  recipe: Recipe
  /** What of it the weights have learned. */
  learned: LearnedRecipe
}

/** @throws ConfigError ERR_CONFIG for an unknown key or a bad value; FormatError, RecipeError as the parts of a model */
export async function modelSpecOf(given: CreateConfig): Promise<ModelSpec> {
  if (typeof given !== 'object' || given === null)
    throw new ConfigError('ERR_CONFIG', `a model is described by an object, got ${String(given)}`)
  for (const key of Object.keys(given))
    if (!(keys as readonly string[]).includes(key)) {
      throw new ConfigError('ERR_CONFIG', `a model has no "${key}"; ${didYouMean(key, keys)}`, { key })
    }
  const { architecture: name, tokenizer: source, dropout } = given
  if (!Object.hasOwn(architectures, name))
    throw new ConfigError(
      'ERR_CONFIG',
      `architecture is "${name}", expected one of ${Object.keys(architectures).join(', ')}`,
      { name },
    )
  const architecture = architectures[name]!
  for (const key of ['width', 'heads'] as const) whole(key, given[key])
  whole('layers', given.layers, maxLayers)
  const { layers, width, heads } = given
  if (width % heads !== 0 || (width / heads) % 8 !== 0)
    throw new ConfigError(
      'ERR_CONFIG',
      `${heads} heads of width ${width} need a head dimension that is a multiple of 8`,
      {
        width,
        heads,
      },
    )
  const modern = name === 'modernbert'
  const intermediate = whole('intermediate', given.intermediate ?? (modern ? Math.round(1.5 * width) : 4 * width))
  const positions = whole('positions', given.positions ?? (modern ? 8192 : 512))
  const p = dropout ?? (modern ? 0 : 0.1)
  if (!(p >= 0 && p < 1))
    throw new ConfigError('ERR_CONFIG', `dropout is ${p}, expected a number in [0, 1)`, { dropout })

  const recipe = defaultRecipe(given.recipe)
  const projects = recipe.pooling === 'none' || given.dim !== undefined || given.head !== undefined
  const head = projects ? freshHead(width, given) : []
  const tokenizer = withPrefixes(typeof source === 'string' ? await loadTokenizer(source) : source, recipe)
  const shared = {
    vocabulary: tokenizer.vocabSize,
    layers,
    width,
    heads,
    intermediate,
    positions,
    initializerRange: 0.02,
  }
  const modernConfig: ModernBertConfig = {
    ...shared,
    global: Array.from({ length: layers }, (_, i) => i % 3 === 0),
    window: Math.floor(whole('localAttention', given.localAttention ?? 128) / 2),
    globalTheta: 160000,
    localTheta: 10000,
    activation: 'gelu',
    normEps: 1e-5,
    normBias: false,
    attentionBias: false,
    mlpBias: false,
    embeddingDropout: p,
    attentionDropout: p,
    mlpDropout: p,
    initializerCutoff: 2,
  }
  const bertConfig: BertConfig = {
    ...shared,
    // RoBERTa has one kind of token, and counts positions from the padding id on.
    types: name === 'bert' ? 2 : 1,
    padding: tokenizer.pad ?? tokenizer.mask,
    activation: 'gelu',
    normEps: name === 'bert' ? 1e-12 : 1e-5,
    hiddenDropout: p,
    attentionDropout: p,
  }
  const config = modern ? modernConfig : bertConfig
  return {
    architecture,
    config,
    json: { ...architecture.jsonOf(config), ...specialIds(tokenizer) },
    head,
    tokenizer,
    recipe,
    learned: new LearnedRecipe(recipe, untrained),
  }
}

/**
 * A new head: of one matrix with neither bias nor activation, as PyLate's default, or of the layers that are asked for.
 * @throws ConfigError ERR_CONFIG for an unknown key or a bad value
 */
export function freshHead(width: number, { dim, head }: Pick<CreateConfig, 'dim' | 'head'>): DenseConfig[] {
  if (head === undefined) return headOf(width, [{ out: multipleOf8('dim', dim ?? 128) }])
  const problem = headProblem(head)
  if (problem !== null) throw new ConfigError('ERR_CONFIG', problem, { head })
  if (dim !== undefined)
    throw new ConfigError('ERR_CONFIG', 'give dim or head, not both: the last layer of head says the dimension', {
      dim,
    })
  return headOf(width, head)
}

function multipleOf8(key: string, value: number): number {
  if (whole(key, value) % 8 !== 0)
    throw new ConfigError('ERR_CONFIG', `${key} is ${value}, expected a multiple of 8`, { key, value })
  return value
}

async function loadTokenizer(source: string): Promise<Tokenizer> {
  const { tokenizerFolder } = await import('./formats/source.js')
  return Tokenizer.load(await tokenizerFolder(source))
}

/** A tokenizer that has the recipe's prefixes as tokens; the one given is left as it is. */
export function withPrefixes(tokenizer: Tokenizer, recipe: Recipe): Tokenizer {
  if (!(tokenizer instanceof Tokenizer))
    throw new ArgumentError('ERR_ARGUMENT', 'tokenizer must be a folder name or a Tokenizer')
  const own = Tokenizer.fromShared(tokenizer.shared)
  own.addTokens([recipe.queryPrefix, recipe.documentPrefix].filter((prefix) => prefix !== ''))
  return own
}

/** transformers refuses a padding id outside the vocabulary, and its defaults are those of the published models. */
function specialIds(t: Tokenizer): Json {
  return {
    pad_token_id: t.pad ?? t.mask,
    cls_token_id: t.cls ?? null,
    sep_token_id: t.sep ?? null,
    bos_token_id: t.cls ?? null,
    eos_token_id: t.sep ?? null,
  }
}

function whole(key: string, value: number, most = Number.MAX_SAFE_INTEGER): number {
  if (!Number.isSafeInteger(value) || value < 1 || value > most) {
    const range = most === Number.MAX_SAFE_INTEGER ? '≥ 1' : `from 1 to ${most}`
    throw new ConfigError('ERR_CONFIG', `${key} is ${value}, expected a whole number ${range}`, { key, value })
  }
  return value
}
