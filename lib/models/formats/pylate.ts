import { FormatError } from '../../errors.js'
import type { Json } from '../../io/json-reader.js'
import { packageVersion } from '../../packages.js'
import { PUNCTUATION, type Recipe } from '../../text/recipe.js'
import { type DenseConfig, denseFolder, denseJsonOf } from '../networks/dense.js'
import { checkSettings, checkTransformer, type Folder, kindOf, type Parts, sharedSettings } from './folder.js'
import { type Files, ownSettings, readHead } from './sentence-transformers.js'
import { trainedOf, unnamedPrompts } from './trained.js'

/** What PyLate writes and sentence-transformers 6 keeps elsewhere; PyLate's first versions named no model_type. */
export const pylateKeys = [
  'query_prefix',
  'document_prefix',
  'query_length',
  'document_length',
  'do_query_expansion',
  'attend_to_expansion_tokens',
  'skiplist_words',
]

/**
 * What PyLate computes with a folder. Missing keys have the defaults of its older versions, which are those of a recipe.
 * @throws FormatError ERR_FORMAT for what we would compute differently
 */
export async function readPylate({ dir, modules, settings: f, transformer }: Folder): Promise<Parts> {
  f.allow([...sharedSettings, ...pylateKeys])
  checkSettings(f)
  checkTransformer(transformer)
  const odd = modules.find((m) => !['Transformer', 'Dense', 'Pooling', 'Normalize'].includes(kindOf(m)))
  if (odd)
    throw new FormatError(
      'ERR_FORMAT',
      `${dir}/modules.json: module ${odd.type} is not supported; expected a Transformer and Dense modules`,
      { dir },
    )
  // PyLate puts it before queries and documents alike, unless it is told another.
  if (f.has('default_prompt_name'))
    throw f.bad('default_prompt_name', f.text('default_prompt_name', ''), 'null: a query and a document prompt')
  const prompts = f.object('prompts')
  const own = f.object('lateforge')
  return {
    head: await readHead(modules, 'torch.nn.modules.linear.Identity'),
    // Its mask is no setting of its folders: it trains with negative similarities as 0, and is searched without.
    trained: trainedOf(f, ['clampNegatives', ...unnamedPrompts(prompts)], ['clampNegatives', 'unstripped']),
    recipe: {
      queryPrefix: f.text('query_prefix', '[Q] '),
      documentPrefix: f.text('document_prefix', '[D] '),
      queryPrompt: prompts.text('query', ''),
      documentPrompt: prompts.text('document', ''),
      queryLength: f.count('query_length', 32),
      documentLength: f.count('document_length', 180),
      queryExpansion: f.flag('do_query_expansion', true),
      attendToExpansionTokens: f.flag('attend_to_expansion_tokens', false),
      skiplistWords: f.texts('skiplist_words', PUNCTUATION),
      clampNegatives: own.flag('clampNegatives', false),
      strip: !own.flag('unstripped', false),
      lowerCase: transformer.flag('do_lower_case', false),
    },
  }
}

/** The files of a model in this layout; its settings have PyLate's keys in PyLate's order. */
export function pylateFiles(r: Recipe, head: readonly DenseConfig[], own: Json): Files {
  return {
    'modules.json': [
      { idx: 0, name: '0', path: '', type: 'sentence_transformers.models.Transformer' },
      ...head.map((_, i) => ({
        idx: i + 1,
        name: `${i + 1}`,
        path: denseFolder(i),
        type: 'pylate.models.Dense.Dense',
      })),
    ],
    'config_sentence_transformers.json': {
      model_type: 'ColBERT',
      __version__: { lateforge: packageVersion() },
      prompts: { query: r.queryPrompt, document: r.documentPrompt },
      default_prompt_name: null,
      similarity_fn_name: 'MaxSim',
      query_prefix: r.queryPrefix,
      document_prefix: r.documentPrefix,
      query_length: r.queryLength,
      document_length: r.documentLength,
      attend_to_expansion_tokens: r.attendToExpansionTokens,
      skiplist_words: r.skiplistWords,
      do_query_expansion: r.queryExpansion,
      ...ownSettings({ clampNegatives: r.clampNegatives, unstripped: !r.strip }, own),
    },
    'sentence_bert_config.json': {
      max_seq_length: Math.max(r.queryLength, r.documentLength),
      do_lower_case: r.lowerCase,
    },
    ...Object.fromEntries(head.map((layer, i) => [`${denseFolder(i)}/config.json`, denseJsonOf(layer)])),
  }
}
