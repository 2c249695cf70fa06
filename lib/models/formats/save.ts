import { existsSync } from 'node:fs'
import { mkdir, readdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { types } from 'node:util'
import { FormatError } from '../../errors.js'
import { recoverFolder, writeAtomic, writeFolder } from '../../io/atomic.js'
import type { Json } from '../../io/json-reader.js'
import { toInt8 } from '../../io/numbers.js'
import { type TensorToWrite, writeSafetensors } from '../../io/safetensors.js'
import type { Parameters } from '../../nn/index.js'
import { PUNCTUATION, type Recipe } from '../../text/recipe.js'
import type { Tokenizer } from '../../text/tokenizer/tokenizer.js'
import { type DenseConfig, denseFolder, denseParameters } from '../networks/dense.js'
import { type Architecture, type EncoderConfig, int8Config } from '../networks/encoder.js'
import { modelCard, type TrainingRecord } from './card.js'
import { denseFiles } from './dense-model.js'
import { pylateFiles } from './pylate.js'
import { multiVectorFiles } from './sentence-transformers.js'
import { stanfordFiles } from './stanford.js'
import { type Trained, trainedJson } from './trained.js'
import { scaleOf } from './weights.js'

export interface ModelToSave {
  architecture: Architecture
  config: EncoderConfig
  /** config.json of the encoder; unknown keys are passed on. */
  json: Json
  head: readonly DenseConfig[]
  recipe: Recipe
  trained: Trained
  tokenizer: Tokenizer
  parameters: Parameters
  /** How it was trained, for its card. */
  training?: TrainingRecord | undefined
}

/** Layouts that models are written in. */
export const savedLayouts = ['pylate', 'sentence-transformers', 'stanford'] as const
export type SavedLayout = (typeof savedLayouts)[number]

/** Everything we write; a folder that holds anything else is not ours to replace. */
const ownFiles =
  /^(modules\.json|config\.json|config_sentence_transformers\.json|sentence_bert_config\.json|artifact\.metadata|model\.safetensors|tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|README\.md|\d+_(Dense|MultiVectorMask|Normalize|Pooling))$/

/** What file managers leave in every folder that was looked at. */
const litter = /^(\.DS_Store|\._.*|Thumbs\.db|desktop\.ini)$/i

/**
 * Writes a folder, which appears whole or not at all (lib/io/atomic.ts). A model saved there before is replaced, and is
 * there until then.
 * @param asked without it PyLate's layout, which PyLate and sentence-transformers 6 both load, or sentence-transformers 6's
 *   own where PyLate's cannot hold the recipe
 * @throws FormatError ERR_FORMAT when `dir` holds something that is not a saved model, or the layout cannot hold the model
 */
export async function saveModel(dir: string, model: ModelToSave, asked?: SavedLayout): Promise<void> {
  const layout = layoutFor(model, asked)
  await recoverFolder(dir)
  await checkReplaceable(path.resolve(dir))
  await writeFolder(dir, (folder) => writeFiles(folder, model, layout), { replaces: true })
}

/** @throws FormatError ERR_FORMAT when `target` is there and is no saved model, which is all that saving replaces */
export async function checkReplaceable(target: string): Promise<void> {
  if (!existsSync(target)) return
  const all = (await stat(target)).isDirectory() ? await readdir(target) : ['']
  const entries = all.filter((name) => !litter.test(name))
  const foreign = entries.find((name) => !ownFiles.test(name))
  const isModel = entries.includes('modules.json') || entries.includes('artifact.metadata')
  if (foreign !== undefined || (entries.length > 0 && !isModel))
    throw new FormatError(
      'ERR_FORMAT',
      `${target} exists and is no saved model${foreign ? ` (it holds "${foreign}")` : ''}; save to a new folder`,
      { dir: target, foreign },
    )
}

async function writeFiles(dir: string, model: ModelToSave, layout: SavedLayout): Promise<void> {
  const { architecture, config, head, recipe, tokenizer, parameters } = model
  const stanford = layout === 'stanford'
  const read = await valuesOf(parameters)
  const encoder: TensorToWrite[] = []
  for (const parameter of architecture.parameters(config))
    for (const { name, shape, offset } of architecture.stored(config, parameter))
      encoder.push(...(await read(parameter.name, stanford ? architecture.prefix + name : name, shape, offset)))
  const layers: TensorToWrite[][] = []
  for (const [index, layer] of head.entries()) {
    const tensors: TensorToWrite[] = []
    for (const { name, shape } of denseParameters(layer, index))
      tensors.push(...(await read(name, name.slice(denseFolder(index).length + 1), shape, 0)))
    layers.push(tensors)
  }
  await writeSafetensors(path.join(dir, 'model.safetensors'), stanford ? [...encoder, ...layers.flat()] : encoder)
  for (const [index, tensors] of stanford ? [] : layers.entries()) {
    await mkdir(path.join(dir, denseFolder(index)))
    await writeSafetensors(path.join(dir, denseFolder(index), 'model.safetensors'), tensors)
  }

  await writeJson(path.join(dir, 'config.json'), {
    ...configJson(model),
    ...(parameters.encodesOnly && { quantization_config: int8Config }),
    ...(stanford && { architectures: ['HF_ColBERT'], dim: head[0]!.out }), // which vLLM asks for
  })
  const own = trainedJson(model.trained)
  const files = {
    pylate: () => pylateFiles(recipe, head, own),
    'sentence-transformers': () =>
      recipe.pooling === 'none'
        ? multiVectorFiles(recipe, head, config.positions, own)
        : denseFiles(recipe, head, config.positions, config.width, own),
    stanford: () => stanfordFiles(recipe, head, own),
  }[layout]()
  for (const [name, content] of Object.entries(files)) {
    await mkdir(path.dirname(path.join(dir, name)), { recursive: true })
    await writeJson(path.join(dir, name), content)
  }
  await tokenizer.save(dir)
  await writeAtomic(path.join(dir, 'README.md'), [modelCard(model, layout, model.training)])
}

/** config.json of the encoder alone. */
export function configJson({
  json,
  architecture,
  config,
}: Pick<ModelToSave, 'json' | 'architecture' | 'config'>): Json {
  const { torch_dtype: _, quantization_config: __, ...kept } = json
  return { ...kept, architectures: [architecture.className], vocab_size: config.vocabulary, dtype: 'float32' }
}

type Reader = (parameter: string, name: string, shape: readonly number[], offset: number) => Promise<TensorToWrite[]>

/**
 * Reads a part of a parameter, `shape` numbers from `offset` on, as the tensors that a file has of it: of a model that
 * encodes only, every matrix as int8 with the scales of its rows.
 */
async function valuesOf(parameters: Parameters): Promise<Reader> {
  const values = await parameters.values.values()
  const floats = types.isFloat32Array(values) ? values : Float32Array.from(values)
  return async (parameter, name, shape, offset) => {
    const entry = parameters.entryOf(parameter)
    const size = shape.reduce((product, d) => product * d, 1)
    const data = floats.subarray(entry.offset + offset, entry.offset + offset + size)
    if (!parameters.encodesOnly || shape.length !== 2) return [{ name, shape, data }]
    const [rows, width] = shape as [number, number]
    const scale = { name: scaleOf(name), shape: [rows] }
    if (entry.offset < 0) {
      const int8 = await parameters.int8Rows(parameter)
      const first = offset / width
      return [
        { name, shape, data: int8.data.subarray(offset, offset + size) },
        { ...scale, data: int8.scales.subarray(first, first + rows) },
      ]
    }
    const [table, scales] = [new Int8Array(size), new Float32Array(rows)]
    toInt8(data, width, 0, rows, table, scales)
    return [
      { name, shape, data: table },
      { ...scale, data: scales },
    ]
  }
}

function layoutFor(model: ModelToSave, asked: SavedLayout | undefined): SavedLayout {
  const layout = asked ?? (unsaid.pylate(model).length === 0 ? 'pylate' : 'sentence-transformers')
  const problems = unsaid[layout](model)
  if (problems.length === 0) return layout
  const other = savedLayouts.find((name) => unsaid[name](model).length === 0)
  throw new FormatError(
    'ERR_FORMAT',
    `the layout "${layout}" cannot hold ${problems.join('; ')}. ${other ? `Use { layout: '${other}' }` : 'Change the recipe'}`,
    { layout, problems },
  )
}

/** What of a model each layout has no words for. */
const unsaid: Record<SavedLayout, (model: ModelToSave) => string[]> = {
  pylate: ({ recipe: r }) => [
    ...only(r, 'pooling', ['none']),
    ...only(r, 'queryExpansion', [true, false]),
    ...only(r, 'expansionToken', ['']),
    ...(r.skiplistWords.length > 0 ? only(r, 'skiplistTasks', ['document']) : []),
    ...only(r, 'keepOnlyTokenIds', ['']),
  ],
  'sentence-transformers': ({ recipe, tokenizer }) =>
    (['query', 'document'] as const).flatMap((role) => {
      const [prefix, prompt] = [recipe[`${role}Prefix`], recipe[`${role}Prompt`]]
      if (prefix === '') return []
      const [first, ...rest] = tokenizer.encode(`${prefix}${prompt}a`)
      const asText = first === tokenizer.tokenToId(prefix) && rest.join() === tokenizer.encode(`${prompt}a`).join()
      return asText ? [] : [`${role}Prefix "${prefix}", since the tokenizer does not find that token in a text`]
    }),
  stanford: ({ architecture, head, parameters, recipe: r }) => {
    const [layer] = head
    const plain = head.length === 1 && !layer!.bias && layer!.activation === 'identity' && !layer!.residual
    const punctuation = r.skiplistWords.toSorted().join(' ') === PUNCTUATION.toSorted().join(' ')
    return [
      ...only(r, 'pooling', ['none']),
      ...(parameters.encodesOnly ? ['int8 weights'] : []),
      ...(architecture.name === 'modernbert' ? ['architecture "modernbert"'] : []),
      ...(plain ? [] : ['a head of anything but one matrix']),
      ...only(r, 'queryPrompt', ['']),
      ...only(r, 'documentPrompt', ['']),
      ...(['queryPrefix', 'documentPrefix'] as const).flatMap((key) =>
        /^\S+$/.test(r[key]) ? [] : [`${key} "${r[key]}": only a token without blanks`],
      ),
      ...only(r, 'queryExpansion', [true]),
      ...only(r, 'expansionToken', ['']),
      ...(r.skiplistWords.length === 0 || (punctuation && r.skiplistTasks.join() === 'document')
        ? []
        : ['a skiplist other than the punctuation of documents']),
      ...only(r, 'keepOnlyTokenIds', ['']),
      ...only(r, 'clampNegatives', [false]),
      ...only(r, 'strip', [true]),
      ...only(r, 'lowerCase', [false]),
    ]
  },
}

function only(recipe: Recipe, key: keyof Recipe, values: readonly (string | boolean)[]): string[] {
  const value = recipe[key]
  const said = Array.isArray(value) ? value.join() : value
  return (values as readonly unknown[]).includes(said) ? [] : [`${key} ${JSON.stringify(value)}`]
}

/** Keys of config.json that transformers 5 takes only as floats: 2 must be written 2.0, which JSON.stringify cannot. */
const wholeFloats = /("\w*(?:theta|dropout|dropout_prob|initializer_range|cutoff_factor|_eps)": -?\d+)(?=[,\n])/g

/** A file of JSON as other tools take it. */
export function writeJson(file: string, value: unknown): Promise<void> {
  const text = JSON.stringify(value, null, 2).replace(wholeFloats, '$1.0')
  return writeAtomic(file, [`${text}\n`])
}
