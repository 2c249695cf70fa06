/**
 * Training on more text than fits into memory: node bench/data/scale.mjs FOLDER_OF_PARQUET TOKENIZER_FOLDER [STEPS]
 * Prints, as JSON lines, rows tokenized a second, resident memory in tenths of the way, then what a step waits for its data,
 * and how long a resume takes to reach its first step. The model is nano, so that data is what there is to wait for.
 */
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { Colbert, train } from '../../dist/index.js'

const [folder, tokenizer, steps = '60'] = process.argv.slice(2)
const work = mkdtempSync(join(process.env.LATEFORGE_SCALE_DIR ?? process.cwd(), 'scale-'))
const say = (line) => console.log(JSON.stringify(line))
const mebibytes = () => Math.round(process.memoryUsage.rss() / 2 ** 20)
const bytes = readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0)

const model = await Colbert.create({ architecture: 'modernbert', layers: 4, width: 128, heads: 2, dim: 64, tokenizer })
await model.save(join(work, 'base'))
model.dispose()
const config = {
  ...{ model: join(work, 'base'), out: join(work, 'run'), cacheDir: join(work, 'cache'), seed: 1 },
  phases: [
    {
      ...{ name: 'pairs', loss: 'contrastive', data: [{ name: 'pairs', files: `${folder}/*.parquet` }] },
      ...{ batch: 64, steps: Number(steps), learningRate: 1e-4, temperature: 0.05, checkpoint: { every: 10 } },
    },
  ],
}

let [rows, peak, started] = [0, 0, performance.now()]
const memory = []
const sampler = setInterval(() => {
  peak = Math.max(peak, mebibytes())
  memory.push([rows, mebibytes()])
}, 1000)

async function follow(resume, stopAfter) {
  const abort = new AbortController()
  const waits = []
  const run = train(config, { resume, signal: abort.signal })
  const begun = performance.now()
  let first = null
  try {
    for await (const event of run) {
      if (event.type === 'check') rows = event.rows
      if (event.type === 'prepare') rows = event.rows
      if (event.type === 'prepare' && event.done)
        say({ prepared: event.rows, seconds: Math.round((performance.now() - started) / 1000), peakMiB: peak })
      if (event.type === 'warning') say({ warning: event.message })
      if (event.type !== 'step') continue
      first ??= { step: event.globalStep, seconds: (performance.now() - begun) / 1000 }
      waits.push((event.dataWaitMs * event.tokensPerSecond) / (1000 * event.tokens))
      if (event.globalStep === stopAfter) abort.abort()
    }
  } catch {}
  const result = await run.result.catch((error) => (error.code === 'ERR_ABORTED' ? null : Promise.reject(error)))
  result?.model.dispose()
  waits.sort((a, b) => a - b)
  return { first, steps: waits.length, waitShareMedian: waits[waits.length >> 1], waitShareMost: waits.at(-1) }
}

say({ gigabytes: bytes / 1e9, processor: process.arch })
say(await follow(undefined, Math.floor(Number(steps) / 2)))
started = performance.now()
say({ resumed: await follow('latest') })
clearInterval(sampler)
const tenths = Array.from({ length: 10 }, (_, i) => memory[Math.floor(((i + 0.5) * memory.length) / 10)]?.[1])
say({ residentMiBOverTime: tenths, peakMiB: peak })
rmSync(work, { recursive: true, force: true })
