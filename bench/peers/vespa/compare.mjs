// Exported applications of Vespa, embedded by Vespa's own ColBertEmbedder, beside the models themselves: real queries and documents.
// Rows of tokens that do not score have to be zeros, and are left out of the comparison. Writes bench/results/vespa.json and the
// table of docs/guides/onnx.md.
//
// usage: node bench/peers/vespa/compare.mjs MINILM TOKENIZERS LIB PAIRS…      after npm run setup; needs Java 17
//   MINILM, TOKENIZERS   as ../onnx-readers/compare.mjs takes them
//   LIB    mvn -f bench/peers/vespa/pom.xml dependency:copy-dependencies -DoutputDirectory=LIB
//   PAIRS  .jsonl.gz with "query" and "document"; the first 100 of each
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { exportVespaApp } from 'lateforge/onnx'
import { modelsOf, textsOf } from '../onnx-readers/models.mjs'

const [minilm, tokenizers, lib, ...pairs] = process.argv.slice(2)
const texts = await textsOf(pairs, 100)
const folder = mkdtempSync(path.join(tmpdir(), 'lateforge-vespa-'))
const results = {}

/** Rows of one text after another: as floats, and of documents as bits. */
function* embedded(bytes, roles, dim) {
  let at = 0
  for (const role of roles) {
    const rows = bytes.readInt32LE(at)
    const floats = Float32Array.from({ length: rows * dim }, (_, i) => bytes.readFloatLE(at + 4 + 4 * i))
    at += 4 + 4 * floats.length
    const bits = role === 'document' ? bytes.subarray(at, (at += floats.length / 8)) : null
    const kept = Array.from({ length: rows }, (_, i) => i).filter((i) =>
      floats.subarray(i * dim, (i + 1) * dim).some((x) => x !== 0),
    )
    const of = (data, width) => kept.flatMap((i) => [...data.subarray(i * width, (i + 1) * width)])
    const zeroBits = bits?.filter((_, i) => !kept.includes(Math.floor((i * 8) / dim))).some((byte) => byte !== 0)
    if (zeroBits) throw new Error('a row of zeros has bits')
    yield { zeros: rows - kept.length, rows: kept.length, floats: of(floats, dim), bits: bits && of(bits, dim / 8) }
  }
}

/** What Vespa makes of all texts, in order. */
function byVespa(app, dim) {
  const lines = Object.entries(texts).flatMap(([role, all]) => all.map((text) => `${role}\t${JSON.stringify(text)}`))
  const [textsFile, out] = ['texts', 'out'].map((name) => path.join(folder, name))
  writeFileSync(textsFile, lines.join('\n'))
  const program = ['-cp', path.join(lib, '*'), path.join(import.meta.dirname, 'Embed.java')]
  const { status } = spawnSync('java', [...program, app, textsFile, out], { stdio: ['ignore', 'inherit', 'inherit'] })
  if (status !== 0) throw new Error(`java ended with ${status}`)
  const roles = lines.map((line) => line.split('\t')[0])
  return embedded(readFileSync(out), roles, dim)
}

/** Texts of one side beside the model's own. */
function compared(theirs, { data, offsets }, dim) {
  const sum = { texts: offsets.length - 1, otherRows: 0, tokens: 0, zeros: 0, largestDifference: 0, otherBits: 0 }
  for (let i = 0; i < sum.texts; i++) {
    const { zeros, rows, floats, bits } = theirs.next().value
    const own = data.subarray(offsets[i] * dim, offsets[i + 1] * dim)
    if (own.length !== floats.length) {
      sum.otherRows++
      continue
    }
    sum.tokens += rows
    sum.zeros += zeros
    for (const [k, x] of own.entries()) {
      const off = Math.abs(x - floats[k])
      if (!(off <= sum.largestDifference)) sum.largestDifference = off
      if (bits && ((bits[k >> 3] >> (7 - (k & 7))) & 1) !== Number(x > 0)) sum.otherBits++
    }
  }
  return sum
}

for (const [name, make] of modelsOf(minilm, tokenizers)) {
  const model = await make()
  const app = path.join(folder, name)
  try {
    const { notes } = await exportVespaApp(model, app, { cells: ['float', 'bits'] })
    const theirs = byVespa(app, model.dim)
    const query = compared(theirs, await model.encodeQueries(texts.query), model.dim)
    const document = compared(theirs, await model.encodeDocuments(texts.document), model.dim)
    results[name] = { notes, query, document }
  } catch (error) {
    if (error.code !== 'ERR_UNSUPPORTED') throw error
    results[name] = { refused: error.details.reasons }
  }
  console.error(name, JSON.stringify(results[name]))
  model.dispose()
}
rmSync(folder, { recursive: true })

const stored = { date: new Date().toISOString(), results }
writeFileSync(new URL('../../results/vespa.json', import.meta.url), `${JSON.stringify(stored, null, 1)}\n`)
const head =
  '| model | queries: tokens, largest difference | documents: tokens, rows of zeros, largest difference |\n|---|---|---|'
const side = ({ otherRows, tokens, zeros, largestDifference, otherBits }, role) => {
  const counts = [tokens, ...(role === 'document' ? [zeros] : [])].map((count) => count.toLocaleString('en'))
  const faults = [otherRows && `${otherRows} texts with other rows`, otherBits && `${otherBits} other bits`]
  return [...counts, largestDifference.toExponential(1), ...faults.filter(Boolean)].join(', ')
}
const lines = Object.entries(results).map(([name, { refused, query, document }]) =>
  refused ? `| ${name} | refused | |` : `| ${name} | ${side(query, 'query')} | ${side(document, 'document')} |`,
)
const guide = new URL('../../../docs/guides/onnx.md', import.meta.url)
const [before, after] = readFileSync(guide, 'utf8').split(/\n\| model \| queries: tokens.*\n(?:\|.*\n)+/)
writeFileSync(guide, `${before}\n${head}\n${lines.join('\n')}\n${after}`)
