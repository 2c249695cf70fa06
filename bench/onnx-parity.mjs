// The table of docs/guides/onnx.md, written anew: what onnxruntime's embeddings differ from a model's by, at most in any number.
// The tests' models of every architecture and kind of recipe; and all-MiniLM-L6-v2, as a ColBERT with a random projection and
// as the dense model that it is, on real documents.
//
// usage: node bench/onnx-parity.mjs [MODEL DOCUMENTS]      after npm run pretest
//   MODEL      a folder of all-MiniLM-L6-v2
//   DOCUMENTS  python-doc.jsonl.gz, of which the first 16 are taken
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { gunzipSync } from 'node:zlib'
import { Colbert } from '../build/js/lib/models/colbert.js'
import { exportOnnx } from '../build/js/lib/onnx/index.js'
import { cases, makeCase } from '../build/js/test/onnx/cases.js'
import { compare } from '../build/js/test/onnx/runtime.js'

const seed = 1
const [modelDir, file] = process.argv.slice(2)
const folder = mkdtempSync(path.join(tmpdir(), 'lateforge-parity-'))
const lines = ['| model | float32 | int8 |', '|---|---|---|']

async function row(name, model, texts) {
  const out = path.join(folder, String(lines.length))
  await exportOnnx(model, out)
  const worst = []
  for (const graph of ['model.onnx', 'model_int8.onnx'])
    worst.push((await compare(path.join(out, graph), model, texts)).worst)
  model.dispose()
  rmSync(out, { recursive: true })
  lines.push(`| ${name} | ${worst[0].toExponential(0)} | ${worst[1].toFixed(3)} |`)
  console.log(lines.at(-1))
}

for (const name of Object.keys(cases)) await row(name, await makeCase(name, seed))
if (modelDir) {
  const documents = gunzipSync(readFileSync(file)).toString().trim().split('\n').slice(0, 16)
  const texts = documents.map((line) => JSON.parse(line).document)
  const load = (options) => Colbert.load(modelDir, { ...options, onNote: () => {} })
  await row('all-MiniLM-L6-v2 as a ColBERT, real texts', await load({ freshProjection: true, seed }), texts)
  await row('all-MiniLM-L6-v2, dense, real texts', await load({ dense: true }), texts)
}
const guide = new URL('../docs/guides/onnx.md', import.meta.url)
const [before, after] = readFileSync(guide, 'utf8').split(/\n\| model \| float32 \| int8 \|\n(?:\|.*\n)+/)
writeFileSync(guide, `${before}\n${lines.join('\n')}\n${after}`)
rmSync(folder, { recursive: true })
