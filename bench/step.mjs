// Times training steps and encoding on the CPU, on the lengths that bench/peers/st6_step.py uses, so that both can run
// in turn on one machine. Reports what the step costs, the process's peak memory, and how far the event loop drifted.
//
// usage: node bench/step.mjs [--shape ettin-17m|nano] [--mode kept|recompute|encode] [--threads 2] [--steps 5] [--warmup 2]
//                            [--chunk 4096] [--lengths bench/peers/lengths.json] [--out FILE.json]
// Needs the compiled library (npm run setup). A step is GradCache, clipping and AdamW in float32 on synthetic token ids;
// tokensPerSecond counts real tokens over the median step.
import { readFileSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import { parseArgs } from 'node:util'
import { contrastive } from 'lateforge/losses'
import { Device } from 'lateforge/tensor'
import { AdamW, gradCacheAsync } from 'lateforge/train'
import { batchOf, createModel } from './synthetic.mjs'

const { values: options } = parseArgs({
  options: {
    shape: { type: 'string', default: 'ettin-17m' },
    mode: { type: 'string', default: 'kept' },
    threads: { type: 'string', default: '2' },
    steps: { type: 'string', default: '5' },
    warmup: { type: 'string', default: '2' },
    chunk: { type: 'string', default: '4096' },
    lengths: { type: 'string', default: new URL('peers/lengths.json', import.meta.url).pathname },
    out: { type: 'string' },
  },
})
process.env.LATEFORGE_THREADS = options.threads
const shapes = {
  'ettin-17m': { layers: 7, width: 256, intermediate: 384, heads: 4 },
  nano: { layers: 4, width: 128, intermediate: 192, heads: 2 },
}
const vocabulary = 50368
const model = await createModel(shapes[options.shape], vocabulary)

const { steps: lengths } = JSON.parse(readFileSync(options.lengths, 'utf8'))
const batches = lengths.map((tokens, step) => batchOf(tokens, step, vocabulary))
const tokensOf = (b) => b.queries.ids.length + b.documents.ids.length

const device = Device.open()
const optimizer = new AdamW(model.groups([{ learningRate: 3e-5, decay: 0.01 }]), { clip: 1 })
const loss = ({ queries, documents }) => contrastive(queries, documents, { temperature: 0.05 })

async function trainStep(step) {
  const value = await gradCacheAsync(model, batches[step % batches.length], loss, {
    chunkTokens: Number(options.chunk),
    keepBytes: options.mode === 'kept' ? 1.2e9 : 0,
    seed: 1,
    step,
  })
  const norm = optimizer.step()
  await Promise.all([value.value(), norm.value()])
  value.dispose()
  norm.dispose()
}

async function encodeStep(step) {
  const { documents } = batches[step % batches.length]
  const { tokens, segments } = model.embed(documents, 0, documents.offsets.length - 1, null)
  await tokens.data()
  tokens.dispose()
  segments.dispose()
}

// How late a 5 ms timer fires: what a server in the same process would feel.
let drift = 0
let due = performance.now() + 5
const timer = setInterval(() => {
  const now = performance.now()
  drift = Math.max(drift, now - due)
  due = now + 5
}, 5)

const seconds = []
const tokens = []
const run = options.mode === 'encode' ? encodeStep : trainStep
for (let i = 0; i < Number(options.warmup) + Number(options.steps); i++) {
  if (i === Number(options.warmup)) drift = 0
  const started = performance.now()
  await run(i)
  if (i < Number(options.warmup)) continue
  seconds.push((performance.now() - started) / 1000)
  const batch = batches[i % batches.length]
  tokens.push(options.mode === 'encode' ? batch.documents.ids.length : tokensOf(batch))
}
clearInterval(timer)

const rates = seconds.map((s, i) => tokens[i] / s).sort((a, b) => a - b)
const status = readFileSync('/proc/self/status', 'utf8')
const result = {
  shape: options.shape,
  mode: options.mode,
  threads: Number(options.threads),
  chunkTokens: Number(options.chunk),
  tokensPerSecond: Math.round(rates[Math.floor(rates.length / 2)]),
  range: [Math.round(rates[0]), Math.round(rates.at(-1))],
  stepSeconds: seconds.map((s) => Number(s.toFixed(3))),
  peakProcessBytes: Number(/VmHWM:\s+(\d+)/.exec(status)[1]) * 1024,
  peakTensorBytes: device.memory().peak,
  eventLoopDriftMs: Number(drift.toFixed(1)),
  cpu: os.cpus()[0].model,
  node: process.version,
}
console.log(JSON.stringify(result, null, 2))
if (options.out) writeFileSync(options.out, `${JSON.stringify(result, null, 2)}\n`)
