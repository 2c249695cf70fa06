import { existsSync } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { FormatError } from '../../errors.js'
import { recoverFolder } from '../../io/atomic.js'
import { type Json, JsonReader } from '../../io/json-reader.js'
import { PUNCTUATION, type Recipe } from '../../text/recipe.js'
import { bert } from '../networks/bert.js'
import { type DenseConfig, denseConfigOf } from '../networks/dense.js'
import type { Architecture } from '../networks/encoder.js'
import { modernbert } from '../networks/modernbert.js'
import { readJson } from './weights.js'

export type LayoutName = 'huggingface' | 'pylate' | 'sentence-transformers' | 'stanford'

export const architectures: Readonly<Record<string, Architecture>> = { bert, modernbert } as Record<
  string,
  Architecture
>

/** What a model folder says, before any weight is read. */
export interface Layout {
  name: LayoutName
  architecture: Architecture
  /** config.json as it is. */
  json: Json
  configFile: string
  /** Folder of the encoder's weights and tokenizer. */
  encoderDir: string
  recipe: Partial<Recipe>
  /** Layers of the head, each with the folder and name prefix of its tensors. Empty in a plain encoder folder. */
  head: { config: DenseConfig; dir: string }[]
}

interface Module {
  type: string
  dir: string
}

/**
 * Finds out which project wrote a folder, and what its texts go through: PyLate, sentence-transformers 6, Stanford's
 * ColBERT, or an encoder without a head.
 * @throws FormatError ERR_FORMAT for anything that we would compute differently from its author
 */
export async function readLayout(dir: string): Promise<Layout> {
  await recoverFolder(dir)
  const isFolder = await stat(dir).then(
    (s) => s.isDirectory(),
    () => false,
  )
  if (!isFolder)
    throw new FormatError('ERR_FORMAT', `${dir} is no folder; expected one with config.json and model.safetensors`, {
      dir,
    })
  const modules = await readModules(dir)
  const encoderDir = modules[0]?.dir ?? dir
  const configFile = path.join(encoderDir, 'config.json')
  const json = await readJson(configFile)
  const type = new JsonReader(json, configFile).text('model_type', '')
  const architecture = Object.hasOwn(architectures, type) ? architectures[type] : undefined
  if (!architecture)
    throw new FormatError(
      'ERR_FORMAT',
      `${configFile}: model_type is "${type}", expected one of ${Object.keys(architectures).join(', ')}`,
      { file: configFile, type },
    )
  const shared = { architecture, json, configFile, encoderDir }
  const settings = await optionalFields(path.join(dir, 'config_sentence_transformers.json'))
  const lowerCase = (await optionalFields(path.join(encoderDir, 'sentence_bert_config.json'))).flag(
    'do_lower_case',
    false,
  )

  const author = authorOf(dir, modules, settings)
  if (author === 'sentence-transformers')
    return { name: author, ...shared, ...(await nativeParts(dir, modules, settings, lowerCase)) }
  if (author === 'pylate') {
    const head = await readHead(modules.filter((m) => kindOf(m) === 'Dense'))
    return { name: author, ...shared, head, recipe: pylateRecipe(settings, lowerCase) }
  }
  const classes = Array.isArray(json.architectures) ? json.architectures : []
  if (classes[0] === 'HF_ColBERT') return { name: 'stanford', ...shared, ...(await stanfordParts(dir, json)) }
  return { name: 'huggingface', ...shared, head: [], recipe: { lowerCase } }
}

/** A module's class, without the package it is in, which has changed its layout more than once. */
const kindOf = ({ type }: Module): string => type.slice(type.lastIndexOf('.') + 1)

/** What PyLate writes and sentence-transformers 6 keeps elsewhere; PyLate's first versions named no model_type. */
const pylateKeys = ['query_prefix', 'document_prefix', 'query_length', 'document_length', 'do_query_expansion']

/**
 * Which of two projects wrote a multi-vector model; null for a folder of neither. They tell what texts go through in
 * different places and have different defaults, so a wrong guess would compute something else in silence.
 * @throws FormatError ERR_FORMAT for a projection of tokens of which nothing says whose it is
 */
function authorOf(
  dir: string,
  modules: readonly Module[],
  settings: JsonReader,
): 'sentence-transformers' | 'pylate' | null {
  const type = settings.text('model_type', '')
  if (type === 'MultiVectorEncoder') return 'sentence-transformers'
  const dense = modules.some((m) => kindOf(m) === 'Dense')
  if (type === 'ColBERT' || modules.some((m) => m.type.startsWith('pylate.'))) return dense ? 'pylate' : null
  if (modules.some((m) => kindOf(m) === 'MultiVectorMask')) return 'sentence-transformers'
  if (!dense || modules.some((m) => kindOf(m) === 'Pooling')) return null
  if (pylateKeys.some((key) => settings.has(key))) return 'pylate'
  throw new FormatError(
    'ERR_FORMAT',
    `${dir} projects every token, but nothing says whether it is PyLate's or sentence-transformers' model: expected ` +
      `"model_type" in config_sentence_transformers.json to be "ColBERT" or "MultiVectorEncoder", found "${type}"`,
    { dir, type },
  )
}

async function readModules(dir: string): Promise<Module[]> {
  const file = path.join(dir, 'modules.json')
  if (!existsSync(file)) return []
  let list: unknown
  try {
    list = JSON.parse(await readFile(file, 'utf8'))
  } catch (cause) {
    throw new FormatError('ERR_FORMAT', `${file} cannot be read: ${(cause as Error).message}`, { file }, { cause })
  }
  if (!Array.isArray(list) || list.length === 0)
    throw new FormatError('ERR_FORMAT', `${file} holds no list of modules`, { file })
  const modules = list.map((entry, i) => {
    const { type, path: folder } = (entry ?? {}) as Json
    const inside = typeof folder === 'string' && !path.isAbsolute(folder) && !folder.split(/[\\/]/).includes('..')
    if (typeof type !== 'string' || !inside)
      throw new FormatError('ERR_FORMAT', `${file}: module ${i} needs a type and a path inside the folder`, { file, i })
    return { type, dir: path.join(dir, folder as string) }
  })
  if (!modules[0]!.type.endsWith('.Transformer'))
    throw new FormatError('ERR_FORMAT', `${file}: the first module is ${modules[0]!.type}, expected a Transformer`, {
      file,
    })
  return modules
}

/** Folders of the modules that `modules.json` lists, within `dir`; none where there is no such file. Errors as `readLayout`. */
export async function modulePaths(dir: string): Promise<string[]> {
  return (await readModules(dir)).map((module) => path.relative(dir, module.dir).replaceAll(path.sep, '/'))
}

async function readHead(dense: readonly Module[]): Promise<Layout['head']> {
  const head: Layout['head'] = []
  for (const { dir } of dense) {
    const file = path.join(dir, 'config.json')
    head.push({ config: denseConfigOf(await readJson(file), file), dir })
  }
  return head
}

/** Missing keys have the defaults of PyLate's older versions, which are those of a recipe. */
function pylateRecipe(f: JsonReader, lowerCase: boolean): Partial<Recipe> {
  const prompts = f.object('prompts')
  return {
    queryPrefix: f.text('query_prefix', '[Q] '),
    documentPrefix: f.text('document_prefix', '[D] '),
    queryPrompt: prompts.text('query', ''),
    documentPrompt: prompts.text('document', ''),
    queryLength: f.count('query_length', 32),
    documentLength: f.count('document_length', 180),
    queryExpansion: f.flag('do_query_expansion', true),
    attendToExpansionTokens: f.flag('attend_to_expansion_tokens', false),
    skiplistWords: f.texts('skiplist_words', PUNCTUATION),
    clampNegatives: f.object('lateforge').flag('clampNegatives', false),
    lowerCase,
  }
}

/** sentence-transformers 6 writes prefixes as text in its prompts, which the tokenizer turns into the same ids. */
async function nativeParts(
  dir: string,
  modules: readonly Module[],
  settings: JsonReader,
  lowerCase: boolean,
): Promise<Pick<Layout, 'head' | 'recipe'>> {
  const known = ['Transformer', 'Dense', 'MultiVectorMask', 'Normalize']
  const odd = modules.find((m) => !known.includes(kindOf(m)))
  if (odd || !modules.some((m) => kindOf(m) === 'Normalize'))
    throw new FormatError(
      'ERR_FORMAT',
      `${dir}/modules.json: ${odd ? `module ${odd.type} is not supported` : 'there is no Normalize module'}; ` +
        `expected ${known.join(', ')}`,
      { dir },
    )
  const f = await optionalFields(path.join(modules[0]!.dir, 'sentence_bert_config.json'))
  const prompts = settings.object('prompts')
  const expands = f.has('query_expansion')
  const expansion = f.object('query_expansion')
  const strategy = expansion.text('strategy', 'fixed')
  if (strategy !== 'fixed') throw expansion.bad('strategy', strategy, '"fixed"')
  const positions = new JsonReader(await readJson(path.join(modules[0]!.dir, 'config.json')), 'config.json').count(
    'max_position_embeddings',
    512,
  )
  const mask = modules.find((m) => kindOf(m) === 'MultiVectorMask')
  if (expands && !mask)
    throw new FormatError(
      'ERR_FORMAT',
      `${dir}/modules.json: queries are expanded, but without a MultiVectorMask module their expansion would not be scored`,
      { dir },
    )
  const m = mask ? await optionalFields(path.join(mask.dir, 'config.json')) : new JsonReader({}, dir)
  const tasks = m.texts('skiplist_tasks', ['document'])
  if (tasks.join() !== 'document') throw m.bad('skiplist_tasks', tasks, '["document"]')
  if (m.has('keep_only_token_ids')) throw m.bad('keep_only_token_ids', '…', 'null')
  return {
    head: await readHead(modules.filter((x) => kindOf(x) === 'Dense')),
    recipe: {
      queryPrefix: '',
      documentPrefix: '',
      queryPrompt: prompts.text('query', ''),
      documentPrompt: prompts.text('document', ''),
      queryLength: expands ? expansion.count('length') : f.count('query_length', positions),
      documentLength: f.count('document_length', positions),
      queryExpansion: expands,
      attendToExpansionTokens: expansion.flag('attend', false),
      skiplistWords: m.texts('skiplist_words', []),
      lowerCase,
    },
  }
}

/** Stanford's artifact.metadata; without one, the defaults that PyLate takes. Its head has no bias, and no config. */
async function stanfordParts(dir: string, json: Json): Promise<Pick<Layout, 'head' | 'recipe'>> {
  const f = await optionalFields(path.join(dir, 'artifact.metadata'))
  const width = new JsonReader(json, path.join(dir, 'config.json')).count('hidden_size')
  return {
    head: [
      { config: { in: width, out: f.count('dim', 128), bias: false, activation: 'identity', residual: false }, dir },
    ],
    recipe: {
      queryPrefix: f.text('query_token_id', '[unused0]'),
      documentPrefix: f.text('doc_token_id', '[unused1]'),
      queryLength: f.count('query_maxlen', 32),
      documentLength: f.count('doc_maxlen', 180),
      attendToExpansionTokens: f.flag('attend_to_mask_tokens', false),
      skiplistWords: f.flag('mask_punctuation', true) ? [...PUNCTUATION] : [],
    },
  }
}

async function optionalFields(file: string): Promise<JsonReader> {
  return new JsonReader(existsSync(file) ? await readJson(file) : {}, file)
}
