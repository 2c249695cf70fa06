// How late the event loop's timers get while lateforge works on something big: 250,000 tokens of vocabulary, texts of
// a million letters, 100,000 documents. Prints the worst and the 99th percentile of each, in milliseconds.
//
// usage: node bench/event-loop.mjs [rounds]      default 3; quote the median of the worst, on a quiet machine
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os, { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout } from 'node:timers/promises'
import { Colbert, Tokenizer, trainWordPiece } from 'lateforge'
import { Bm25 } from 'lateforge/eval'

const rounds = Number(process.argv[2] ?? 3)
const folder = mkdtempSync(join(tmpdir(), 'lateforge-'))
const saved = join(folder, 'saved')

/** A unigram tokenizer of `size` pieces, laid out as XLM-RoBERTa's. */
function writeTokenizer(size) {
  const special = ['<s>', '<pad>', '</s>', '<unk>', '<mask>']
  const letters = Array.from('▁abcdefghijklmnopqrstuvwxyz0123456789')
  const pieces = [...special, ...letters]
  for (let i = 0; pieces.length < size; i++) pieces.push(`▁${i.toString(36)}`, `x${i.toString(36)}`)
  const added = special.map((content, id) => ({
    id,
    content,
    special: true,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
  }))
  const tokenizer = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: added,
    normalizer: null,
    pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true },
    post_processor: null,
    decoder: null,
    model: {
      type: 'Unigram',
      unk_id: 3,
      vocab: pieces.slice(0, size).map((p, i) => [p, i < 5 ? 0 : -5 - i / size]),
      byte_fallback: false,
    },
  }
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(tokenizer))
  const config = {
    bos_token: '<s>',
    eos_token: '</s>',
    cls_token: '<s>',
    sep_token: '</s>',
    unk_token: '<unk>',
    pad_token: '<pad>',
    mask_token: '<mask>',
  }
  writeFileSync(join(folder, 'tokenizer_config.json'), JSON.stringify(config))
}

const results = new Map()
async function measured(name, work) {
  await setTimeout(20)
  globalThis.gc?.()
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  const started = performance.now()
  const result = await work()
  const ms = performance.now() - started
  await setTimeout(5)
  delay.disable()
  const entry = results.get(name) ?? { worst: [], p99: [], ms: [] }
  entry.worst.push(delay.max / 1e6)
  entry.p99.push(delay.percentile(99) / 1e6)
  entry.ms.push(ms)
  results.set(name, entry)
  return result
}

const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1]
writeTokenizer(250_000)
const words = Array.from({ length: 20_000 }, (_, i) => (i * 7919).toString(36))
const text = (d, n) => Array.from({ length: n }, (_, i) => words[(d * 131 + i * i * 7) % words.length]).join(' ')
const documents = Array.from({ length: 100_000 }, (_, d) => text(d, 20))
const unit = (rows, dim) => {
  const data = new Float32Array(rows * dim)
  for (let i = 0, s = 1; i < data.length; i++) data[i] = (s = (s * 48271) % 2147483647) / 2147483647 - 0.5
  return data
}
const embeddings = (role, count, tokens, dim, recipe) => ({
  role,
  recipe,
  dim,
  data: unit(count * tokens, dim),
  offsets: Float64Array.from({ length: count + 1 }, (_, i) => i * tokens),
})

for (let round = 0; round < rounds; round++) {
  const tokenizer = await measured('Tokenizer.load, 250,000 tokens', () => Tokenizer.load(folder))
  await measured('Tokenizer.save', () => tokenizer.save(saved))
  const shape = { architecture: 'modernbert', layers: 1, width: 16, heads: 1, dim: 8, positions: 512 }
  const model = await measured('Colbert.create', () => Colbert.create({ ...shape, tokenizer }))
  await measured('model.save', () => model.save(join(folder, 'model')))
  const again = await measured('Colbert.load', () => Colbert.load(join(folder, 'model')))
  await measured('encode 1 text of 10^6 letters', () => again.encodeDocuments([text(round, 200_000)]))
  await measured('encode 20,000 texts', () => again.encodeDocuments(documents.slice(0, 20_000)))
  await measured('trainWordPiece, 100,000 texts', () => trainWordPiece(documents, { vocabSize: 4000 }))
  const bm25 = await measured('Bm25.build, 100,000 texts', () => Bm25.build(documents))
  await measured('bm25.search, one query of 20 words', () => bm25.search(documents[0], 1000))
  const { recipe } = await again.encodeQueries(['x'])
  const [queries, stored] = [embeddings('query', 1000, 2, 8, recipe), embeddings('document', 100_000, 2, 8, recipe)]
  const found = await measured('search, 1,000 queries x 100,000 documents, top 1,000', () =>
    again.search(queries, stored, { topK: 1000 }),
  )
  if (found.length !== 1000) throw new Error('search lost queries')
  again.dispose()
  model.dispose()
}
rmSync(folder, { recursive: true })
console.log(
  `${os.cpus()[0].model.trim()}, Node ${process.version}, load ${os.loadavg()[0].toFixed(1)}, ${rounds} rounds`,
)
for (const [name, { worst, p99, ms }] of results)
  console.log(
    `${name.padEnd(54)} worst ${median(worst).toFixed(0).padStart(4)} (${Math.max(...worst).toFixed(0)})  p99 ${median(p99).toFixed(0).padStart(3)}  took ${median(ms).toFixed(0)}`,
  )
