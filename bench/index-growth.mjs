// What an index costs as it grows: build, memory, disk, opening, a query by all documents and by lists, and what the lists find.
//
// usage: node bench/index-growth.mjs MODEL ENCODED FOLDER COLLECTIONS [TYPE] [SIZE…]      after npm run setup
//   ENCODED      folder of `lateforge encode` (float16), ids as "collection/id" or "source/id"
//   FOLDER       new indexes go there, one at a time
//   COLLECTIONS  comma-separated BEIR folders whose queries are asked, 40 of each; PAIRS.jsonl files of {"_id", "text"} too
//   TYPE         of the stored vectors, default int8. Recall is of what scoring every document as it is stored finds
//   SIZE         documents; default 300 to all of them. Beyond all of them documents are repeated with noise, those of judged
//                collections once
// Each size is built in a process of its own and searched in another, so that memory is its own. A line of JSON for each.
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { deserialize, serialize } from 'node:v8'
import { Colbert } from 'lateforge'
import { evaluate, loadBeir } from 'lateforge/eval'
import { EncodedDocuments, Index } from 'lateforge/index'
import { halfValue } from '../dist/io/numbers.js'
import { Random } from '../dist/io/random.js'

/** Length of the noise that is added to a unit vector: cosine .96 with what it was. */
const noise = 0.3
const asked = 40
/** Settings that are tried beside the default. */
const ways = [
  [8, 200],
  [16, 500],
  [16, 1000],
  [16, 2000],
  [32, 500],
  [32, 1000],
  [32, 2000],
]
/** The value of each float16. */
const halves = Float32Array.from({ length: 1 << 16 }, (_, bits) => halfValue(bits))
const processor = () => (process.cpuUsage().user + process.cpuUsage().system) / 1000
const status = (name) =>
  Number(new RegExp(`${name}:\\s+(\\d+)`).exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 1024
const round = (x, digits = 1) => Number(x.toFixed(digits))
const at = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]

/** The same documents, each vector moved at random and made a unit vector again. */
function moved(part, draws, table, copy, judged) {
  const { dim } = part
  const kept = part.ids.flatMap((id, i) => (judged.has(id.split('/')[0]) ? [] : [i]))
  const offsets = [0]
  for (const i of kept) offsets.push(offsets.at(-1) + part.offsets[i + 1] - part.offsets[i])
  const data = new Float32Array(offsets.at(-1) * dim)
  let to = 0
  for (const i of kept)
    for (let from = part.offsets[i] * dim; from < part.offsets[i + 1] * dim; from += dim, to += dim) {
      const shift = Math.floor(draws.next() * (table.length - dim))
      let square = 0
      for (let k = 0; k < dim; k++) {
        data[to + k] = halves[part.data[from + k]] + table[shift + k]
        square += data[to + k] ** 2
      }
      for (let k = 0; k < dim; k++) data[to + k] /= Math.sqrt(square)
    }
  return { data, offsets, dim, role: 'document', ids: kept.map((i) => `${part.ids[i]}+${copy}`) }
}

/** The first `size` documents, then copies. */
async function* documents(encoded, size, judged) {
  const draws = new Random(1)
  const normal = () => Math.sqrt(-2 * Math.log(1 - draws.next())) * Math.cos(2 * Math.PI * draws.next())
  let table
  for (let copy = 0, left = size; left > 0; copy++)
    for await (const part of encoded.parts()) {
      table ??= Float32Array.from({ length: 1 << 20 }, () => (noise / Math.sqrt(part.dim)) * normal())
      const some = copy === 0 ? part : moved(part, draws, table, copy, judged)
      if (some.ids.length <= left) yield some
      else {
        const end = some.offsets[left]
        yield {
          ...{ ...some, data: some.data.subarray(0, end * part.dim) },
          ...{ offsets: some.offsets.slice(0, left + 1), ids: some.ids.slice(0, left) },
        }
      }
      left -= Math.min(left, some.ids.length)
      if (left === 0) return
    }
}

async function build({ encoded, folder, type, size, judged }) {
  const source = await EncodedDocuments.open(encoded)
  const { dim, recipe } = source.info
  const index = await Index.create(folder, { dim, recipe, type, listsFrom: 1 })
  // What making the documents takes is not the index's.
  const made = { wall: 0, cpu: 0 }
  async function* timed() {
    const parts = documents(source, size, new Set(judged))
    for (;;) {
      const [wall, cpu] = [performance.now(), processor()]
      const { value, done } = await parts.next()
      made.wall += performance.now() - wall
      made.cpu += processor() - cpu
      if (done) return
      yield value
    }
  }
  let anonymous = 0
  const before = status('RssAnon')
  const sampling = setInterval(() => {
    anonymous = Math.max(anonymous, status('RssAnon'))
  }, 50)
  const [wall, cpu] = [performance.now(), processor()]
  await index.addEmbeddings(timed())
  clearInterval(sampling)
  const seconds = (performance.now() - wall - made.wall) / 1000
  await setImmediate()
  const built = { seconds: stops === 0 ? round(seconds) : null, cpu: (processor() - cpu - made.cpu) / 1000 }
  const { tokens, bytes, segments, codesRecall } = await index.info()
  await index.close()
  return {
    ...{ documents: size, type, codesRecall, tokens, segments, bytesPerToken: round(bytes / tokens) },
    ...{ buildSeconds: built.seconds, buildCpuSeconds: round(built.cpu) },
    ...{ buildAnonymousMiB: round(anonymous - before, 0), buildPeakRssMiB: round(status('VmHWM'), 0) },
  }
}

// Where something else stops the processes of a machine, no time of a clock that it falls into counts.
let stops = 0
process.on('SIGCONT', () => stops++)

async function search({ folder, asking, size }) {
  const sets = deserialize(readFileSync(asking))
  globalThis.gc()
  const before = status('RssAnon')
  const started = performance.now()
  const index = await Index.open(folder)
  const openMs = performance.now() - started
  const { tokens } = await index.info()
  const timed = async (queries, options) => {
    const hits = []
    const [walls, cpus] = [[], []]
    for (const query of queries) {
      const [wall, cpu, before] = [performance.now(), processor(), stops]
      hits.push((await index.search(query, { topK: 10, ...options }))[0])
      const took = performance.now() - wall
      cpus.push(processor() - cpu)
      await setImmediate()
      if (stops === before) walls.push(took)
    }
    walls.sort((a, b) => a - b)
    const cpu = cpus.reduce((a, b) => a + b, 0) / cpus.length
    return { hits, times: { p50: round(at(walls, 0.5)), p99: round(at(walls, 0.99)), cpuMs: round(cpu, 2) } }
  }
  const every = sets.flatMap(({ queries }) => queries)
  const cut = (length) =>
    every.map((query) => ({
      ...{ ...query, data: query.data.subarray(0, length * query.dim) },
      offsets: [0, Math.min(length, query.offsets[1])],
    }))
  await timed(every.slice(0, 60), {})
  globalThis.gc() // what queries have left is not the index's
  const residentBytes = ((status('RssAnon') - before) * 2 ** 20) / tokens
  const lists = await timed(every, {})
  const short = await timed(cut(20), {})
  // Some of them alone, for their times; the truth of all at once, which is quicker.
  const few = every.filter((_, i) => i % Math.ceil(every.length / Math.min(20, 1 + 3e8 / tokens)) === 0)
  const alone = await timed(few, { exact: true })
  const share = Math.max(1, Math.ceil((tokens * every.length) / 4e9))
  const result = { openMs: round(openMs), residentBytesPerToken: round(residentBytes), lists: lists.times }
  Object.assign(result, { lists20Tokens: short.times, exact: alone.times, recall: {}, ndcg: {} })
  const truth = []
  const recallOf = (found, exact) => {
    const same = found.map((list, q) => list.filter(({ score }) => score >= exact[q].at(-1).score).length)
    return round(same.reduce((a, b) => a + b) / exact.reduce((sum, list) => sum + list.length, 0), 4)
  }
  let n = 0
  for (const { name, texts, queries, relevant, whole } of sets) {
    const some = queries.flatMap((_, i) => (i % share === 0 ? [i] : []))
    const exact = await index.search(together(some.map((i) => queries[i])), { topK: 10, exact: true })
    const own = some.map((i) => lists.hits[n + i])
    n += queries.length
    truth.push({ name, exact, queries: some.map((i) => queries[i]) })
    result.recall[name] = recallOf(own, exact)
    if (!relevant || size < whole) continue
    const ids = some.map((i) => texts[i])
    const judged = new Map(ids.map((id) => [id, relevant.get(id)]))
    const nDCG = (hits) => {
      const own = ({ id }) => id.startsWith(`${name}/`)
      const run = hits.map((list) => list.filter(own).map((hit) => ({ ...hit, id: hit.id.slice(name.length + 1) })))
      return evaluate(new Map(ids.map((id, i) => [id, run[i]])), judged, ['ndcg@10']).means['ndcg@10']
    }
    result.ndcg[name] = [round(nDCG(exact), 4), round(nDCG(own) - nDCG(exact), 4)]
  }
  result.ways = []
  for (const [probes, candidates] of ways) {
    const recall = {}
    let cpu = 0
    for (const { name, exact, queries } of truth) {
      const { hits, times } = await timed(queries, { probes, candidates })
      recall[name] = recallOf(hits, exact)
      cpu += times.cpuMs / truth.length
    }
    result.ways.push({ probes, candidates, cpuMs: round(cpu), recall })
  }
  await index.close()
  return result
}

function together(queries) {
  const offsets = [0]
  for (const { offsets: own } of queries) offsets.push(offsets.at(-1) + own[1])
  const data = new Float32Array(offsets.at(-1) * queries[0].dim)
  for (const [i, query] of queries.entries()) data.set(query.data, offsets[i] * query.dim)
  return { ...queries[0], data, offsets }
}

/** Queries of each set, encoded one by one. */
async function encodeQueries(modelDir, sets, ids) {
  const model = await Colbert.load(modelDir, { precision: 'int8', onNote: () => {} })
  const found = []
  for (const set of sets) {
    const name = path.basename(set, '.jsonl')
    let given
    let relevant = null
    if (set.endsWith('.jsonl')) {
      const rows = readFileSync(set, 'utf8').trim().split('\n').slice(0, asked)
      const parsed = rows.map((row) => JSON.parse(row))
      given = { ids: parsed.map(({ _id }) => _id), texts: parsed.map(({ text }) => text) }
    } else {
      const { queries, qrels } = await loadBeir(set)
      given = queries
      relevant = qrels
    }
    const most = Math.min(asked, given.ids.length)
    const numbers = Array.from({ length: most }, (_, i) => Math.floor((i * given.ids.length) / most))
    const queries = []
    for (const i of numbers) queries.push(await model.encodeQueries([given.texts[i]]))
    const texts = numbers.map((i) => given.ids[i])
    const own = new Map(texts.map((id) => [id, relevant?.get(id)]))
    const whole = 1 + ids.findLastIndex((id) => id.startsWith(`${name}/`))
    found.push({ name, texts, queries, relevant: relevant && own, whole })
  }
  model.dispose()
  return found
}

const [mode] = process.argv.slice(2)
if (mode === 'build' || mode === 'search') {
  const job = JSON.parse(process.argv[3])
  console.log(JSON.stringify(await (mode === 'build' ? build(job) : search(job))))
} else {
  const [modelDir, encoded, folder, collections, ...more] = process.argv.slice(2)
  const type = more.length > 0 && Number.isNaN(Number(more[0])) ? more.shift() : 'int8'
  const source = await EncodedDocuments.open(encoded)
  const sizes = more.length > 0 ? more.map(Number) : [300, 1000, 3000, 10_000, 30_000, 100_000, source.info.documents]
  const sets = collections.split(',')
  const asking = `${folder}.queries`
  if (!existsSync(asking)) {
    const ids = []
    for await (const part of source) ids.push(...part.ids)
    writeFileSync(asking, serialize(await encodeQueries(modelDir, sets, ids)))
  }
  const judged = sets.filter((set) => !set.endsWith('.jsonl')).map((set) => path.basename(set))
  const job = { encoded, folder, asking, type, judged }
  for (const size of sizes) {
    rmSync(folder, { recursive: true, force: true })
    const results = ['build', 'search'].map((mode) => {
      const args = ['--expose-gc', fileURLToPath(import.meta.url), mode, JSON.stringify({ ...job, size })]
      const child = spawnSync(process.execPath, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })
      if (child.status !== 0) process.exit(1)
      return JSON.parse(child.stdout)
    })
    console.log(JSON.stringify(Object.assign({}, ...results)))
  }
}
