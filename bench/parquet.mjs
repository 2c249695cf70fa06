// Training data larger than memory: how fast Parquet is read and tokenized, and that memory does not grow with it.
//
// usage: node bench/parquet.mjs make FOLDER [GB = 1] [parts = 4]   pairs of made-up words, some 500 bytes a row before packing
//        node bench/parquet.mjs read FOLDER                        rows a second, and the peak of memory
//        node bench/parquet.mjs train FOLDER [steps = 50]          a training by a small model, in FOLDER/run; shards in
//                                                                  FOLDER/cache; then batches of far-away steps: a resumed
//                                                                  run goes straight to its step
//
// 10 GB: make x 10 20, then train x.
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { Colbert, Tokenizer, train } from 'lateforge'
import { fileSource, openData } from 'lateforge/train'

const WORDS = 20_000
/** One row group: what pandas writes for a file of this size. */
const GROUP = 250_000

const [mode, folder = 'parquet-bench', ...rest] = process.argv.slice(2)
const mib = (bytes) => `${(bytes / 2 ** 20).toFixed(0)} MiB`
/** Memory of the process's own, without pages of mapped files, which the system takes back when it needs them; Linux. */
const own = () => 1024 * Number(/RssAnon:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'latin1'))[1])
let most = 0
setInterval(() => (most = Math.max(most, own())), 50).unref()
const peak = () =>
  `at most ${mib(Math.max(most, own()))} of memory, ${mib(process.resourceUsage().maxRSS * 1024)} with mapped files`
const files = () =>
  readdirSync(folder)
    .filter((name) => name.endsWith('.parquet'))
    .map((name) => join(folder, name))
    .sort()

const modes = { make, read, train: run }
if (!modes[mode]) {
  console.error('usage: node bench/parquet.mjs make | read | train FOLDER [...]; see its head')
  process.exit(2)
}
await modes[mode](...rest)

async function make(size = '1', parts = '4') {
  const { ParquetWriter, fileWriter, schemaFromColumnData } = await import('hyparquet-writer')
  mkdirSync(folder, { recursive: true })
  let state = 1
  const draw = (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * n)
  }
  const words = Array.from({ length: WORDS }, (_, i) => `w${i}`)
  const text = (most) => Array.from({ length: most / 2 + draw(most / 2) }, () => words[draw(WORDS)]).join(' ')
  const rows = Math.round((Number(size) * 1e9) / Number(parts) / 500)
  for (let part = 0; part < Number(parts); part++) {
    const number = (n) => String(n).padStart(5, '0')
    const path = join(folder, `train-${number(part)}-of-${number(parts)}.parquet`)
    let writer
    for (let done = 0; done < rows; done += GROUP) {
      const count = Math.min(GROUP, rows - done)
      const columnData = [
        { name: 'query', data: Array.from({ length: count }, () => text(16)), type: 'STRING' },
        { name: 'document', data: Array.from({ length: count }, () => text(90)), type: 'STRING' },
        { name: 'dataset', data: new Array(count).fill('made-up'), type: 'STRING' },
      ]
      writer ??= new ParquetWriter({ writer: fileWriter(path), schema: schemaFromColumnData({ columnData }) })
      await writer.write({ columnData, rowGroupSize: GROUP })
    }
    await writer.finish()
    console.log(`${path}: ${rows} rows, ${mib(statSync(path).size)}`)
  }
}

async function read() {
  const started = performance.now()
  let rows = 0
  let bytes = 0
  for await (const { query, documents } of fileSource(files())) {
    rows++
    bytes += query.length + documents[0].length
  }
  const seconds = (performance.now() - started) / 1000
  const packed = files().reduce((sum, file) => sum + statSync(file).size, 0)
  console.log(
    `${rows} rows (${mib(packed)} packed, ${mib(bytes)} of text) in ${seconds.toFixed(1)} s: ` +
      `${Math.round(rows / seconds)} rows/s, ${peak()}`,
  )
}

async function run(steps = '50') {
  const out = join(folder, 'run')
  rmSync(out, { recursive: true, force: true })
  const special = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
  const tokenizer = Tokenizer.fromVocabulary([...special, ...Array.from({ length: WORDS }, (_, i) => `w${i}`)])
  const shape = { architecture: 'modernbert', layers: 1, width: 64, heads: 1, dim: 32, positions: 256 }
  const recipe = { queryLength: 32, documentLength: 128, queryExpansion: false, skiplistWords: [] }
  const model = await Colbert.create({ ...shape, tokenizer, recipe }, { seed: 1 })
  const cacheDir = join(folder, 'cache')
  const entry = { name: 'pairs', files: files() }
  const phase = { name: 'pairs', loss: 'contrastive', data: entry, batch: 64, learningRate: 1e-3, temperature: 0.05 }
  const training = train({ model, out, cacheDir, phases: [{ ...phase, steps: Number(steps) }] })
  let started = performance.now()
  let waited = 0
  for await (const event of training) {
    if (event.type === 'progress' && event.stage === 'tokenizing' && event.done === event.total) {
      const seconds = (performance.now() - started) / 1000
      console.log(
        `${event.done} rows checked and tokenized in ${seconds.toFixed(0)} s (cached: ${event.cached}), ${peak()}`,
      )
      started = performance.now()
    }
    if (event.type === 'step') waited += event.dataWaitMs
  }
  const milliseconds = performance.now() - started
  await training.result
  console.log(
    `${steps} steps in ${(milliseconds / 1000).toFixed(1)} s, ${((100 * waited) / milliseconds).toFixed(2)} % of it ` +
      `waiting for data, ${peak()}`,
  )
  const data = await openData({ data: entry, model, batch: 64, seed: 42, cacheDir })
  for (const step of [0, 1e3, 1e6, 1e9]) {
    const before = performance.now()
    await data.at(step)
    console.log(`batch of step ${step}: ${(performance.now() - before).toFixed(1)} ms`)
  }
  data.close()
  model.dispose()
}
