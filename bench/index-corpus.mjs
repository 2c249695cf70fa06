// The documents of bench/index-growth.mjs: of judged collections all, of pairs each document once, cut at a word near 200 characters,
// in an order that is drawn by a fixed seed: cranfield, cacm and pairs up to 10,000 documents, then cosqa-dev, medline and tldr, then the
// other pairs. Queries of the first 4,000 pairs beside.
//
// usage: node bench/index-corpus.mjs PAIRS COLLECTIONS OUT
//   PAIRS        a folder of *.jsonl.gz with "query" and "document"; COLLECTIONS one of BEIR folders
//   OUT          a folder that is made: corpus.jsonl for `lateforge encode`, pair-queries.jsonl
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { gunzipSync } from 'node:zlib'

const [pairsDir, collections, out] = process.argv.slice(2)
const length = 200
const rowsOf = (file) => gunzipSync(readFileSync(file)).toString().trim().split('\n').map(JSON.parse)
function cut(text) {
  if (text.length <= length) return text
  const space = text.lastIndexOf(' ', length)
  return text.slice(0, space > length / 2 ? space : length)
}

const seen = new Set()
const pairs = []
for (const file of readdirSync(pairsDir).sort())
  for (const [i, { query, document }] of rowsOf(path.join(pairsDir, file)).entries()) {
    const _id = `${path.basename(file, '.jsonl.gz')}/${i}`
    if (!seen.has(document)) pairs.push({ document: { _id, text: cut(document) }, query: { _id, text: query } })
    seen.add(document)
  }
let state = 12345
for (let i = pairs.length - 1; i > 0; i--) {
  state = ((state * 1103515245 + 12345) >>> 0) & 0x7fffffff
  const j = Math.floor((state / 0x80000000) * (i + 1))
  ;[pairs[i], pairs[j]] = [pairs[j], pairs[i]]
}
const judged = (name) =>
  rowsOf(path.join(collections, name, 'corpus.jsonl.gz')).map(({ _id, title, text }) => ({
    ...{ _id: `${name}/${_id}`, text: title ? `${title} ${text}` : text },
  }))
const documents = pairs.map(({ document }) => document)
const first = ['cranfield', 'cacm'].flatMap(judged)
const between = 10_000 - first.length
const corpus = [
  ...first,
  ...documents.slice(0, between),
  ...['cosqa-dev', 'medline', 'tldr'].flatMap(judged),
  ...documents.slice(between),
]
const lines = (rows) => rows.map((row) => `${JSON.stringify(row)}\n`).join('')
mkdirSync(out, { recursive: true })
writeFileSync(path.join(out, 'corpus.jsonl'), lines(corpus))
writeFileSync(path.join(out, 'pair-queries.jsonl'), lines(pairs.slice(0, 4000).map(({ query }) => query)))
console.log(`${corpus.length} documents`)
