/** A model's folder, looked at without loading the model. */
import { existsSync } from 'node:fs'
import { readdir, readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import type * as Yaml from 'yaml'
import { type FieldsRead, type Json, watchingFields } from '../io/json-reader.js'
import { SafetensorsFile } from '../io/safetensors.js'
import type { Layout } from '../models/formats/layout.js'
import { locateModel, type ModelSourceOptions } from '../models/formats/source.js'
import { LearnedRecipe } from '../models/learned-recipe.js'
import { type DenseConfig, denseParameters } from '../models/networks/dense.js'
import type { EncoderConfig } from '../models/networks/encoder.js'
import { loadPackage } from '../packages.js'
import type { AlignedField, RecipeChange } from '../text/alignment.js'
import { defaultRecipe, type Recipe } from '../text/recipe.js'
import { tokenizerFields } from '../text/tokenizer/config.js'

/** What a model's folder says. */
export interface ModelInfo {
  /** As it was asked for. */
  name: string
  /** Who wrote it: `pylate`, `sentence-transformers`, `stanford`; `dense` and `huggingface` have no projection of tokens. */
  layout: Layout['name']
  architecture: string
  encoder: EncoderConfig
  head: DenseConfig[]
  /** Of a token vector. */
  dim: number
  /** Numbers that are trained. */
  parameters: { encoder: number; head: number; total: number }
  /** Files of weights; null where there are none here: those of a name on the Hub need not have been fetched. */
  weights: { files: { file: string; bytes: number }[]; bytes: number; types: Record<string, number> } | null
  recipe: Recipe
  /** Whether its weights have learned by this recipe. */
  trained: boolean
  /** Fields of which the folder does not say what was learned. */
  unknown: readonly AlignedField[]
  /** Changes of the recipe since it was first learned. */
  changes: readonly RecipeChange[]
  /** What whoever uses it should know. */
  notes: string[]
  /** README.md: what the Hub reads of it; null where there is none. */
  card: Record<string, unknown> | null
  /** Of what wrote it, by name. */
  versions: Record<string, unknown>
  /** Settings files: which fields decide something or were checked, and which have no effect. */
  fields: FieldsRead[]
}

/**
 * What a folder, or a name on the Hub, is as a model. Of the Hub only small files are fetched. Errors as `Colbert.load`, but a
 * folder without a projection is one too.
 */
export async function inspectModel(name: string, options: ModelSourceOptions = {}): Promise<ModelInfo> {
  const { result, fields } = await watchingFields(async () => {
    let { layout } = await locateModel(name, options)
    if (layout.head.length === 0 && layout.pools) ({ layout } = await locateModel(name, { ...options, dense: true }))
    return { layout, encoder: layout.architecture.configOf(layout.json, layout.configFile) }
  })
  const { layout, encoder } = result
  const head = layout.head.map(({ config }) => config)
  const recipe = defaultRecipe(layout.recipe)
  const learned = new LearnedRecipe(recipe, layout.trained)
  const count = (shapes: readonly { shape: readonly number[] }[]): number =>
    shapes.reduce((sum, { shape }) => sum + shape.reduce((product, n) => product * n, 1), 0)
  const parameters = {
    encoder: count(layout.architecture.parameters(encoder)),
    head: count(head.flatMap((config, i) => denseParameters(config, i))),
  }
  const root = rootOf(layout)
  return {
    name,
    layout: layout.name,
    architecture: layout.architecture.name,
    encoder,
    head,
    dim: head.at(-1)?.out ?? encoder.width,
    parameters: { ...parameters, total: parameters.encoder + parameters.head },
    weights: await weightsOf(layout, root),
    recipe,
    trained: layout.trained.trained,
    unknown: learned.unknownAt(0),
    changes: learned.changes,
    notes: learned.notes(recipe, 0),
    card: await cardOf(root),
    versions: await versionsOf(root, layout.json),
    fields: tidied(fields, root),
  }
}

/** By file, nested fields as `prompts.query`, without files that are not there or have no fields. */
function tidied(fields: readonly FieldsRead[], root: string): FieldsRead[] {
  const files = new Map<string, { read: Set<string>; unread: Set<string> }>()
  for (const { file, read, unread } of fields) {
    const [at, ...keys] = file.split(', ')
    if (path.basename(at!) === 'modules.json') continue // a list of modules, not of settings
    const name = path.relative(root, at!)
    const known = files.get(name) ?? { read: new Set(), unread: new Set() }
    files.set(name, known)
    const full = (key: string): string => [...keys, key].join('.')
    if (read.length + unread.length > 0) known.read.delete(keys.join('.'))
    const own = path.basename(name) === 'tokenizer_config.json' ? tokenizerFields : []
    for (const key of read) known.read.add(full(key))
    for (const key of unread) (own.includes(key) ? known.read : known.unread).add(full(key))
  }
  return [...files]
    .map(([file, { read, unread }]) => ({ file, read: [...read], unread: [...unread] }))
    .filter(({ read, unread }) => read.length + unread.length > 0)
}

/** The folder that modules are in. */
function rootOf({ encoderDir }: Layout): string {
  const above = path.dirname(encoderDir)
  return !existsSync(path.join(encoderDir, 'modules.json')) && existsSync(path.join(above, 'modules.json'))
    ? above
    : encoderDir
}

async function weightsOf(layout: Layout, root: string): Promise<ModelInfo['weights']> {
  const dirs = [...new Set([layout.encoderDir, ...layout.head.map(({ dir }) => dir)])]
  const files: { file: string; bytes: number }[] = []
  const types: Record<string, number> = {}
  for (const dir of dirs)
    for (const file of (await readdir(dir).catch(() => [])).filter((file) => /^model.*\.safetensors$/.test(file))) {
      const at = path.join(dir, file)
      files.push({ file: path.relative(root, at), bytes: (await stat(at)).size })
      const opened = await SafetensorsFile.open(at)
      for (const { dtype, shape } of opened.tensors.values())
        types[dtype] = (types[dtype] ?? 0) + shape.reduce((product, n) => product * n, 1)
      await opened.close()
    }
  return files.length > 0 ? { files, bytes: files.reduce((sum, { bytes }) => sum + bytes, 0), types } : null
}

/** The YAML at the beginning of README.md; a card that has none says nothing. */
async function cardOf(root: string): Promise<Record<string, unknown> | null> {
  const text = await readFile(path.join(root, 'README.md'), 'utf8').catch(() => null)
  if (text === null) return null
  const [, front] = /^---\r?\n([\s\S]*?)\r?\n---/.exec(text) ?? []
  if (front === undefined) return {}
  const { parse } = await loadPackage<typeof Yaml>('yaml')
  try {
    return (parse(front) as Record<string, unknown>) ?? {}
  } catch {
    return {} // it is for the Hub, and nothing of it is used
  }
}

async function versionsOf(root: string, config: Json): Promise<Record<string, unknown>> {
  const file = path.join(root, 'config_sentence_transformers.json')
  const settings = existsSync(file) ? (JSON.parse(await readFile(file, 'utf8')) as Json) : {}
  const versions = (settings.__version__ ?? {}) as Record<string, unknown>
  return {
    ...versions,
    ...(config.transformers_version !== undefined && { transformers: config.transformers_version }),
  }
}
