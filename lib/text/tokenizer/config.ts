import { FormatError } from '../../errors.js'
import type { AddedTokenRecord } from './added.js'
import { type PostProcessor, specialNames, templateTokens } from './special.js'

type Json = Record<string, unknown>
const flags = ['lstrip', 'rstrip', 'single_word', 'normalized'] as const

/** Its fields that decide something, or have to agree with tokenizer.json. */
export const tokenizerFields: readonly string[] = [
  ...specialNames.map((name) => `${name}_token`),
  ...['truncation_side', 'split_special_tokens', 'tokenizer_class', 'do_lower_case', 'strip_accents'],
  ...['tokenize_chinese_chars', 'add_prefix_space', 'add_bos_token', 'add_eos_token', 'added_tokens_decoder'],
]

/**
 * What tokenizer_config.json says that tokenizer.json says too: transformers changes the tokenizer by it, so the two must
 * agree. And what neither may say, as we do not cut or split that way. Its other keys pad and set lengths
 * (lib/models/formats reads those), decode, or name tokens and classes.
 * @throws FormatError `ERR_FORMAT` that names the key, and both values
 */
export function checkTokenizerConfig(file: string, config: Json, json: Json): void {
  const differs = (key: string, said: unknown, is: unknown): FormatError =>
    new FormatError(
      'ERR_FORMAT',
      `tokenizer_config.json says ${key} ${JSON.stringify(said)}, but ${file} has ${JSON.stringify(is)}. transformers takes ` +
        'what the config says and changes the tokenizer; save it once with transformers, so that both files agree',
      { file, key },
    )
  const compare = (key: string, said: unknown, is: unknown): void => {
    if (said !== undefined && said !== is) throw differs(key, said, is)
  }
  const { direction } = (json.truncation ?? {}) as Json
  for (const [key, value, only] of [
    ['truncation_side', String(config.truncation_side ?? direction ?? 'right').toLowerCase(), 'right'],
    ['split_special_tokens', config.split_special_tokens ?? false, false],
  ] as const)
    if (value !== only)
      throw new FormatError(
        'ERR_FORMAT',
        `the tokenizer's ${key} is ${JSON.stringify(value)}, expected ${JSON.stringify(only)}`,
        { file, key },
      )
  const normalizer = (json.normalizer ?? {}) as Json
  const isBert = /^Bert(Japanese)?Tokenizer(Fast)?$/.test(String(config.tokenizer_class))
  if (isBert && normalizer.type === 'BertNormalizer') {
    const { do_lower_case = true, strip_accents = null, tokenize_chinese_chars = true } = config
    compare('do_lower_case', do_lower_case, normalizer.lowercase ?? true)
    compare('strip_accents', strip_accents, normalizer.strip_accents ?? null)
    compare('tokenize_chinese_chars', tokenize_chinese_chars, normalizer.handle_chinese_chars ?? true)
  }
  const splitter = (json.pre_tokenizer ?? {}) as Json
  if (splitter.type === 'ByteLevel')
    compare('add_prefix_space', config.add_prefix_space, splitter.add_prefix_space ?? true)
  const { leading, trailing } = templateTokens((json.post_processor ?? null) as PostProcessor | null)
  for (const [key, name, tokens] of [
    ['add_bos_token', 'bos_token', leading],
    ['add_eos_token', 'eos_token', trailing],
  ] as const)
    if (typeof config[name] === 'string' && typeof config[key] === 'boolean')
      compare(key, config[key], tokens.includes(config[name] as string))
  const records = new Map((json.added_tokens as AddedTokenRecord[]).map((record) => [String(record.id), record]))
  for (const [id, said] of Object.entries((config.added_tokens_decoder ?? {}) as Record<string, AddedTokenRecord>)) {
    const record = records.get(id)
    if (record === undefined || record.content !== said?.content)
      throw differs(`added_tokens_decoder ${id}`, said?.content ?? null, record?.content ?? null)
    for (const flag of flags) compare(`added_tokens_decoder ${id} ${flag}`, said[flag], record[flag])
  }
}
