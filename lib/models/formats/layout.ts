import { existsSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { FormatError } from '../../errors.js'
import { recoverFolder } from '../../io/atomic.js'
import type { Json } from '../../io/json-reader.js'
import { nearby } from '../../io/nearby.js'
import type { Recipe } from '../../text/recipe.js'
import { bert, roberta, xlmRoberta } from '../networks/bert.js'
import type { Architecture } from '../networks/encoder.js'
import { modernbert } from '../networks/modernbert.js'
import { readDense } from './dense-model.js'
import { checkTransformer, type Folder, kindOf, type Parts, readFolder } from './folder.js'
import { pylateKeys, readPylate } from './pylate.js'
import { readMultiVector } from './sentence-transformers.js'
import { readStanford } from './stanford.js'
import { learnedPrompts, unnamedPrompts, untrained } from './trained.js'

export type LayoutName = 'huggingface' | 'dense' | 'pylate' | 'sentence-transformers' | 'stanford'

export const architectures: Readonly<Record<string, Architecture>> = {
  bert,
  modernbert,
  roberta,
  'xlm-roberta': xlmRoberta,
} as Record<string, Architecture>

/** What a model folder says, before any weight is read. */
export interface Layout extends Parts {
  name: LayoutName
  architecture: Architecture
  /** config.json as it is. */
  json: Json
  configFile: string
  /** Folder of the encoder's weights and tokenizer. */
  encoderDir: string
  /** It pools a text into one vector; read as an encoder, that and what comes after it are left out. */
  pools: boolean
  /** The tokenizer has to lower-case, as sentence-transformers 6 makes it do for `do_lower_case`. */
  lowerCases: boolean
}

/**
 * Finds out which project wrote a folder, and what its texts go through: PyLate, sentence-transformers 6, Stanford's
 * ColBERT, or an encoder without a head.
 * @param dense such an encoder is read as a dense model
 * @throws FormatError ERR_FORMAT for anything that we would compute differently from its author
 */
export async function readLayout(dir: string, dense = false): Promise<Layout> {
  await recoverFolder(dir)
  const isFolder = await stat(dir).then(
    (s) => s.isDirectory(),
    () => false,
  )
  if (!isFolder)
    throw new FormatError(
      'ERR_FORMAT',
      `${dir} is no folder; expected one with config.json and model.safetensors${nearby(dir)}`,
      { dir },
    )
  if (!existsSync(path.join(dir, 'modules.json')) && existsSync(path.join(dir, 'model', 'config.json')))
    throw new FormatError('ERR_FORMAT', `${dir} is no model, but has one in it: ${path.join(dir, 'model')}`, { dir })
  const folder = await readFolder(dir)
  const { encoderDir, config, transformer } = folder
  const configFile = path.join(encoderDir, 'config.json')
  const type = config.text('model_type', '')
  const architecture = Object.hasOwn(architectures, type) ? architectures[type] : undefined
  if (!architecture)
    throw new FormatError(
      'ERR_FORMAT',
      `${configFile}: model_type is "${type}", expected one of ${Object.keys(architectures).join(', ')}`,
      { file: configFile, type },
    )
  const author = authorOf(folder)
  if (dense && author !== 'huggingface')
    throw new FormatError(
      'ERR_FORMAT',
      `${dir} is a model of token embeddings, no dense one; load it without \`dense\``,
      {
        dir,
        author,
      },
    )
  const name = dense ? 'dense' : author
  const pools = folder.modules.some((m) => kindOf(m) === 'Pooling') && author === 'huggingface'
  const json = config.all
  const shared = { name, architecture, json, configFile, encoderDir, pools, lowerCases: false }
  const parts = await partsOf(name, folder, architecture)
  checkPadding(folder, parts.recipe)
  if (name !== 'sentence-transformers' && name !== 'dense') return { ...shared, ...parts }
  return { ...shared, ...parts, lowerCases: transformer.flag('do_lower_case', false) && !parts.recipe.lowerCase }
}

function partsOf(name: LayoutName, folder: Folder, architecture: Architecture): Parts | Promise<Parts> {
  switch (name) {
    case 'sentence-transformers':
      return readMultiVector(folder, architecture.configOf(folder.config.all, folder.config.file).positions)
    case 'dense':
      return readDense(folder, architecture.configOf(folder.config.all, folder.config.file).positions)
    case 'pylate':
      return readPylate(folder)
    case 'stanford':
      return readStanford(folder)
    case 'huggingface':
      return encoderParts(folder)
  }
}

/** Of an encoder without a head; the prompts of a dense model are kept, as sentence-transformers 6 does. */
function encoderParts({ dir, settings, transformer, modules }: Folder): Parts {
  // What comes after a pooled vector is no part of an encoder; what comes without one would be lost.
  const odd = modules.find((m) => !['Transformer', 'Normalize'].includes(kindOf(m)))
  if (odd && !modules.some((m) => kindOf(m) === 'Pooling'))
    throw new FormatError('ERR_FORMAT', `${dir}/modules.json: module ${odd.type} is not supported`, { dir })
  if (modules.length > 0) checkTransformer(transformer, ['query_length', 'document_length'])
  const lowerCase = transformer.flag('do_lower_case', false)
  if (settings.text('model_type', 'SentenceTransformer') !== 'SentenceTransformer')
    return { head: [], recipe: { lowerCase }, trained: untrained }
  const prompts = settings.object('prompts')
  return {
    head: [],
    recipe: { lowerCase, queryPrompt: prompts.text('query', ''), documentPrompt: prompts.text('document', '') },
    trained: unnamedPrompts(prompts).length > 0 ? untrained : learnedPrompts,
  }
}

/**
 * Which project wrote a model. They tell what texts go through in different places and have different defaults, so a
 * wrong guess would compute something else in silence.
 * @throws FormatError ERR_FORMAT for a projection of tokens of which nothing says whose it is
 */
function authorOf({ dir, modules, settings, config }: Folder): LayoutName {
  const type = settings.text('model_type', '')
  if (type === 'MultiVectorEncoder') return 'sentence-transformers'
  const dense = modules.some((m) => kindOf(m) === 'Dense')
  if (dense && (type === 'ColBERT' || modules.some((m) => m.type.startsWith('pylate.')))) return 'pylate'
  if (modules.some((m) => kindOf(m) === 'MultiVectorMask')) return 'sentence-transformers'
  if (dense && !modules.some((m) => kindOf(m) === 'Pooling')) {
    if (pylateKeys.some((key) => settings.has(key))) return 'pylate'
    throw new FormatError(
      'ERR_FORMAT',
      `${dir} projects every token, but nothing says whether it is PyLate's or sentence-transformers' model: expected ` +
        `"model_type" in config_sentence_transformers.json to be "ColBERT" or "MultiVectorEncoder", found "${type}"`,
      { dir, type },
    )
  }
  const classes = config.has('architectures') && config.all.architectures
  return Array.isArray(classes) && classes[0] === 'HF_ColBERT' ? 'stanford' : 'huggingface'
}

/** @throws FormatError ERR_FORMAT for a tokenizer that puts expansion tokens before the text; nothing else is padded */
function checkPadding({ tokenizer: f }: Folder, { queryExpansion }: Partial<Recipe>): void {
  const side = f.text('padding_side', 'right')
  if (side !== 'right' && queryExpansion)
    throw f.bad('padding_side', side, '"right": expansion tokens come after the text')
}
