/** What the tests of encoded documents encode, in this process and in others. */
import type { IndexDocument } from '../../lib/indexing/index.js'
import { Random } from '../../lib/io/random.js'
import { Colbert } from '../../lib/models/colbert.js'
import { tokenizer } from '../models/words.js'

const draws = new Random(20261130)
const words = 'late interaction is a kind of retrieval that keeps one vector per token not for the whole text'.split(
  ' ',
)
const phrase = () =>
  Array.from({ length: 1 + Math.floor(draws.next() * 9) }, () => words[Math.floor(draws.next() * words.length)]!).join(
    ' ',
  )

/** Four groups of them. */
export const documents: IndexDocument[] = Array.from({ length: 900 }, (_, i) => ({
  ...{ id: `d${i} ü`, text: phrase() },
  ...(i % 3 === 0 && { metadata: { group: i % 5 } }),
}))
export const queries = Array.from({ length: 5 }, phrase)

/** So that every group fills a shard, but the last. */
export const settings = { keepTexts: true, shardTokens: 1000, type: 'float16' } as const

export const tinyModel = (seed = 1): Promise<Colbert> =>
  Colbert.create(
    { architecture: 'bert', layers: 1, width: 32, heads: 2, intermediate: 32, dim: 16, tokenizer },
    { seed },
  )
