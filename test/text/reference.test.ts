/** Ids against Hugging Face's Rust tokenizers, recorded by test/fixtures/tokenizers/make.py. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { Featurizer } from '../../lib/text/featurizer.js'
import { defaultRecipe } from '../../lib/text/recipe.js'
import { Tokenizer } from '../../lib/text/tokenizer.js'

interface Recorded {
  vocabSize: number
  cases: { text: string; ids: number[]; special: number[] }[]
}

for (const name of ['bert', 'bpe']) {
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
