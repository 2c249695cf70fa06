// Mining of hard negatives on made-up texts: how long it takes, by stage, and that memory does not grow with the documents.
//
// usage: node bench/mining.mjs time [rows = 5000]             rows of 8 words with documents of 33, their own: by a ColBERT of 4
//                                                             layers and 64 dimensions with its own scores as a teacher, by BM25
//        node bench/mining.mjs memory [documents = 200000]    20 rows among so many documents of 50 words, by a ColBERT of 1 layer
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Colbert, Tokenizer } from 'lateforge'
import { mineNegatives } from 'lateforge/mining'
import { memorySource } from 'lateforge/train'

const [mode = 'time', given] = process.argv.slice(2)
const words = Array.from({ length: 5000 }, (_, i) => `w${i}`)
const special = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
const tokenizer = Tokenizer.fromVocabulary([...special, ...words])
let state = 1
const draw = (n) => (state = (state * 48271) % 2147483647) % n
const text = (length) => Array.from({ length }, () => words[draw(words.length)]).join(' ')
const rowsOf = (count) =>
  Array.from({ length: count }, () => {
    const query = text(8)
    return { query, documents: [`${query.split(' ').slice(0, 3).join(' ')} ${text(30)}`] }
  })
const modelOf = (shape) =>
  Colbert.create(
    { architecture: 'modernbert', heads: 1, tokenizer, recipe: { skiplistWords: [] }, ...shape },
    { seed: 1 },
  )

const folder = mkdtempSync(join(tmpdir(), 'lateforge-mining-'))
const out = join(folder, 'mined.jsonl')
const run = async (name, options) => {
  const [stages, began] = [{}, performance.now()]
  let [at, peak] = [began, 0]
  const onProgress = ({ stage }) => {
    const now = performance.now()
    stages[stage] = (stages[stage] ?? 0) + (now - at) / 1000
    at = now
    peak = Math.max(peak, process.memoryUsage.rss())
  }
  const { written, documents } = await mineNegatives({ out, overwrite: true, cacheDir: folder, onProgress, ...options })
  const shown = Object.entries(stages).map(([stage, seconds]) => `${stage} ${seconds.toFixed(1)}`)
  const seconds = ((performance.now() - began) / 1000).toFixed(1)
  console.log(`${name}: ${written} rows, ${documents} documents, ${seconds} s (${shown.join(', ')}), ${peak >> 20} MiB`)
}
try {
  if (mode === 'time') {
    const data = memorySource('made up', rowsOf(Number(given ?? 5000)))
    const model = await modelOf({ layers: 4, width: 128, heads: 2, dim: 64 })
    await run('ColBERT', { data, by: model, teacher: model })
    await run('BM25', { data, by: 'bm25' })
  } else {
    const count = Number(given ?? 200_000)
    const data = memorySource('made up', rowsOf(20))
    const corpus = (function* () {
      for (let i = 0; i < count; i++) yield text(50)
    })()
    await run('ColBERT', { data, by: await modelOf({ layers: 1, width: 64, dim: 32 }), corpus })
  }
} finally {
  rmSync(folder, { recursive: true })
}
