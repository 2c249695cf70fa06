// Search of documents that stay on the CPU, stored as float32, float16 or int8: time a query, bytes, and how much of the
// float32 ranking each keeps. Vectors are random around a few directions, so that documents differ as real ones do.
//
// usage: node bench/search.mjs [DOCUMENTS, default 20000] [QUERIES at a time, default 1 and 32] [--tokens 100]
//   [--query-tokens 32] [--dim 128]      after npm run setup; a token each is what dense models search
import os from 'node:os'
import { parseArgs } from 'node:util'
import { DeviceEmbeddings, quantizeEmbeddings } from 'lateforge/maxsim'
import { Random } from '../dist/io/random.js'
import { search } from '../dist/retrieval/search.js'
import { Device } from '../dist/tensor/device.js'

const option = (value) => ({ type: 'string', default: value })
const { values, positionals } = parseArgs({
  options: { tokens: option('100'), 'query-tokens': option('32'), dim: option('128') },
  allowPositionals: true,
})
const [count = 20_000, ...sizes] = positionals.map(Number)
const [tokens, queryTokens, dim] = [values.tokens, values['query-tokens'], values.dim].map(Number)
const draws = new Random(1)
const topics = Array.from({ length: 64 }, () => Float32Array.from({ length: dim }, () => draws.next() * 2 - 1))

function texts(role, number, length) {
  const data = new Float32Array(number * length * dim)
  for (let row = 0; row < number * length; row++) {
    const topic = topics[Math.floor(draws.next() * 64)]
    const own = data.subarray(row * dim, (row + 1) * dim)
    for (let k = 0; k < dim; k++) own[k] = topic[k] + draws.next() * 3 - 1.5
    const norm = Math.hypot(...own)
    for (let k = 0; k < dim; k++) own[k] /= norm
  }
  return { role, data, offsets: Float64Array.from({ length: number + 1 }, (_, i) => i * length), dim }
}

const device = Device.open('cpu')
const documents = texts('document', count, tokens)
const queries = texts('query', Math.max(64, ...sizes), queryTokens)
const some = (n) => ({
  ...queries,
  data: queries.data.subarray(0, n * queryTokens * dim),
  offsets: queries.offsets.slice(0, n + 1),
})
console.log(
  `${os.cpus()[0].model}; ${count} documents of ${tokens} tokens, queries of ${queryTokens}, ${dim} dimensions`,
)
console.log(
  '| stored as | GiB | queries | ms a query: median | least | GFLOP/s at the least | of the top 10 of float32 |\n|---|---|---|---|---|---|---|',
)
let exact
for (const type of ['float32', 'float16', 'int8']) {
  const stored = type === 'float32' ? documents : await quantizeEmbeddings(documents, type)
  const bytes = stored.data.byteLength + (stored.scales?.byteLength ?? 0)
  const resident = await DeviceEmbeddings.upload(stored, { device })
  const hits = await search(device, queries, resident, { topK: 10 })
  exact ??= hits
  const kept = hits.flatMap((list, q) => list.filter(({ index }) => exact[q].some((hit) => hit.index === index)))
  for (const n of sizes.length > 0 ? sizes : [1, 32]) {
    const times = []
    for (let round = 0; round < 9; round++) {
      const started = performance.now()
      await search(device, some(n), resident, { topK: 10 })
      times.push((performance.now() - started) / n)
    }
    times.sort((a, b) => a - b)
    const flop = 2 * count * tokens * queryTokens * dim
    const cells = [
      type,
      (bytes / 2 ** 30).toFixed(2),
      n,
      times[4].toFixed(1),
      times[0].toFixed(1),
      (flop / times[0] / 1e6).toFixed(0),
    ]
    console.log(`| ${[...cells, `${((100 * kept.length) / (10 * hits.length)).toFixed(1)} %`].join(' | ')} |`)
  }
  resident.dispose()
}
