import path from 'node:path'
import { FormatError } from '../../errors.js'
import { type Json, JsonReader } from '../../io/json-reader.js'
import { packageVersion } from '../../packages.js'
import type { Recipe } from '../../text/recipe.js'
import { type DenseConfig, denseConfigOf, denseFolder, denseJsonOf } from '../networks/dense.js'
import {
  checkSettings,
  checkTransformer,
  type Folder,
  type HeadLayer,
  kindOf,
  type Module,
  optionalFields,
  type Parts,
  sharedSettings,
} from './folder.js'
import { trainedOf, unnamedPrompts } from './trained.js'
import { readJson } from './weights.js'

const multiVectorKeys = ['query_length', 'document_length', 'query_expansion']
/** Of our section, beside what `trainedOf` reads. */
const ownKeys = ['query_prefix', 'document_prefix', 'clampNegatives', 'strip', 'lowerCase']
/** Pooling makes a vector of its own beside those of the tokens, which nothing of this model looks at. */
const modulesOf = ['Transformer', 'Dense', 'Pooling', 'MultiVectorMask', 'Normalize']
const perToken = ['module_input_name', 'module_output_name']

/**
 * What sentence-transformers 6 computes with a folder of its MultiVectorEncoder. Prefixes are text in its prompts, which
 * the tokenizer turns into the same ids.
 * @throws FormatError ERR_FORMAT for what we would compute differently
 */
export async function readMultiVector(folder: Folder, positions: number): Promise<Parts> {
  const { dir, modules, settings, transformer: f } = folder
  settings.allow(sharedSettings)
  checkSettings(settings)
  checkTransformer(f, multiVectorKeys)
  checkOrder(dir, modules)
  const prompts = settings.object('prompts')
  const own = settings.object('lateforge')
  const [queryPrefix, documentPrefix] = [own.text('query_prefix', ''), own.text('document_prefix', '')]
  return {
    head: await readHead(modules, 'torch.nn.modules.activation.Tanh'),
    trained: trainedOf(settings, unnamedPrompts(prompts), ownKeys),
    recipe: {
      queryPrefix,
      documentPrefix,
      queryPrompt: after(queryPrefix, prompts, 'query'),
      documentPrompt: after(documentPrefix, prompts, 'document'),
      ...lengths(folder, positions),
      ...(await mask(modules)),
      clampNegatives: own.flag('clampNegatives', false),
      strip: own.flag('strip', false),
      lowerCase: own.flag('lowerCase', false),
    },
  }
}

/** What comes after the prefix in a prompt that we wrote with one. */
function after(prefix: string, prompts: JsonReader, role: string): string {
  const prompt = prompts.text(role, '')
  if (!prompt.startsWith(prefix)) throw prompts.bad(role, prompt, `a prompt that begins with the prefix "${prefix}"`)
  return prompt.slice(prefix.length)
}

/** @throws FormatError ERR_FORMAT for a module we lack, or one whose place changes what it does */
function checkOrder(dir: string, modules: readonly Module[]): void {
  const kinds = modules.map(kindOf)
  const odd = kinds.findIndex((kind) => !modulesOf.includes(kind))
  const fail = (problem: string): FormatError =>
    new FormatError('ERR_FORMAT', `${dir}/modules.json: ${problem}; expected ${modulesOf.join(', ')}`, { dir })
  if (odd >= 0) throw fail(`module ${modules[odd]!.type} is not supported`)
  const normalize = kinds.lastIndexOf('Normalize')
  if (normalize < 0)
    throw fail('there is no Normalize module, and embeddings that are no unit vectors are not supported')
  if (normalize < kinds.lastIndexOf('Dense')) throw fail('a Dense module comes after Normalize')
  for (const kind of ['Transformer', 'MultiVectorMask', 'Normalize'])
    if (kinds.filter((other) => other === kind).length > 1) throw fail(`there are two ${kind} modules`)
}

/**
 * Layers of the head.
 * @param activation of a layer that names none
 * @param works on which vectors all layers must: those of tokens, or of whole texts, as a layer does that says nothing
 */
export async function readHead(
  modules: readonly Module[],
  activation: string,
  works: 'token_embeddings' | 'sentence_embedding' = 'token_embeddings',
): Promise<HeadLayer[]> {
  const head: HeadLayer[] = []
  for (const module of modules) {
    const { dir } = module
    const file = path.join(dir, 'config.json')
    if (kindOf(module) === 'Normalize') {
      const f = await optionalFields(file)
      f.allow(perToken)
      checkVectors(f, 'sentence_embedding', works)
    }
    if (kindOf(module) !== 'Dense') continue
    const json = await readJson(file)
    checkVectors(new JsonReader(json, file), works, works)
    head.push({ config: denseConfigOf(json, file, perToken, activation), dir })
  }
  return head
}

function checkVectors(f: JsonReader, usual: string, works: string): void {
  const input = f.text('module_input_name', usual)
  for (const [key, value] of [
    ['module_input_name', input],
    ['module_output_name', f.text('module_output_name', input)],
  ] as const)
    if (value !== works) throw f.bad(key, value, `"${works}"`)
}

/** Most tokens of a text: the folder's limit, or its tokenizer's, which says 1e30 where it has none. */
export function longestText({ transformer: f, tokenizer }: Folder, positions: number): number {
  return f.has('max_seq_length')
    ? f.count('max_seq_length')
    : Math.min(positions, tokenizer.real('model_max_length', positions, 1))
}

/** Lengths and expansion. */
function lengths(folder: Folder, positions: number): Partial<Recipe> {
  const { modules, transformer: f } = folder
  const limit = longestText(folder, positions)
  const queryLength = f.count('query_length', limit)
  const documentLength = f.count('document_length', limit)
  if (!f.has('query_expansion')) return { queryLength, documentLength, queryExpansion: false }
  const expansion = f.object('query_expansion')
  expansion.allow(['strategy', 'attend', 'token', 'length'])
  const length = expansion.count('length')
  const strategy = expansion.text('strategy', '')
  if (strategy !== 'fixed' && strategy !== 'min') throw expansion.bad('strategy', strategy, '"fixed" or "min"')
  if (f.has('query_length') && queryLength < length)
    throw f.bad('query_length', queryLength, `at least the ${length} tokens of query_expansion`)
  const longest = strategy === 'fixed' ? length : Math.max(queryLength, length)
  const attend = expansion.flag('attend', false)
  // Without a mask module what attention does not see does not score either: it only takes memory there.
  const scores = attend || modules.some((m) => kindOf(m) === 'MultiVectorMask')
  return {
    queryLength: longest,
    documentLength,
    queryExpansion: scores && (strategy === 'fixed' ? true : length),
    attendToExpansionTokens: attend,
    expansionToken: expansion.text('token', ''),
  }
}

async function mask(modules: readonly Module[]): Promise<Partial<Recipe>> {
  const module = modules.find((m) => kindOf(m) === 'MultiVectorMask')
  if (!module) return { skiplistWords: [] }
  // Without its file a skiplist would be lost.
  const file = path.join(module.dir, 'config.json')
  const f = new JsonReader(await readJson(file), file)
  f.allow(['skiplist_words', 'skiplist_tasks', 'keep_only_token_ids'])
  const tasks = f.isText('skiplist_tasks') ? [f.text('skiplist_tasks', '')] : f.texts('skiplist_tasks', ['document'])
  const odd = tasks.find((task) => task !== 'query' && task !== 'document')
  if (odd !== undefined) throw f.bad('skiplist_tasks', tasks, 'query and document')
  const words = tasks.length === 0 ? [] : f.texts('skiplist_words', [])
  return {
    skiplistWords: words,
    skiplistTasks: (words.length === 0 ? ['document'] : tasks) as Recipe['skiplistTasks'],
    keepOnlyTokenIds: f.counts('keep_only_token_ids', []),
  }
}

/** A JSON file of a folder, by its path. */
export type Files = Readonly<Record<string, unknown>>

/** The files of a model in this layout. */
export function multiVectorFiles(r: Recipe, head: readonly DenseConfig[], positions: number, trained: Json): Files {
  const token = { module_input_name: 'token_embeddings', module_output_name: 'token_embeddings' }
  const expansion = {
    strategy: r.queryExpansion === true ? 'fixed' : 'min',
    attend: r.attendToExpansionTokens,
    token: r.expansionToken || null,
    length: r.queryExpansion === true ? r.queryLength : r.queryExpansion,
  }
  const [masking, normalize] = [head.length + 1, head.length + 2]
  const base = 'sentence_transformers.base.modules'
  const types = [
    ['', `${base}.transformer.Transformer`],
    ...head.map((_, i) => [denseFolder(i), `${base}.dense.Dense`]),
    [
      `${masking}_MultiVectorMask`,
      'sentence_transformers.multi_vector_encoder.modules.multi_vector_mask.MultiVectorMask',
    ],
    [`${normalize}_Normalize`, `${base}.normalize.Normalize`],
  ]
  return {
    'modules.json': types.map(([folder, type], idx) => ({ idx, name: `${idx}`, path: folder, type })),
    'config_sentence_transformers.json': {
      model_type: 'MultiVectorEncoder',
      __version__: { lateforge: packageVersion() },
      prompts: { query: r.queryPrefix + r.queryPrompt, document: r.documentPrefix + r.documentPrompt },
      default_prompt_name: null,
      similarity_fn_name: 'maxsim',
      ...ownSettings(
        {
          query_prefix: r.queryPrefix,
          document_prefix: r.documentPrefix,
          clampNegatives: r.clampNegatives,
          strip: r.strip,
          lowerCase: r.lowerCase,
        },
        trained,
      ),
    },
    'sentence_bert_config.json': {
      transformer_task: 'feature-extraction',
      modality_config: { text: { method: 'forward', method_output_name: 'last_hidden_state' } },
      module_output_name: 'token_embeddings',
      max_seq_length: Math.min(positions, Math.max(r.queryLength, r.documentLength)),
      query_length: r.queryLength,
      document_length: r.documentLength,
      do_lower_case: r.lowerCase,
      ...(r.queryExpansion !== false && { query_expansion: expansion }),
    },
    ...Object.fromEntries(
      head.map((layer, i) => [`${denseFolder(i)}/config.json`, { ...denseJsonOf(layer), ...token }]),
    ),
    [`${masking}_MultiVectorMask/config.json`]: {
      skiplist_words: r.skiplistWords,
      skiplist_tasks: r.skiplistTasks,
      keep_only_token_ids: r.keepOnlyTokenIds.length > 0 ? r.keepOnlyTokenIds : null,
    },
    [`${normalize}_Normalize/config.json`]: token,
  }
}

/** What only lateforge reads: settings, left out where they say nothing, and what the weights have learned. */
export function ownSettings(values: Record<string, string | boolean>, trained: Json): Json {
  const said = Object.entries(values).filter(([, value]) => value !== '' && value !== false)
  return { lateforge: { ...Object.fromEntries(said), ...trained } }
}
