/** A fresh process that encodes many documents and says how its memory grew, in bytes: see memory.test.ts. */
import { Colbert } from '../../lib/models/colbert.js'
import { PUNCTUATION } from '../../lib/text/recipe.js'
import { BERT_SPECIAL_TOKENS } from '../../lib/text/tokenizer/bert.js'
import { Tokenizer } from '../../lib/text/tokenizer/tokenizer.js'

const words = Array.from({ length: 50 }, (_, i) => `w${i}`)
const model = await Colbert.create({
  architecture: 'modernbert',
  layers: 1,
  width: 32,
  heads: 1,
  dim: 1024,
  positions: 64,
  tokenizer: Tokenizer.fromVocabulary([...new Set([...BERT_SPECIAL_TOKENS, ...PUNCTUATION, ...words])]),
  recipe: { queryLength: 8, documentLength: 32 },
})
const text = (d: number) => Array.from({ length: 28 }, (_, i) => words[(d * 7 + i) % 50]).join(' ')
await model.encodeDocuments([text(0), text(1)]) // whatever grows once
const before = process.memoryUsage().rss
const documents = await model.encodeDocuments(
  Array.from({ length: 3000 }, (_, d) => text(d)),
  { microBatchTokens: 1024 },
)
const peak = process.resourceUsage().maxRSS * 1024
process.stdout.write(JSON.stringify({ embeddings: documents.data.byteLength, grown: peak - before }))
