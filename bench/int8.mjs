// What int8 costs and gains: products of 5,000 rows beside float32, by shapes of all-MiniLM-L6-v2; and of real documents the cosines
// between token embeddings of both precisions, with a random projection.
//
// usage: node bench/int8.mjs MODEL DOCUMENTS       after npm run setup; LATEFORGE_ISA chooses the instructions
//   MODEL a folder of all-MiniLM-L6-v2, DOCUMENTS python-doc.jsonl.gz
import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { Colbert, setCpu } from 'lateforge'
import { Device, raw, scope, Tensor } from 'lateforge/tensor'
import { Random } from '../dist/io/random.js'

const [modelDir, file] = process.argv.slice(2)
const device = Device.open('cpu')
const draws = new Random(1)
const noise = (...shape) =>
  Tensor.from(
    device,
    Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => draws.next() - 0.5),
    shape,
  )

console.log(`${setCpu().isa}, ${setCpu().threads} threads\nout, in: float32 ms, int8 ms, share (least of seven)`)
for (const [out, width] of [
  [1536, 384],
  [384, 1536],
  [1152, 384],
  [384, 384],
]) {
  const [x, w, b] = [noise(5000, width), noise(out, width), noise(out)]
  const [packed, scales] = raw.packInt8(w)
  const least = async (product) => {
    const times = []
    for (let round = 0; round < 7; round++) {
      const started = performance.now()
      scope(() => void product())
      await device.event()
      times.push(performance.now() - started)
    }
    return Math.min(...times)
  }
  const plain = await least(() => raw.linear(x, w, b))
  const small = await least(() => raw.linearInt8(x, packed, scales, b))
  console.log(`${out}, ${width}: ${plain.toFixed(2)}, ${small.toFixed(2)}, ${(small / plain).toFixed(2)}`)
  for (const tensor of [x, w, b, packed, scales]) tensor.dispose()
}

const lines = gunzipSync(readFileSync(file)).toString().trim().split('\n').slice(0, 512)
const texts = lines.map((line) => JSON.parse(line).document)
const encoded = []
for (const precision of ['float32', 'int8']) {
  const model = await Colbert.load(modelDir, { precision, freshProjection: true, onNote: () => {} })
  encoded.push((await model.encodeDocuments(texts)).data)
  model.dispose()
}
const [exact, rounded] = encoded
const cosines = Array.from({ length: exact.length / 128 }, (_, row) => {
  let sum = 0
  for (let k = row * 128; k < (row + 1) * 128; k++) sum += exact[k] * rounded[k]
  return sum
})
const mean = cosines.reduce((sum, x) => sum + x) / cosines.length
console.log(
  `cosines of ${cosines.length} tokens: mean ${mean.toFixed(4)}, least ${cosines.reduce((a, b) => Math.min(a, b)).toFixed(4)}`,
)
