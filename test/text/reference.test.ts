/** Ids against Hugging Face's Rust tokenizers, recorded by test/fixtures/tokenizers/make.py. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { Featurizer } from '../../lib/text/featurizer.js'
import { defaultRecipe } from '../../lib/text/recipe.js'
import { Tokenizer } from '../../lib/text/tokenizer/tokenizer.js'
import { Random } from '../random.js'
import { seed } from '../seed.js'

interface Recorded {
  vocabSize: number
  cases: { text: string; ids: number[]; special: number[] }[]
}

/**
 * WordPiece; byte-level BPE without and with a blank put first (RoBERTa), and after an expression of its own (Llama 3); BPE
 * with bytes for unknown characters (Gemma); BPE and Unigram with a blank put first in the text; Unigram with a table of
 * characters (XLM-R).
 */
const KINDS = ['bert', 'bpe', 'roberta', 'split', 'gemma', 'metaspace', 'first', 'unigram']

for (const name of KINDS) {
  t.test(name, async (t) => {
    const folder = `test/fixtures/tokenizers/${name}`
    const tokenizer = await Tokenizer.load(folder)
    const recorded = JSON.parse(readFileSync(`${folder}/cases.json`, 'utf8')) as Recorded
    t.equal(tokenizer.vocabSize, recorded.vocabSize)
    t.ok(recorded.cases.length > 30)
    const bare = { queryPrefix: '', documentPrefix: '', documentLength: 1000 }
    const features = new Featurizer(tokenizer, defaultRecipe(bare))
    for (const [i, { text, ids, special }] of recorded.cases.entries()) {
      t.same(tokenizer.encode(text), ids, `case ${i}`)
      t.same(tokenizer.encode(text), ids, `case ${i} from the cache`)
      if (text.trim() === text) t.same([...features.document(text)], special, `case ${i} with special tokens`)
    }
  })
}

t.test('the first ids of every kind, whatever is looked at at a time', async (t) => {
  const draws = new Random(seed)
  const random = (n: number) => draws.integer(n)
  for (const name of KINDS) {
    const folder = `test/fixtures/tokenizers/${name}`
    const recorded = JSON.parse(readFileSync(`${folder}/cases.json`, 'utf8')) as Recorded
    const tokenizer = await Tokenizer.load(folder)
    const inner = tokenizer as unknown as {
      piece: { least: number; most: number }
      model: { block?: number }
      cache: Map<string, unknown>
    }
    for (const [i, { text, ids }] of recorded.cases.entries()) {
      for (let round = 0; round < 12; round++) {
        const [piece, block, limit] = [1 + random(60), 8 + random(90), random(ids.length + 2)]
        Object.assign(inner.piece, { least: piece, most: piece })
        if (inner.model.block !== undefined) inner.model.block = block
        if (random(2) === 0) inner.cache.clear()
        if (tokenizer.encode(text, limit).join() !== ids.slice(0, limit).join())
          t.fail(`${name}, case ${i}, pieces of ${piece}, blocks of ${block}, limit ${limit}`, { text })
      }
    }
  }
  t.pass()
})

t.test('a large file is read on a thread of its own, with the same ids', async (t) => {
  let threads = 0
  const count = () => threads++
  process.on('worker', count)
  t.teardown(() => process.off('worker', count))
  for (const [i, name] of KINDS.entries()) {
    const folder = `test/fixtures/tokenizers/${name}`
    const json = JSON.parse(readFileSync(`${folder}/tokenizer.json`, 'utf8')) as { model: { vocab: unknown } }
    const { vocab } = json.model
    const more = Array.from({ length: 50_000 }, (_, n) => `never ${n} in a text`)
    for (const [n, token] of more.entries()) {
      if (Array.isArray(vocab)) vocab.push([token, -3])
      else (vocab as Record<string, number>)[token] = 2000 + n
    }
    const dir = t.testdir({ 'tokenizer.json': JSON.stringify(json) })
    const tokenizer = await Tokenizer.load(dir)
    t.equal(threads, i + 1, name)
    const { cases } = JSON.parse(readFileSync(`${folder}/cases.json`, 'utf8')) as Recorded
    for (const { text, ids } of cases) if (tokenizer.encode(text).join() !== ids.join()) t.fail(name, { text })
    t.equal(tokenizer.hash, Tokenizer.fromJson(json).hash, name)
  }
  const damaged = t.testdir({ 'tokenizer.json': `{"model": ${' '.repeat(1 << 20)}` })
  await t.rejects(Tokenizer.load(damaged), { code: 'ERR_FORMAT', message: /not readable JSON/ })
})
