/** A dense model's folder, as sentence-transformers writes it: one vector a text. */
import path from 'node:path'
import { FormatError } from '../../errors.js'
import type { Json } from '../../io/json-reader.js'
import { packageVersion } from '../../packages.js'
import type { Recipe } from '../../text/recipe.js'
import { type DenseConfig, denseFolder, denseJsonOf } from '../networks/dense.js'
import {
  checkSettings,
  checkTransformer,
  type Folder,
  kindOf,
  type Module,
  optionalFields,
  type Parts,
  sharedSettings,
} from './folder.js'
import { type Files, longestText, ownSettings, readHead } from './sentence-transformers.js'
import { trainedOf, unnamedPrompts, untrained } from './trained.js'

const modulesOf = ['Transformer', 'Pooling', 'Dense', 'Normalize']

/**
 * What sentence-transformers computes with a folder of a dense model, up to the norm, which the cosine does not see. A
 * folder of an encoder alone does not say how it pools.
 * @throws FormatError ERR_FORMAT for what we would compute differently
 */
export async function readDense(folder: Folder, positions: number): Promise<Parts> {
  const { dir, modules, settings, transformer: f } = folder
  const limit = longestText(folder, positions)
  const lengths = { queryLength: limit, documentLength: limit }
  if (modules.length === 0) return { head: [], trained: untrained, recipe: lengths }
  settings.allow(sharedSettings)
  checkSettings(settings)
  checkTransformer(f, ['query_length', 'document_length'])
  const similarity = settings.text('similarity_fn_name', 'cosine').toLowerCase()
  const kinds = modules.map(kindOf)
  if (similarity !== 'cosine' && !(similarity === 'dot' && kinds.includes('Normalize')))
    throw settings.bad('similarity_fn_name', similarity, '"cosine", which is what unit vectors are scored by')
  if (settings.has('default_prompt_name'))
    throw settings.bad('default_prompt_name', settings.text('default_prompt_name', ''), 'null: a prompt for each side')
  const [transformer, pooling, ...others] = kinds
  const odd = kinds.find((kind) => !modulesOf.includes(kind))
  if (transformer !== 'Transformer' || pooling !== 'Pooling' || odd || others.includes('Pooling'))
    throw new FormatError(
      'ERR_FORMAT',
      `${dir}/modules.json: ${odd ?? kinds.join(', ')} is not supported in a dense model; expected a Transformer, a ` +
        'Pooling and then Dense and Normalize modules',
      { dir, kinds },
    )
  const normalize = kinds.indexOf('Normalize')
  if (normalize >= 0 && normalize < kinds.lastIndexOf('Dense'))
    throw new FormatError('ERR_FORMAT', `${dir}/modules.json: a Dense module comes after Normalize`, { dir })
  const prompts = settings.object('prompts')
  const side = (names: readonly string[]): string => {
    const name = names.find((key) => prompts.has(key))
    return name === undefined ? '' : prompts.text(name, '')
  }
  const prompted = { queryPrompt: side(['query']), documentPrompt: side(['document', 'passage', 'corpus']) }
  const own = settings.object('lateforge')
  return {
    head: await readHead(modules, 'torch.nn.modules.activation.Tanh', 'sentence_embedding'),
    trained: trainedOf(settings, unnamedPrompts(prompts), ['strip', 'lowerCase']),
    recipe: {
      ...lengths,
      ...prompted,
      pooling: await poolingOf(modules[1]!, prompted.queryPrompt !== '' || prompted.documentPrompt !== ''),
      strip: own.flag('strip', false),
      lowerCase: own.flag('lowerCase', false),
    },
  }
}

/** Flags of older folders, each a way of pooling. */
const flags = {
  pooling_mode_cls_token: 'cls',
  pooling_mode_mean_tokens: 'mean',
  pooling_mode_max_tokens: 'max',
  pooling_mode_mean_sqrt_len_tokens: 'mean_sqrt_len_tokens',
  pooling_mode_weightedmean_tokens: 'weightedmean',
  pooling_mode_lasttoken: 'lasttoken',
} as const

/** @param prompted with prompts it matters whether their tokens are pooled too: the first token is one of them either way */
async function poolingOf(module: Module, prompted: boolean): Promise<Recipe['pooling']> {
  const f = await optionalFields(path.join(module.dir, 'config.json'))
  f.allow(['word_embedding_dimension', 'embedding_dimension', 'pooling_mode', 'include_prompt', ...Object.keys(flags)])
  const named = f.isText('pooling_mode') ? [f.text('pooling_mode', '')] : f.texts('pooling_mode', [])
  const flagged = Object.entries(flags).filter(([key]) => f.flag(key, false))
  const modes = named.length > 0 ? named : flagged.map(([, mode]) => mode)
  const [mode = 'mean'] = modes
  if (modes.length > 1 || (mode !== 'cls' && mode !== 'mean')) throw f.bad('pooling_mode', modes, '"cls" or "mean"')
  if (mode === 'mean' && prompted && !f.flag('include_prompt', true))
    throw f.bad('include_prompt', false, 'true: tokens of a prompt are pooled as all others')
  return mode
}

/** The files of a dense model. */
export function denseFiles(
  r: Recipe,
  head: readonly DenseConfig[],
  positions: number,
  width: number,
  trained: Json,
): Files {
  const perText = { module_input_name: 'sentence_embedding', module_output_name: 'sentence_embedding' }
  const base = 'sentence_transformers.base.modules'
  const normalize = `${head.length + 2}_Normalize`
  const types = [
    ['', `${base}.transformer.Transformer`],
    ['1_Pooling', 'sentence_transformers.sentence_transformer.modules.pooling.Pooling'],
    ...head.map((_, i) => [denseFolder(i), `${base}.dense.Dense`]),
    [normalize, `${base}.normalize.Normalize`],
  ]
  return {
    'modules.json': types.map(([folder, type], idx) => ({ idx, name: `${idx}`, path: folder, type })),
    'config_sentence_transformers.json': {
      model_type: 'SentenceTransformer',
      __version__: { lateforge: packageVersion() },
      prompts: { query: r.queryPrompt, document: r.documentPrompt },
      default_prompt_name: null,
      similarity_fn_name: 'cosine',
      ...ownSettings({ strip: r.strip, lowerCase: r.lowerCase }, trained),
    },
    'sentence_bert_config.json': {
      max_seq_length: Math.min(positions, Math.max(r.queryLength, r.documentLength)),
      do_lower_case: r.lowerCase,
    },
    '1_Pooling/config.json': { embedding_dimension: width, pooling_mode: r.pooling, include_prompt: true },
    ...Object.fromEntries(
      head.map((layer, i) => [`${denseFolder(i)}/config.json`, { ...denseJsonOf(layer), ...perText }]),
    ),
    [`${normalize}/config.json`]: perText,
  }
}
