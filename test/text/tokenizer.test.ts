import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Tokenizer } from '../../lib/text/tokenizer/tokenizer.js'
import { trainWordPiece } from '../../lib/text/tokenizer/train-wordpiece.js'
import { Random } from '../random.js'
import { seed } from '../seed.js'

const VOCAB = [
  '[PAD]',
  '[UNK]',
  '[CLS]',
  '[SEP]',
  '[MASK]',
  ...'late inter ##act ##ion naive tokyo , . ! a ##b'.split(' '),
]
const vocab = [...VOCAB, '東', '京', 'σ', '##σ', '[', 'q', ']']

/** A small byte-level BPE in ModernBERT's shape: NFC, added spaces, a mask token that eats the blanks before it. */
function byteLevelJson(): object {
  const letters = ['a', 'b', 'c', 'Ġ', 'Ã', '©', 'ab', 'Ġab', 'Ċ', 'Â', 'ħ']
  const added = (id: number, content: string, special: boolean, lstrip = false) => ({
    id,
    content,
    single_word: false,
    lstrip,
    rstrip: false,
    normalized: !special,
    special,
  })
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [
      added(11, '[CLS]', true),
      added(12, '[SEP]', true),
      added(13, '[MASK]', true, true),
      added(14, '   ', false),
    ],
    normalizer: { type: 'NFC' },
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: {
      type: 'TemplateProcessing',
      single: [
        { SpecialToken: { id: '[CLS]', type_id: 0 } },
        { Sequence: { id: 'A', type_id: 0 } },
        { SpecialToken: { id: '[SEP]', type_id: 0 } },
      ],
      pair: [],
      special_tokens: {},
    },
    decoder: { type: 'ByteLevel' },
    model: {
      type: 'BPE',
      vocab: Object.fromEntries(letters.map((token, id) => [token, id])),
      merges: ['a b', 'Ġ ab'],
    },
  }
}

t.test('BERT: normalises, splits and finds added tokens', async (t) => {
  const tok = Tokenizer.fromVocabulary(vocab)
  const id = (token: string) => tok.tokenToId(token)!
  const cases: [string, string[]][] = [
    ['Late INTERACTION', ['late', 'inter', '##act', '##ion']],
    ['naïve, na\u0069\u0308ve!', ['naive', ',', 'naive', '!']],
    ['東京', ['東', '京']],
    ['ΣΣ', ['σ', '##σ']],
    ['la\u200bte\u0000 l\u00adate', ['late', 'late']],
    ['late\u00a0late\u2028late\tlate\r\nlate', ['late', 'late', 'late', 'late', 'late']],
    ['a[MASK]a[mask]', ['a', '[MASK]', 'a', '[', '[UNK]', ']']],
    ['zzz ab', ['[UNK]', 'a', '##b']],
    ['', []],
    [' \n\t\u200b', []],
  ]
  for (const [at, [text, tokens]] of cases.entries())
    t.same(
      tok.encode(text).map((i) => tok.idToToken(i)),
      tokens,
      `case ${at}`,
    )
  t.same(tok.encode('late late late', 2), [id('late'), id('late')])
  t.same([tok.cls, tok.sep, tok.mask, tok.pad, tok.unk], [2, 3, 4, 0, 1])
  t.equal(tok.decode(tok.encode('late interaction')), 'late interaction')
  t.equal(tok.decode([]), '')
  t.equal(tok.tokenToId('absent'), undefined)
  t.equal(tok.vocabSize, vocab.length)
})

t.test('byte-level BPE: raw white space, normalised added tokens, lstrip', async (t) => {
  const tok = Tokenizer.fromJson(byteLevelJson())
  t.same(tok.encode('ab ab'), [6, 7])
  t.same(tok.encode('ab   ab'), [6, 14, 6])
  t.same(tok.encode('ab  [MASK]ab'), [6, 13, 6], 'the mask token takes the blanks before it')
  t.same(tok.encode('e\u0301').length, 2, 'NFC joins the accent: two bytes')
  t.same([tok.cls, tok.sep, tok.mask], [11, 12, 13])
  t.equal(tok.vocabSize, 15)
})

t.test('hostile Unicode: ids stay in range and the limit only cuts', async (t) => {
  const draws = new Random(seed)
  const random = (n: number) => draws.integer(n)
  for (const tok of [Tokenizer.fromVocabulary(vocab), Tokenizer.fromJson(byteLevelJson())]) {
    for (let round = 0; round < 300; round++) {
      // Code units, so that half of the surrogates stand alone.
      const text = Array.from({ length: random(60) }, () =>
        String.fromCharCode(random(4) === 0 ? 0xd800 + random(2048) : random(65536)),
      ).join('')
      const ids = tok.encode(text)
      t.ok(
        ids.every((id) => Number.isInteger(id) && id >= 0 && id < tok.vocabSize),
        `round ${round}`,
      )
      t.same(tok.encode(text, 5), ids.slice(0, 5))
    }
  }
})

t.test('addTokens keeps known ids, is idempotent, changes the hash and survives saving', async (t) => {
  const tok = Tokenizer.fromVocabulary(vocab)
  const before = tok.hash
  t.equal(tok.addTokens(['[Q] ', 'late', '[D] ', '[Q] ', '']), 3)
  t.same(
    [tok.tokenToId('[Q] '), tok.tokenToId('late'), tok.tokenToId('[D] ')],
    [vocab.length, vocab.indexOf('late'), vocab.length + 1],
  )
  t.equal(tok.vocabSize, vocab.length + 2)
  t.not(tok.hash, before)
  const hash = tok.hash
  t.equal(tok.addTokens(['[Q] ']), 0)
  t.equal(tok.hash, hash)
  const dir = t.testdir()
  await tok.save(join(dir, 'deep/tok'))
  const again = await Tokenizer.load(join(dir, 'deep/tok'))
  t.equal(again.hash, hash)
  t.equal(again.mask, tok.mask)
  t.same(again.encode('[Q] late [MASK]'), tok.encode('[Q] late [MASK]'))
  const map = JSON.parse(readFileSync(join(dir, 'deep/tok/special_tokens_map.json'), 'utf8'))
  t.same(map, { cls_token: '[CLS]', sep_token: '[SEP]', mask_token: '[MASK]', pad_token: '[PAD]', unk_token: '[UNK]' })
  const { json } = tok.toJson() as { json: { model: object } }
  const reordered = {
    ...json,
    padding: { strategy: 'BatchLongest' },
    model: Object.fromEntries(Object.entries(json.model).reverse()),
  }
  t.equal(Tokenizer.fromJson(reordered).hash, hash, 'key order and padding settings do not count')
})

t.test('the mask id falls back to end of text, then padding, then fails', async (t) => {
  const json = byteLevelJson() as { added_tokens: { content: string }[] }
  json.added_tokens = json.added_tokens.filter(({ content }) => content !== '[MASK]')
  t.equal(Tokenizer.fromJson(json, { eos_token: { content: '[SEP]' }, pad_token: '[CLS]' }).mask, 12)
  t.equal(Tokenizer.fromJson(json, { pad_token: '[CLS]' }).mask, 11)
  t.throws(() => Tokenizer.fromJson(json).mask, { code: 'ERR_FORMAT' })
})

t.test('missing and damaged files are ERR_FORMAT', async (t) => {
  const dir = t.testdir({ empty: {}, 'tokenizer.json': '{}' })
  await t.rejects(Tokenizer.load(join(dir, 'empty')), { code: 'ERR_FORMAT', message: /no tokenizer\.json/ })
  await t.rejects(Tokenizer.load(join(dir, 'none')), { code: 'ERR_FORMAT', message: /none does not exist/ })
  await t.rejects(Tokenizer.load(join(dir, 'tokenizer.json')), {
    code: 'ERR_FORMAT',
    message: /is a file\. Give the folder that it is in/,
  })
  const good = JSON.stringify(Tokenizer.fromVocabulary(vocab).toJson().json)
  const bad: Record<string, string> = {
    cut: good.slice(0, good.length / 2),
    array: '[]',
    blank: '',
    noModel: '{"added_tokens": []}',
    unknownModel: '{"added_tokens": [], "model": {"type": "Magic"}}',
    strangeMarker: good.replace('"SpecialToken":{"id":"[CLS]"', '"SpecialToken":{"id":"[NOPE]"'),
  }
  for (const [name, text] of Object.entries(bad)) {
    mkdirSync(join(dir, name))
    writeFileSync(join(dir, name, 'tokenizer.json'), text)
    await t.rejects(Tokenizer.load(join(dir, name)), { code: 'ERR_FORMAT' }, name)
  }
  t.throws(() => Tokenizer.fromVocabulary(['a', 'b']), { code: 'ERR_FORMAT', message: /\[PAD\]/ })
  t.throws(() => Tokenizer.fromVocabulary([...vocab, 'late']), { code: 'ERR_FORMAT', message: /twice/ })
})

t.test('trainWordPiece learns frequent words whole, in any order of the texts', async (t) => {
  const texts = [
    'The retrieval of late interaction',
    'late late retrieval',
    'the interaction, the retrieval!',
    'Tokens',
  ]
  const tok = await trainWordPiece(texts, { vocabSize: 60 })
  t.same(tok.encode('Late retrieval').length, 2)
  t.same([tok.pad, tok.unk, tok.cls, tok.sep, tok.mask], [0, 1, 2, 3, 4])
  t.ok(tok.vocabSize <= 60)
  t.equal((await trainWordPiece(texts.toReversed(), { vocabSize: 60 })).hash, tok.hash)
  t.same(tok.encode('Ω'), [1], 'unseen characters are unknown')
  await t.rejects(trainWordPiece(texts, { vocabSize: 5 }), { code: 'ERR_ARGUMENT' })
})
