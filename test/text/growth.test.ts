/** Reading a text costs what its kept tokens cost, and gives the ids of reading all of it. */
import t from 'tap'
import { Tokenizer } from '../../lib/text/tokenizer/tokenizer.js'
import { trainWordPiece } from '../../lib/text/tokenizer/train-wordpiece.js'
import { inTurns } from '../../lib/turns.js'
import { Random } from '../random.js'
import { seed } from '../seed.js'
import { turnsDuring } from '../turns.js'

const SCRIPTS = [
  'abcdefg hij',
  'AB C',
  'aaaa',
  '012 34',
  ".,;!?'()[]",
  '  \t\n',
  'äéßß̈́',
  'ΣΑσς',
  'Привет й',
  '東京都日本、。',
  '한국어',
  'สวัสดี',
  '\u0301\u0316\u0327',
  'ﬁ½ｶﾞ',
  '👩‍👧🙂',
  '\u200b\u00ad\ufeff',
  '\u00a0\u3000\u2028',
]

for (const name of ['bert', 'bpe', 'split']) {
  t.test(`${name}: every piece size and limit gives the first ids of the whole text`, async (t) => {
    const folder = `test/fixtures/tokenizers/${name}`
    const whole = sized(await Tokenizer.load(folder), 1 << 30, 1 << 30)
    const draws = new Random(seed)
    const random = (n: number) => draws.integer(n)
    const pick = <T>(list: ArrayLike<T>) => list[random(list.length)]!
    const words = [...SCRIPTS, 'late interaction', '[MASK]', '[Q] ', "don't we'll"]
    for (const [piece, block] of [
      [1, 8],
      [7, 24],
      [40, 100],
    ] as const) {
      const cut = sized(await Tokenizer.load(folder), piece, block)
      for (let round = 0; round < 60; round++) {
        const text = Array.from({ length: 1 + random(12) }, () => {
          const kind = pick(words)
          if (random(3) === 0) return `${kind} `
          const same = random(2) === 0 ? pick([...kind]) : null
          return Array.from({ length: random(60) }, () => same ?? pick([...kind])).join('')
        }).join(pick(['', ' ', '  ']))
        const ids = whole.encode(text)
        for (const limit of [1, 3, 8, 30, Number.POSITIVE_INFINITY]) {
          if (cut.encode(text, limit).join() !== ids.slice(0, limit).join())
            t.fail(`round ${round}, pieces of ${piece}, limit ${limit}`, { text })
        }
      }
    }
    t.pass()
  })
}

t.test('thirty ids of a million characters look at a small part of them', async (t) => {
  for (const name of ['bert', 'bpe', 'split']) {
    const tokenizer = await Tokenizer.load(`test/fixtures/tokenizers/${name}`)
    const read = counted(tokenizer)
    for (const part of ['the retrieval of late documents ', name === 'split' ? '東京都、日本' : '東京都は日本の首都']) {
      const text = part.repeat(1 << 16)
      read.characters = 0
      t.equal(tokenizer.encode(text, 30).length, 30)
      t.ok(read.characters < 20_000, `${name}: ${read.characters} characters normalised`)
    }
  }
  const bpe = await Tokenizer.load('test/fixtures/tokenizers/bpe')
  const read = counted(bpe)
  t.equal(bpe.encode('abcdefgh'.repeat(1 << 17), 30).length, 30)
  t.ok(read.characters < 20_000, `one long word: ${read.characters} characters normalised`)
})

t.test('a long text leaves the event loop its turns', async (t) => {
  const tokenizer = await Tokenizer.load('test/fixtures/tokenizers/bert')
  const text = 'the retrieval of late documents, '.repeat(1 << 17) // so long that fast machines take several turns
  const { turns, result: ids } = await turnsDuring(() => inTurns(tokenizer.encodeInSteps(text, 1 << 22)))
  t.ok(ids.length > 1 << 19)
  t.ok(turns >= 3, `${turns} turns`)
})

t.test('training a vocabulary leaves the event loop its turns', async (t) => {
  const draws = new Random(1)
  const random = (n: number) => draws.integer(n)
  const word = () => Array.from({ length: 3 + random(9) }, () => 'etaoinshrdlu'[random(12)]).join('')
  const texts = Array.from({ length: 2000 }, () => Array.from({ length: 10 }, word).join(' '))
  const { turns, result } = await turnsDuring(() => trainWordPiece(texts, { vocabSize: 1000 }))
  t.equal(result.vocabSize, 1000)
  t.ok(turns >= 3, `${turns} turns`)
})

t.test('hostile ids are typed errors', async (t) => {
  const { json } = Tokenizer.fromVocabulary(['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'a']).toJson()
  const hostile = (change: (copy: { model: { vocab: Record<string, unknown> }; added_tokens: object[] }) => void) => {
    const copy = structuredClone(json) as Parameters<typeof change>[0]
    change(copy)
    t.throws(() => Tokenizer.fromJson(copy), { code: 'ERR_FORMAT', message: /\bid/ })
  }
  for (const id of [-1, 0.5, null, '7', 1e12, 4]) hostile(({ model }) => (model.vocab.b = id))
  hostile(({ added_tokens }) => added_tokens.push({ content: 'x' }))
  hostile(({ added_tokens }) => added_tokens.push({ content: 'x', id: 5 }))
  hostile(({ added_tokens }) => added_tokens.push({ content: 'a', id: 9 }))
})

/** With other sizes of pieces and blocks than the usual ones. */
function sized(tokenizer: Tokenizer, piece: number, block: number): Tokenizer {
  const inner = tokenizer as unknown as { piece: { least: number; most: number }; model: { block: number } }
  Object.assign(inner.piece, { least: piece, most: piece })
  inner.model.block = block
  return tokenizer
}

/** Counts the characters that the normaliser is given. */
function counted(tokenizer: Tokenizer): { characters: number } {
  const read = { characters: 0 }
  const { normalizer } = tokenizer as unknown as { normalizer: { apply(text: string, edges: object): string } }
  const { apply } = normalizer
  normalizer.apply = (text, edges) => {
    read.characters += text.length
    return apply(text, edges)
  }
  return read
}
