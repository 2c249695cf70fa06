import path from 'node:path'
import type { Json } from '../../io/json-reader.js'
import { PUNCTUATION, type Recipe } from '../../text/recipe.js'
import type { DenseConfig } from '../networks/dense.js'
import { type Folder, optionalFields, type Parts } from './folder.js'
import type { Files } from './sentence-transformers.js'
import { trainedOf } from './trained.js'

/**
 * Stanford's artifact.metadata, of whose many training settings these decide what is computed; without the file, the
 * defaults that PyLate takes. Its head has no bias, and no config.
 * @throws FormatError ERR_FORMAT for what we would compute differently
 */
export async function readStanford({ dir, config }: Folder): Promise<Parts> {
  const f = await optionalFields(path.join(dir, 'artifact.metadata'))
  for (const [key, only] of [
    ['similarity', 'cosine'],
    ['interaction', 'colbert'],
  ] as const)
    if (f.text(key, only) !== only) throw f.bad(key, f.text(key, only), `"${only}"`)
  const width = config.count('hidden_size')
  const trained = trainedOf(f, []) // it knows no prompts
  return {
    trained,
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

/** The file of a model in this layout beside weights, config and tokenizer. */
export function stanfordFiles(r: Recipe, [layer]: readonly DenseConfig[], own: Json): Files {
  return {
    'artifact.metadata': {
      query_token_id: r.queryPrefix,
      doc_token_id: r.documentPrefix,
      query_token: '[Q]',
      doc_token: '[D]',
      query_maxlen: r.queryLength,
      doc_maxlen: r.documentLength,
      dim: layer!.out,
      attend_to_mask_tokens: r.attendToExpansionTokens,
      mask_punctuation: r.skiplistWords.length > 0,
      similarity: 'cosine',
      interaction: 'colbert',
      lateforge: own,
    },
  }
}
