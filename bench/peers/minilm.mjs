// Hidden states of all-MiniLM-L6-v2 against those of transformers, which minilm.py wrote: ids, every hidden state, and the
// dense embedding (mean, unit norm) made of them here.
//
// usage: node bench/peers/minilm.mjs MODEL FILE.safetensors      after npm run setup
import { readFileSync } from 'node:fs'
import { Tokenizer } from 'lateforge'
import { SafetensorsFile } from '../../dist/io/safetensors.js'
import { readLayout } from '../../dist/models/formats/layout.js'
import { ModelWeights } from '../../dist/models/formats/load.js'
import { Parameters } from '../../dist/nn/index.js'
import { Device } from '../../dist/tensor/device.js'
import { scope } from '../../dist/tensor/scope.js'
import { withoutTape } from '../../dist/tensor/tape.js'
import { Segments, Tensor } from '../../dist/tensor/tensor.js'

const [dir, file] = process.argv.slice(2)
const texts = JSON.parse(readFileSync(`${file}.texts.json`, 'utf8'))
const expected = await SafetensorsFile.open(file)
const [ids, offsets, theirs] = [
  await expected.numbers('ids'),
  await expected.numbers('offsets'),
  await expected.floats('hidden'),
]
const tokenizer = await Tokenizer.load(dir)
const layout = await readLayout(dir)
const weights = await ModelWeights.open(layout)
const device = Device.open()
const params = new Parameters(device, layout.architecture.parameters(weights.config))
await weights.read(params)
const encoder = layout.architecture.encoder(weights.config, params)
const { width } = weights.config
let [differing, worst, worstDense, largest] = [0, 0, 0, 0]
for (const [i, text] of texts.entries()) {
  const [first, last] = [offsets[i], offsets[i + 1]]
  const own = [...tokenizer.leading, ...tokenizer.encode(text, 254), ...tokenizer.trailing]
  const given = Int32Array.from(ids.slice(first, last))
  if (own.join() !== given.join()) differing++
  const hidden = scope(() => {
    const packed = {
      ids: Tensor.fromInt32(device, given),
      hostIds: given,
      segments: Segments.of(device, [0, given.length]),
      keyLengths: null,
    }
    return withoutTape(() => encoder.forward(packed, null))
  })
  const values = await hidden.values()
  hidden.dispose()
  const reference = theirs.subarray(first * width, last * width)
  for (let j = 0; j < values.length; j++) {
    worst = Math.max(worst, Math.abs(values[j] - reference[j]))
    largest = Math.max(largest, Math.abs(reference[j]))
  }
  const [a, b] = [values, reference].map((rows) => dense(rows))
  for (let j = 0; j < width; j++) worstDense = Math.max(worstDense, Math.abs(a[j] - b[j]))
}
console.log(
  `${texts.length} texts, ${ids.length} tokens: ids of ${differing} texts differ; hidden states up to ${largest.toFixed(2)}, off by ` +
    `${worst.toExponential(1)} at most; dense embeddings by ${worstDense.toExponential(1)}`,
)

function dense(rows) {
  const mean = new Float64Array(width)
  for (let j = 0; j < rows.length; j++) mean[j % width] += rows[j]
  const norm = Math.hypot(...mean)
  return mean.map((x) => x / norm)
}
