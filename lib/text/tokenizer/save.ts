import { join } from 'node:path'
import type { AddedTokenRecord } from './added.js'
import type { PackedModel } from './model.js'
import type { SharedTokenizer } from './tokenizer.js'
import { Vocabulary } from './vocabulary.js'

/**
 * Writes tokenizer.json, tokenizer_config.json and special_tokens_map.json.
 * @param specials special tokens by their name in tokenizer_config.json, as `mask_token`
 */
export async function saveTokenizer(
  dir: string,
  tokenizer: SharedTokenizer,
  specials: Readonly<Record<string, string>>,
): Promise<void> {
  const { writeAtomic } = await import('../../io/atomic.js')
  const decoder: Record<string, object> = {}
  for (const { id, ...record } of tokenizer.json.added_tokens as AddedTokenRecord[]) decoder[id] = record
  const config = {
    tokenizer_class: 'PreTrainedTokenizerFast',
    model_max_length: 512,
    clean_up_tokenization_spaces: false,
    ...tokenizer.config,
    ...specials,
    added_tokens_decoder: decoder,
  }
  await writeAtomic(join(dir, 'tokenizer.json'), tokenizerJson(tokenizer))
  await writeAtomic(join(dir, 'tokenizer_config.json'), [`${JSON.stringify(config, null, 2)}\n`])
  await writeAtomic(join(dir, 'special_tokens_map.json'), [`${JSON.stringify(specials, null, 2)}\n`])
}

/** The text of tokenizer.json, piece by piece. */
export function* tokenizerJson({ json, model }: SharedTokenizer): Generator<string> {
  yield `${JSON.stringify(json, null, 2).slice(0, -2)},\n  "model": {\n`
  const options = JSON.stringify(model.options, null, 2).slice(1, -1).trim()
  yield options === '' ? '' : `${options},\n`
  yield* vocabularyJson(model)
  yield '\n  }\n}\n'
}

/** Tokens, ids, merges and scores as a tokenizer.json has them: its text, piece by piece, inside the model's braces. */
function* vocabularyJson({ kind, tokens, merges, scores }: PackedModel): Generator<string> {
  const vocabulary = new Vocabulary(tokens)
  const text = (id: number): string => JSON.stringify(vocabulary.token(id))
  yield kind === 'Unigram' ? '"vocab":[' : '"vocab":{'
  let comma = ''
  for (let id = 0; id < vocabulary.size; id++) {
    if (tokens.lengths[id]! < 0) continue
    yield kind === 'Unigram' ? `${comma}\n[${text(id)},${scores![id]}]` : `${comma}\n${text(id)}:${id}`
    comma = ','
  }
  yield kind === 'Unigram' ? ']' : '}'
  if (merges === null) return
  yield ',"merges":['
  for (let rank = 0; rank < merges.products.length; rank++) {
    const [left, right] = [merges.pairs[2 * rank]!, merges.pairs[2 * rank + 1]!]
    const pair = merges.asText
      ? JSON.stringify(`${vocabulary.token(left)} ${vocabulary.token(right)}`)
      : `[${text(left)},${text(right)}]`
    yield `${rank > 0 ? ',' : ''}\n${pair}`
  }
  yield ']'
}
