import { FormatError } from '../../errors.js'

/** The five special tokens of a BERT vocabulary, in the order `trainWordPiece` gives them ids 0-4. */
export const BERT_SPECIAL_TOKENS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'] as const

/**
 * Content of the tokenizer.json of an uncased BERT WordPiece tokenizer over `vocab` (a token's index is its id).
 * @throws FormatError `ERR_FORMAT` when a special token is missing or a token occurs twice.
 */
export function bertTokenizerJson(vocab: readonly string[]): object {
  const ids = new Map<string, number>()
  for (const [id, token] of vocab.entries()) {
    if (ids.has(token)) {
      throw new FormatError('ERR_FORMAT', `the vocabulary holds "${token}" twice, at ${ids.get(token)} and ${id}.`, {
        token,
      })
    }
    ids.set(token, id)
  }
  const special = (token: string): number => {
    const id = ids.get(token)
    if (id === undefined) {
      throw new FormatError(
        'ERR_FORMAT',
        `the vocabulary has no ${token}; a BERT vocabulary needs ${BERT_SPECIAL_TOKENS.join(', ')}.`,
        { token },
      )
    }
    return id
  }
  const added = BERT_SPECIAL_TOKENS.map((content) => ({
    id: special(content),
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }))
  const marker = (id: string, type: number) => ({ SpecialToken: { id, type_id: type } })
  const sequence = (id: string, type: number) => ({ Sequence: { id, type_id: type } })
  const first = [marker('[CLS]', 0), sequence('A', 0), marker('[SEP]', 0)]
  const template = (id: '[CLS]' | '[SEP]') => ({ id, ids: [special(id)], tokens: [id] })
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: added.sort((a, b) => a.id - b.id),
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: null,
      lowercase: true,
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: {
      type: 'TemplateProcessing',
      single: first,
      pair: [...first, sequence('B', 1), marker('[SEP]', 1)],
      special_tokens: { '[CLS]': template('[CLS]'), '[SEP]': template('[SEP]') },
    },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: Object.fromEntries(ids),
    },
  }
}
