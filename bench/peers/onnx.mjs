// A model's ONNX graph in onnxruntime-node beside the model itself: real documents, at most 180 tokens each, tokenization
// included (lateforge's for all), longest first; float32 and int8. Each in turn, several times, with one thread; onnxruntime
// at every batch size, of which the best counts. Real tokens a CPU second: padding is none, and what else runs matters little.
//
// usage: node bench/peers/onnx.mjs MODEL DOCUMENTS [count] [rounds] [GRAPH.onnx…]      after npm run setup
//   MODEL      a folder of all-MiniLM-L6-v2; taken as a ColBERT with a random projection, which costs what a trained one does
//   DOCUMENTS  python-doc.jsonl.gz, of which the first `count` (512) are taken
//   GRAPH      graphs of others to time as well: of the encoder alone, as transformers' exporter writes them
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { gunzipSync } from 'node:zlib'
import { Colbert, setCpu } from 'lateforge'
import { exportOnnx } from 'lateforge/onnx'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import { machineOf } from '../../dist/bench/machine.js'
import { Device } from '../../dist/tensor/device.js'

const [modelDir, file, count = '512', rounds = '3', ...others] = process.argv.slice(2)
const documents = gunzipSync(readFileSync(file))
  .toString()
  .trim()
  .split('\n')
  .slice(0, Number(count))
  .map((line) => JSON.parse(line).document)
setCpu({ threads: 1 })
const load = (precision) =>
  Colbert.load(modelDir, {
    ...{ precision, freshProjection: true, seed: 1, onNote: () => {} },
    recipe: { documentLength: 180, documentPrefix: '', skiplistWords: [] },
  })
const models = { float32: await load('float32'), int8: await load('int8') }
const longestFirst = documents.toSorted((a, b) => b.length - a.length)
const folder = mkdtempSync(path.join(tmpdir(), 'lateforge-onnx-'))
const graphs = path.join(folder, 'graphs')
await exportOnnx(models.float32, graphs)

const cpuMs = () => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

async function ofModel(model, count) {
  const started = cpuMs()
  const embeddings = await model.encodeDocuments(documents.slice(0, count))
  return (embeddings.data.length / embeddings.dim / (cpuMs() - started)) * 1000
}

async function ofGraph(session, batch, count) {
  const { featurizer, tokenizer } = models.float32
  let tokens = 0
  const started = cpuMs()
  for (let first = 0; first < count; first += batch) {
    const rows = longestFirst.slice(first, first + batch).map((text) => featurizer.document(text))
    const length = Math.max(...rows.map((row) => row.length))
    const ids = new BigInt64Array(rows.length * length).fill(BigInt(tokenizer.pad))
    const mask = new BigInt64Array(ids.length)
    for (const [i, row] of rows.entries()) {
      for (const [k, id] of row.entries()) ids[i * length + k] = BigInt(id)
      mask.fill(1n, i * length, i * length + row.length)
      tokens += row.length
    }
    const tensor = (data) => new Tensor('int64', data, [rows.length, length])
    const all = { input_ids: tensor(ids), attention_mask: tensor(mask), token_type_ids: tensor(ids.map(() => 0n)) }
    await session.run(Object.fromEntries(session.inputNames.map((name) => [name, all[name]])))
  }
  return (tokens / (cpuMs() - started)) * 1000
}

const systems = Object.fromEntries(
  Object.entries(models).map(([precision, model]) => [`lateforge ${precision}`, (count) => ofModel(model, count)]),
)
for (const graph of [path.join(graphs, 'model.onnx'), path.join(graphs, 'model_int8.onnx'), ...others]) {
  const session = await InferenceSession.create(graph, { intraOpNumThreads: 1 })
  for (const batch of [4, 16])
    systems[`onnxruntime ${path.basename(graph)}, ${batch} at a time`] = (count) => ofGraph(session, batch, count)
}
const rates = Object.fromEntries(Object.keys(systems).map((name) => [name, []]))
for (let round = -1; round < Number(rounds); round++)
  for (const [name, run] of Object.entries(systems)) {
    const rate = Math.round(await run(round < 0 ? 32 : documents.length)) // the first round warms up
    if (round >= 0) rates[name].push(rate)
  }
console.log(
  JSON.stringify({ ...(await machineOf(Device.open(), 'cpu', 0.5)), date: new Date().toISOString(), rates }, null, 1),
)
for (const model of Object.values(models)) model.dispose()
rmSync(folder, { recursive: true })
