import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { FormatError } from '../../errors.js'
import { type Json, JsonReader } from '../../io/json-reader.js'
import type { Recipe } from '../../text/recipe.js'
import type { DenseConfig } from '../networks/dense.js'
import type { Trained } from './trained.js'
import { readJson } from './weights.js'

/** A layer of a head, and the folder of its tensors. */
export interface HeadLayer {
  config: DenseConfig
  dir: string
}

/** What the layouts tell in different places. */
export interface Parts {
  recipe: Partial<Recipe>
  /** What of it the weights have learned. */
  trained: Trained
  /** Empty in a folder without a projection. */
  head: HeadLayer[]
}

/** An entry of modules.json. */
export interface Module {
  type: string
  dir: string
}

/** A model folder's files that say what its texts go through. */
export interface Folder {
  dir: string
  modules: readonly Module[]
  /** Folder of the encoder's weights and tokenizer. */
  encoderDir: string
  /** The encoder's config.json. */
  config: JsonReader
  /** config_sentence_transformers.json. */
  settings: JsonReader
  /** What sentence-transformers' Transformer is made with: sentence_bert_config.json. */
  transformer: JsonReader
  /** tokenizer_config.json, and special_tokens_map.json below it. */
  tokenizer: JsonReader
}

/** A module's class, without the package it is in, which has changed its layout more than once. */
export const kindOf = ({ type }: Module): string => type.slice(type.lastIndexOf('.') + 1)

/** @throws FormatError ERR_FORMAT */
export async function readFolder(dir: string): Promise<Folder> {
  const modules = await readModules(dir)
  const encoderDir = modules[0]?.dir ?? dir
  const inside = (name: string): string => path.join(encoderDir, name)
  const transformerFile = transformerFiles.map(inside).find((file) => existsSync(file)) ?? inside(transformerFiles[0]!)
  const configFile = inside('config.json')
  return {
    dir,
    modules,
    encoderDir,
    config: new JsonReader(await readJson(configFile), configFile),
    settings: await optionalFields(path.join(dir, 'config_sentence_transformers.json')),
    transformer: await optionalFields(transformerFile),
    tokenizer: await optionalFields(inside('tokenizer_config.json')),
  }
}

/** The names that sentence-transformers has had for one file, newest first. */
const transformerFiles = ['bert', 'roberta', 'distilbert', 'camembert', 'albert', 'xlm-roberta', 'xlnet'].map(
  (name) => `sentence_${name}_config.json`,
)

export async function optionalFields(file: string): Promise<JsonReader> {
  return new JsonReader(existsSync(file) ? await readJson(file) : {}, file)
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
    if (!/^(sentence_transformers|pylate)\./.test(type))
      throw new FormatError(
        'ERR_FORMAT',
        `${file}: module ${i} is ${type}, code of its own, which lateforge cannot run; expected one of sentence_transformers or pylate`,
        { file, type },
      )
    // `kwargs` names arguments that sentence-transformers hands through; none of ours takes any.
    new JsonReader(entry as Json, `${file}, module ${i}`).allow(['idx', 'name', 'path', 'type', 'kwargs'])
    return { type, dir: path.join(dir, folder as string) }
  })
  if (!modules[0]!.type.endsWith('.Transformer'))
    throw new FormatError('ERR_FORMAT', `${file}: the first module is ${modules[0]!.type}, expected a Transformer`, {
      file,
    })
  return modules
}

/** Folders of the modules that `modules.json` lists, within `dir`; none where there is no such file. Errors as `readFolder`. */
export async function modulePaths(dir: string): Promise<string[]> {
  return (await readModules(dir)).map((module) => path.relative(dir, module.dir).replaceAll(path.sep, '/'))
}

/** Keys of config_sentence_transformers.json that all tools write and that decide nothing here, or are checked below. */
export const sharedSettings = [
  'model_type',
  '__version__',
  'requirements',
  'prompts',
  'default_prompt_name',
  'similarity_fn_name',
  'truncate_dim',
  'lateforge',
]

/** @throws FormatError ERR_FORMAT for a similarity or a dimension that we do not compute */
export function checkSettings(settings: JsonReader): void {
  // Old folders name those of dense models, which no tool takes for token embeddings.
  const similarity = settings.text('similarity_fn_name', 'maxsim')
  if (!['maxsim', 'cosine', 'dot', 'euclidean', 'manhattan'].includes(similarity.toLowerCase()))
    throw settings.bad('similarity_fn_name', similarity, '"maxsim"; it ranks as "meanmaxsim" does, with other scores')
  if (settings.has('truncate_dim')) throw settings.bad('truncate_dim', '…', 'null: embeddings of all dimensions')
}

/**
 * Keys of sentence_bert_config.json that change numbers and must be as they are by default.
 * @throws FormatError ERR_FORMAT
 */
export function checkTransformer(f: JsonReader, multiVector: readonly string[] = []): void {
  f.allow([
    ...['transformer_task', 'modality_config', 'module_output_name', 'max_seq_length', 'do_lower_case'],
    ...['unpad_inputs', 'processing_kwargs', 'tokenizer_name_or_path', ...modelArguments, ...multiVector],
  ])
  const task = f.text('transformer_task', 'feature-extraction')
  if (task !== 'feature-extraction') throw f.bad('transformer_task', task, '"feature-extraction"')
  const output = f.text('module_output_name', 'token_embeddings')
  if (output !== 'token_embeddings') throw f.bad('module_output_name', output, '"token_embeddings"')
  const modalities = f.object('modality_config')
  modalities.allow(['text'])
  const text = modalities.object('text')
  text.allow(['method', 'method_output_name'])
  const [method, result] = [text.text('method', 'forward'), text.text('method_output_name', 'last_hidden_state')]
  if (method !== 'forward' || result !== 'last_hidden_state')
    throw f.bad('modality_config', { method, result }, '"forward" and "last_hidden_state"')
  if (f.has('tokenizer_name_or_path')) throw f.bad('tokenizer_name_or_path', '…', 'null: the tokenizer of this folder')
  f.object('processing_kwargs').allow([])
  // Of what models, tokenizers and configs are made with, the type and the kernel are ours to choose.
  for (const key of modelArguments)
    f.object(key).allow(['dtype', 'torch_dtype', 'attn_implementation', 'device_map', 'trust_remote_code'])
}

const modelArguments = ['model', 'tokenizer', 'processor', 'config'].flatMap((of) => [`${of}_args`, `${of}_kwargs`])
