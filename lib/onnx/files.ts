/** Files beside a graph, for those who read it. */
import type { Json } from '../io/json-reader.js'
import type { Colbert } from '../models/colbert.js'
import { Tokenizer } from '../text/tokenizer/tokenizer.js'
import { expansionOf } from './model.js'

/**
 * The tokenizer without the lengths that it came with: those who read tokenizer.json would cut and pad by them (128 of
 * all-MiniLM-L6-v2's), and the recipe says others. `model_max_length` is what fastembed cuts documents to, marker included.
 */
export function freeTokenizer({ tokenizer, recipe }: Colbert): Tokenizer {
  const { json, config, ...rest } = tokenizer.shared
  return Tokenizer.fromShared({
    ...rest,
    json: { ...json, truncation: null, padding: null },
    config: { ...config, model_max_length: recipe.documentLength },
  })
}

/** onnx_config.json, as next-plaid and colgrep read it. */
export function nextPlaidJson(model: Colbert): Json {
  const { recipe: r, tokenizer, featurizer } = model
  const { architecture } = model.parts
  return {
    model_type: 'ColBERT',
    model_class: architecture.className,
    uses_token_type_ids: false,
    query_prefix: r.queryPrefix,
    document_prefix: r.documentPrefix,
    query_prefix_id: tokenizer.tokenToId(r.queryPrefix) ?? null,
    document_prefix_id: tokenizer.tokenToId(r.documentPrefix) ?? null,
    query_length: r.queryLength,
    document_length: r.documentLength,
    do_query_expansion: r.queryExpansion !== false,
    attend_to_expansion_tokens: r.attendToExpansionTokens,
    skiplist_words: r.skiplistTasks.includes('document') ? r.skiplistWords : [],
    embedding_dim: model.dim,
    mask_token_id: featurizer.maskId,
    pad_token_id: tokenizer.pad ?? tokenizer.mask,
    do_lower_case: r.lowerCase,
  }
}

/** What of the recipe onnx_config.json has no words for: whoever embeds by it has to do it. */
export function unsaid(model: Colbert): string[] {
  const { recipe: r, featurizer, tokenizer } = model
  const notes: string[] = []
  const unmarked = [r.queryPrefix === '' && 'queries', r.documentPrefix === '' && 'documents'].filter((side) => side)
  if (unmarked.length > 0)
    notes.push(`${unmarked.join(' and ')} have no marker token; next-plaid refuses that, fastembed puts one in`)
  if (tokenizer.leading.length !== 1 || tokenizer.trailing.length !== 1)
    notes.push(
      'texts have other special tokens than one at each end; next-plaid and fastembed mark or cut them elsewhere',
    )
  if (featurizer.expandTo > 0 && !expansionOf(model))
    notes.push(
      `attention_mask has to be ${Number(r.attendToExpansionTokens)} for expansion tokens: by their ids the graph cannot tell`,
    )
  if (!r.strip) notes.push('white space at the ends of texts counts; next-plaid takes it away')
  const prompts = [r.queryPrompt && `queries with ${JSON.stringify(r.queryPrompt)}`]
  prompts.push(r.documentPrompt && `documents with ${JSON.stringify(r.documentPrompt)}`)
  const begun = prompts.filter((text) => text !== '')
  if (begun.length > 0) notes.push(`begin ${begun.join(', ')}`)
  if (typeof r.queryExpansion === 'number')
    notes.push(`queries are expanded to ${r.queryExpansion} tokens, not to more`)
  if (r.keepOnlyTokenIds.length > 0) notes.push(`of documents only tokens ${r.keepOnlyTokenIds.join(', ')} are kept`)
  if (r.skiplistWords.length > 0 && r.skiplistTasks.includes('query')) notes.push('the skiplist is for queries too')
  if (r.clampNegatives) notes.push('negative similarities count as 0')
  return notes
}
