// Exported applications of Vespa, embedded by Vespa's own ColBertEmbedder, beside the model itself: real queries and
// documents, of a recipe without a
// skiplist and of one whose punctuation does not score: those rows have to be zeros, and are left out of the comparison.
//
// usage: node bench/peers/vespa/compare.mjs MODEL LIB PAIRS [texts]      after npm run setup; needs Java 17
//   MODEL  a folder of all-MiniLM-L6-v2; taken as a ColBERT with a random projection and BERT's unused tokens as markers
//   LIB    mvn -f bench/peers/vespa/pom.xml dependency:copy-dependencies -DoutputDirectory=LIB
//   PAIRS  .jsonl.gz with "query" and "document", as python-doc.jsonl.gz
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { gunzipSync } from 'node:zlib'
import { Colbert } from 'lateforge'
import { exportVespaApp } from 'lateforge/onnx'

const [modelDir, lib, file, count = '200'] = process.argv.slice(2)
const pairs = gunzipSync(readFileSync(file))
  .toString()
  .trim()
  .split('\n')
  .slice(0, Number(count))
  .map((line) => JSON.parse(line))
const texts = { query: pairs.map((pair) => pair.query.trim()), document: pairs.map((pair) => pair.document.trim()) }
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

for (const [name, skiplistWords] of [
  ['no skiplist', []],
  ['punctuation', undefined],
]) {
  const model = await Colbert.load(modelDir, {
    ...{ freshProjection: true, seed: 1, onNote: () => {} },
    recipe: {
      ...{ queryPrefix: '[unused0]', documentPrefix: '[unused1]', documentLength: 180 },
      ...(skiplistWords && { skiplistWords }),
    },
  })
  const app = path.join(folder, name)
  const { notes } = await exportVespaApp(model, app)
  const lines = Object.entries(texts).flatMap(([role, all]) => all.map((text) => `${role}\t${JSON.stringify(text)}`))
  writeFileSync(path.join(folder, 'texts'), lines.join('\n'))
  const command = [app, path.join(folder, 'texts'), path.join(folder, 'out')]
  const { status } = spawnSync(
    'java',
    ['-cp', path.join(lib, '*'), path.join(import.meta.dirname, 'Embed.java'), ...command],
    {
      stdio: ['ignore', 'inherit', 'inherit'],
    },
  )
  if (status !== 0) throw new Error(`java ended with ${status}`)
  const theirs = embedded(
    readFileSync(path.join(folder, 'out')),
    lines.map((line) => line.split('\t')[0]),
    model.dim,
  )
  const found = (results[name] = { notes })
  for (const [role, all] of Object.entries(texts)) {
    const ours = role === 'query' ? await model.encodeQueries(all) : await model.encodeDocuments(all)
    const sum = {
      texts: all.length,
      otherRows: 0,
      tokens: 0,
      zeros: 0,
      largestDifference: 0,
      meanCosine: 0,
      otherBits: 0,
    }
    for (const i of all.keys()) {
      const { zeros, rows, floats, bits } = theirs.next().value
      const own = ours.data.subarray(ours.offsets[i] * model.dim, ours.offsets[i + 1] * model.dim)
      if (own.length !== floats.length) {
        sum.otherRows++
        continue
      }
      sum.tokens += rows
      sum.zeros += zeros
      for (const [k, x] of own.entries()) {
        sum.largestDifference = Math.max(sum.largestDifference, Math.abs(x - floats[k]))
        sum.meanCosine += x * floats[k]
      }
      if (bits)
        for (const [k, x] of own.entries()) if (((bits[k >> 3] >> (7 - (k & 7))) & 1) !== Number(x > 0)) sum.otherBits++
    }
    sum.meanCosine /= sum.tokens
    found[role] = sum
  }
  model.dispose()
}
console.log(JSON.stringify({ date: new Date().toISOString(), results }, null, 1))
rmSync(folder, { recursive: true })
