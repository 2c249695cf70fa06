// Folders of `lateforge export onnx`, read by those that they are for, each with its own tokenizer and its own way to mark, cut, fill
// up and leave out: their embeddings of real texts beside the model's own. Writes bench/results/onnx-readers.json and the table of
// docs/guides/onnx.md.
//
// usage: node bench/peers/onnx-readers/compare.mjs MINILM TOKENIZERS PEERS PAIRS…      after npm run setup
//   MINILM      a folder of all-MiniLM-L6-v2
//   TOKENIZERS  by bench/peers/tokenizer_ids.py: bert, roberta, modernbert, xlm-roberta
//   PEERS       has, each where it was built or installed (a reader that is not there is said to be missing):
//               js/        npm install --ignore-scripts @huggingface/transformers
//               py/venv/   pip install fastembed
//               rust/      cargo build --release --manifest-path bench/peers/onnx-readers/next-plaid/Cargo.toml --target-dir PEERS/rust
//   PAIRS       .jsonl.gz with "query" and "document"; the first 50 of each
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { exportOnnx } from 'lateforge/onnx'
import { modelsOf, rowsIn, textsOf } from './models.mjs'

const [minilm, tokenizers, peers, ...pairs] = process.argv.slice(2)
const here = import.meta.dirname
const python = path.join(peers, 'py/venv/bin/python')
const fastembed = path.join(here, 'fastembed_reader.py')
const runtime = path.join(
  path.dirname(createRequire(import.meta.url).resolve('onnxruntime-node')),
  `../bin/napi-v6/${process.platform}/${process.arch}/libonnxruntime.so.1`,
)

/** By name: the program, and what stands before FOLDER TEXTS OUT. */
const readers = {
  'transformers.js': [process.execPath, path.join(here, 'transformers_reader.mjs'), path.join(peers, 'js')],
  'next-plaid': [path.join(peers, 'rust/release/next-plaid-reader')],
  fastembed: [python, fastembed, 'class'],
  'fastembed, as it is': [python, fastembed, 'stock'],
}
/** Whose marker tokens a reader has; the others' models it would mark with other tokens. */
const stockMarkers = { 'fastembed, as it is': ['all-MiniLM-L6-v2', 'bert', 'bert, attended expansion'] }
const missing = Object.keys(readers).filter((name) =>
  readers[name].some((part) => !existsSync(part) && part.includes('/')),
)
for (const name of missing) console.error(`${name} is not there: ${readers[name].join(' ')}`)

const texts = await textsOf(pairs, 50)
const folder = mkdtempSync(path.join(tmpdir(), 'lateforge-readers-'))
const textsFile = path.join(folder, 'texts.json')
writeFileSync(textsFile, JSON.stringify(texts))
const results = {}

/** Of all texts the largest difference, and how many have another number of rows. */
function difference(theirs, own, dim) {
  const found = { texts: 0, rows: 0, otherRows: 0, largestDifference: 0 }
  for (const { data, offsets } of own)
    for (let i = 0; i + 1 < offsets.length; i++) {
      const mine = data.subarray(offsets[i] * dim, offsets[i + 1] * dim)
      const { value } = theirs.next()
      found.texts++
      if (value?.length !== mine.length) {
        found.otherRows++
        continue
      }
      found.rows += mine.length / dim
      for (const [k, x] of mine.entries()) {
        const off = Math.abs(x - value[k])
        if (!(off <= found.largestDifference)) found.largestDifference = off
      }
    }
  if (!theirs.next().done) throw new Error('more texts than there are')
  return found
}

for (const [name, make] of modelsOf(minilm, tokenizers)) {
  const model = await make()
  const out = path.join(folder, 'model')
  const { notes } = await exportOnnx(model, out, { types: ['float32'] })
  const own = [await model.encodeQueries(texts.query), await model.encodeDocuments(texts.document)]
  const cut = own.map(({ truncated }) => truncated)
  results[name] = { notes, cut, readers: {} }
  for (const [reader, [program, ...args]] of Object.entries(readers)) {
    if (missing.includes(reader) || stockMarkers[reader]?.includes(name) === false) continue
    const made = path.join(folder, 'rows')
    rmSync(made, { force: true })
    const { status, stderr } = spawnSync(program, [...args, out, textsFile, made], {
      ...{ encoding: 'utf8', stdio: ['ignore', 'inherit', 'pipe'] },
      env: { ...process.env, ORT_DYLIB_PATH: runtime, HF_HUB_OFFLINE: '1' },
    })
    results[name].readers[reader] =
      status === 0
        ? difference(rowsIn(readFileSync(made), model.dim), own, model.dim)
        : { error: stderr.trim().split('\n').at(-1) }
    console.log(name, reader, JSON.stringify(results[name].readers[reader]))
  }
  model.dispose()
  rmSync(out, { recursive: true })
}
rmSync(folder, { recursive: true })

const about = { date: new Date().toISOString(), texts: texts.query.length + texts.document.length }
writeFileSync(
  new URL('../../results/onnx-readers.json', import.meta.url),
  `${JSON.stringify({ ...about, results }, null, 1)}\n`,
)
const shown = ({ error, otherRows, largestDifference } = {}) => {
  if (error !== undefined) return 'refuses it'
  if (otherRows === undefined) return ''
  const off = largestDifference === 0 ? '0' : largestDifference.toExponential(0)
  return otherRows > 0 ? `${off}, ${otherRows} texts with other rows` : off
}
const names = Object.keys(readers)
const lines = [`| model | ${names.join(' | ')} |`, `|---|${'---|'.repeat(names.length)}`]
for (const [name, { readers: found }] of Object.entries(results))
  lines.push(`| ${name} | ${names.map((reader) => shown(found[reader])).join(' | ')} |`)
const guide = new URL('../../../docs/guides/onnx.md', import.meta.url)
const [before, after] = readFileSync(guide, 'utf8').split(/\n\| model \| transformers\.js .*\n(?:\|.*\n)+/)
writeFileSync(guide, `${before}\n${lines.join('\n')}\n${after}`)
