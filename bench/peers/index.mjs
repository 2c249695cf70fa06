// Our index beside fast-plaid and xtr-warp-rs on the same token vectors: build, disk, opening, a query at the recall that it
// reaches, adding and deleting 1,000 documents, memory. Each step in a process of its own, in turn.
//
// usage: node bench/peers/index.mjs PYTHON MODEL ENCODED WORK QUERIES BASE ADDED [OUT.json]      after npm run setup
//   PYTHON   of an environment with fast-plaid, xtr-warp-rs, torch and safetensors
//   ENCODED  folder of `lateforge encode --type float16`, ids as "collection/id"
//   WORK     a folder for indexes and vectors, which is made
//   QUERIES  a BEIR folder whose queries are asked, 30 of them
//   BASE     collections of ENCODED that are built, comma-separated; ADDED: one whose first 1,000 documents are added
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Colbert } from 'lateforge'
import { loadBeir } from 'lateforge/eval'
import { EncodedDocuments, Index } from 'lateforge/index'
import { machineOf } from '../../dist/bench/machine.js'
import { SafetensorsFile, writeSafetensors } from '../../dist/io/safetensors.js'
import { Device } from '../../dist/tensor/device.js'

const asked = 30
const settings = [{}, { probes: 8, candidates: 200 }, { probes: 32, candidates: 1000 }, { exact: true }]
const processor = () => (process.cpuUsage().user + process.cpuUsage().system) / 1e6
const memory = (name) =>
  Number(new RegExp(`${name}:\\s+(\\d+)`).exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 1024
const round = (x, digits = 2) => Number(x.toFixed(digits))
// Where something else stops the processes of a machine, no time of a clock that it falls into counts.
let stops = 0
process.on('SIGCONT', () => stops++)
async function timed(call) {
  const [wall, cpu, before] = [performance.now(), processor(), stops]
  const value = await call()
  const seconds = (performance.now() - wall) / 1000
  const cpuSeconds = round(processor() - cpu, 3)
  await setImmediate()
  return [value, { seconds: stops === before ? round(seconds, 3) : null, cpuSeconds }]
}

/** One step of our index, as index.py has them. */
async function own(mode, vectors, folder) {
  const file = await SafetensorsFile.open(vectors)
  const read = async (name, offsets) => {
    const { shape, dtype } = file.tensor(name)
    const { buffer, byteOffset, byteLength } = await file.bytes(name)
    const type = dtype === 'F16' ? Uint16Array : Float32Array
    return {
      ...{ data: new type(buffer, byteOffset, byteLength / type.BYTES_PER_ELEMENT), dim: shape[1] },
      offsets: await file.numbers(offsets),
    }
  }
  const named = (part, first) => ({
    ...part,
    ids: Array.from({ length: part.offsets.length - 1 }, (_, i) => `${first + i}`),
  })
  const documents = named(await read('documents', 'offsets'), 0)
  const queries = await read('queries', 'queryOffsets')
  const added = named(await read('added', 'addedOffsets'), documents.ids.length)
  const best = await file.numbers('best')
  const tokens = documents.offsets.at(-1)
  const before = memory('RssAnon')
  const result = { engine: 'lateforge', threads: Number(process.env.LATEFORGE_THREADS) }
  if (mode === 'build') {
    const [, build] = await timed(async () => {
      const index = await Index.create(folder, { dim: documents.dim, listsFrom: 1 })
      await index.addEmbeddings(documents)
      await index.close()
    })
    const index = await Index.open(folder)
    const { bytes } = await index.info()
    await index.close()
    return { ...result, build, bytesPerToken: round(bytes / tokens, 1), peakMiB: Math.round(memory('VmHWM')) }
  }
  const [index, open] = await timed(() => Index.open(folder))
  const query = (q) => {
    const [from, to] = [queries.offsets[q], queries.offsets[q + 1]]
    return {
      data: queries.data.subarray(from * queries.dim, to * queries.dim),
      offsets: [0, to - from],
      dim: queries.dim,
    }
  }
  const ways = []
  for (const way of settings) {
    await index.search(query(0), { topK: 10, ...way })
    const cpu = processor()
    const wall = []
    let same = 0
    const count = queries.offsets.length - 1
    for (let q = 0; q < count; q++) {
      const [[hits], { seconds }] = await timed(() => index.search(query(q), { topK: 10, ...way }))
      if (seconds !== null) wall.push(1000 * seconds)
      const wanted = new Set(best.subarray(10 * q, 10 * q + 10))
      same += hits.filter(({ id }) => wanted.has(Number(id))).length
    }
    wall.sort((a, b) => a - b)
    ways.push({
      way: Object.keys(way).length > 0 ? way : 'default',
      ...{ cpuMs: round(((processor() - cpu) * 1000) / count), p50: round(wall[wall.length >> 1]) },
      ...{ p99: round(wall[Math.floor(0.99 * wall.length)]), recall: round(same / best.length, 4) },
    })
  }
  Object.assign(result, { open, ways })
  if (mode === 'change') {
    const [, add] = await timed(() => index.addEmbeddings(added))
    const gone = Array.from({ length: 1000 }, (_, i) => `${200 + i}`)
    const [, removed] = await timed(() => index.delete(gone))
    Object.assign(result, { add, delete: removed })
  }
  await index.close()
  const anonymousMiB = Math.round(memory('RssAnon') - before)
  return { ...result, anonymousMiB, peakMiB: Math.round(memory('VmHWM')) }
}

/** The vectors that all engines are given, and the best ten of the built ones for each query. */
async function writeVectors(target, { modelDir, encoded, queriesOf, base, added }) {
  const parts = { documents: [], added: [] }
  const source = await EncodedDocuments.open(encoded)
  const { dim, recipe } = source.info
  let dropped = 0
  for await (const { data, offsets, ids } of source)
    for (const [i, id] of ids.entries()) {
      const [collection] = id.split('/')
      const to = base.includes(collection) ? parts.documents : collection === added ? parts.added : null
      if (!to || (to === parts.added && to.length === 1000)) continue
      if (offsets[i + 1] === offsets[i]) dropped++
      else to.push(data.slice(offsets[i] * dim, offsets[i + 1] * dim))
    }
  const joined = (list, type) => {
    const offsets = new Float64Array(list.length + 1)
    for (const [i, rows] of list.entries()) offsets[i + 1] = offsets[i] + rows.length / dim
    const data = new type(offsets.at(-1) * dim)
    for (const [i, rows] of list.entries()) data.set(rows, offsets[i] * dim)
    return { data, offsets, dim }
  }
  const model = await Colbert.load(modelDir, { precision: 'int8', onNote: () => {} })
  const { queries } = await loadBeir(queriesOf)
  const encodedQueries = []
  for (const text of queries.texts.slice(0, asked)) encodedQueries.push((await model.encodeQueries([text])).data)
  model.dispose()
  const [documents, more, asking] = [
    joined(parts.documents, Uint16Array),
    joined(parts.added, Uint16Array),
    joined(encodedQueries, Float32Array),
  ]
  const folder = `${target}.exact`
  rmSync(folder, { recursive: true, force: true })
  const exact = await Index.create(folder, { dim, type: 'float16', recipe })
  await exact.addEmbeddings({ ...documents, ids: parts.documents.map((_, i) => `${i}`) })
  const hits = await exact.search(asking, { topK: 10, exact: true })
  await exact.close()
  rmSync(folder, { recursive: true })
  const numbers = (name, values) => ({ name, shape: [values.length], data: Float64Array.from(values) })
  await writeSafetensors(target, [
    { name: 'documents', shape: [documents.data.length / dim, dim], data: documents.data },
    numbers('offsets', documents.offsets),
    { name: 'added', shape: [more.data.length / dim, dim], data: more.data },
    numbers('addedOffsets', more.offsets),
    { name: 'queries', shape: [asking.data.length / dim, dim], data: asking.data },
    numbers('queryOffsets', asking.offsets),
    { name: 'best', shape: [asked, 10], data: Float64Array.from(hits.flat(), ({ id }) => Number(id)) },
  ])
  return {
    ...{ documents: parts.documents.length, tokens: documents.offsets.at(-1), dropped },
    ...{ added: parts.added.length, addedTokens: more.offsets.at(-1) },
    ...{ queries: asked, queryTokens: round(asking.offsets.at(-1) / asked, 1) },
  }
}

if (process.argv[2] === 'own') console.log(JSON.stringify(await own(...process.argv.slice(3))))
else {
  const [python, modelDir, encoded, work, queriesOf, base, added, out] = process.argv.slice(2)
  mkdirSync(work, { recursive: true })
  const vectors = path.join(work, 'vectors.safetensors')
  const data = await writeVectors(vectors, { modelDir, encoded, queriesOf, base: base.split(','), added })
  console.error(JSON.stringify(data))
  const machine = await machineOf(Device.open('cpu'), 'cpu', 0.5)
  const report = { what: 'index', date: new Date().toISOString().slice(0, 10), machine, data, results: [] }
  for (const engine of ['lateforge', 'fast-plaid', 'xtr-warp']) {
    const folder = path.join(work, engine)
    rmSync(folder, { recursive: true, force: true })
    const steps = [
      ['build', 2],
      ['use', 1],
      ['change', 2],
    ]
    for (const [mode, threads] of steps) {
      const count = `${threads}`
      const env = { ...process.env, OMP_NUM_THREADS: count, RAYON_NUM_THREADS: count, MKL_NUM_THREADS: count }
      env.LATEFORGE_THREADS = count
      const script = (name) => fileURLToPath(new URL(name, import.meta.url))
      const [program, ...args] =
        engine === 'lateforge'
          ? [process.execPath, script('index.mjs'), 'own', mode, vectors, folder]
          : [python, script('index.py'), engine, mode, vectors, folder]
      const load = round(os.loadavg()[0], 1)
      const child = spawnSync(program, args, { encoding: 'utf8', env, stdio: ['ignore', 'pipe', 'inherit'] })
      const line = child.stdout.trim().split('\n').at(-1)
      if (child.status !== 0) throw new Error(`${engine} ${mode} ended with ${child.status ?? child.signal}`)
      report.results.push({ mode, load, ...JSON.parse(line) })
      console.error(line)
    }
  }
  if (out) writeFileSync(out, `${JSON.stringify(report, null, 1)}\n`)
  else console.log(JSON.stringify(report, null, 1))
}
