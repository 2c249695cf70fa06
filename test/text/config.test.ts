/** What tokenizer_config.json says of a tokenizer that tokenizer.json says too, and otherwise: transformers goes by the first. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { Tokenizer } from '../../lib/text/tokenizer/tokenizer.js'

const folder = (kind: string, config: object) =>
  t.testdir({
    'tokenizer.json': readFileSync(`test/fixtures/tokenizers/${kind}/tokenizer.json`, 'utf8'),
    'tokenizer_config.json': JSON.stringify(config),
  })
const bert = { tokenizer_class: 'BertTokenizer' }
const mask = { content: '[MASK]', lstrip: false, rstrip: false, single_word: false, normalized: false, special: true }

t.test('two files that disagree are refused by name', async (t) => {
  const cases: [kind: string, config: object, message: RegExp][] = [
    ['bert', { ...bert, do_lower_case: false }, /do_lower_case false, but .* has true/],
    ['bert', { ...bert, strip_accents: false }, /strip_accents/],
    ['bert', { ...bert, tokenize_chinese_chars: false }, /tokenize_chinese_chars/],
    ['roberta', { add_prefix_space: false }, /add_prefix_space/],
    ['unigram', { bos_token: '<s>', add_bos_token: false }, /add_bos_token/],
    ['unigram', { eos_token: '</s>', add_eos_token: false }, /add_eos_token/],
    ['bert', { truncation_side: 'left' }, /truncation_side is "left", expected "right"/],
    ['bert', { split_special_tokens: true }, /split_special_tokens is true/],
    ['bert', { added_tokens_decoder: { 4: { ...mask, content: '[X]' } } }, /added_tokens_decoder 4 "\[X\]"/],
    ['bert', { added_tokens_decoder: { 4: { ...mask, lstrip: true } } }, /added_tokens_decoder 4 lstrip/],
  ]
  for (const [kind, config, message] of cases)
    await t.rejects(Tokenizer.load(folder(kind, config)), { code: 'ERR_FORMAT', message }, JSON.stringify(config))
})

t.test('two that agree are read, and so are keys that change no id', async (t) => {
  const good: [kind: string, config: object][] = [
    ['bert', { ...bert, do_lower_case: true, strip_accents: null, model_max_length: 512, never_split: null }],
    ['bert', { tokenizer_class: 'PreTrainedTokenizerFast', do_lower_case: false }],
    ['roberta', { tokenizer_class: 'RobertaTokenizer', add_prefix_space: true, errors: 'replace' }],
    ['unigram', { bos_token: '<s>', eos_token: '</s>', add_bos_token: true, add_eos_token: true }],
  ]
  for (const [kind, config] of good) t.ok((await Tokenizer.load(folder(kind, config))).vocabSize > 0)
})
