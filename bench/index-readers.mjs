// Readers in processes and workers beside one writer: is every answer that of one state of the index, and does the event loop of
// whoever searches stay free?
//
// usage: node bench/index-readers.mjs [SECONDS, default 180] [READERS, default 8: half processes, half workers] [DOCUMENTS, default 20000]
// Random vectors, 40 a document. The writer adds, replaces, deletes and compacts, and after each change keeps the best 100 documents
// of every query. Readers search by lists and exactly; what they found has to be among the best 100 of one state, with its
// scores, and the exact answers have to be its best 10. Exits with 1 where one is not.
// A timer is late because the process computes, or because it waits for a processor, which others hold: Linux counts the latter
// (/proc/thread-self/schedstat), and the last column leaves it out.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import os, { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { Index } from 'lateforge/index'
import { Random } from '../dist/io/random.js'

const [dim, length, asked, depth, tick] = [128, 40, 8, 100, 5]
const answerOf = (hits) => hits.map(({ id, score }) => `${id}=${score}`)

/** `count` texts of unit vectors around a few hundred directions. */
function texts(count, tokens, draws, topics) {
  const data = new Float32Array(count * tokens * dim)
  for (let at = 0; at < data.length; at += dim) {
    const topic = topics[Math.floor(draws.next() * topics.length)]
    let square = 0
    for (let k = 0; k < dim; k++) square += (data[at + k] = topic[k] + draws.next() * 2 - 1) ** 2
    for (let k = 0; k < dim; k++) data[at + k] /= Math.sqrt(square)
  }
  return { data, offsets: Array.from({ length: count + 1 }, (_, i) => i * tokens), dim }
}
const directions = (draws) =>
  Array.from({ length: 300 }, () => Float32Array.from({ length: dim }, () => draws.next() - 0.5))

/** Nanoseconds that this thread has waited for a processor. */
const waited = () => Number(readFileSync('/proc/thread-self/schedstat', 'latin1').split(' ')[1])

/** Times by which a timer came late, in milliseconds, with and without waiting for a processor, and when. */
function watch() {
  const late = []
  let [due, before] = [performance.now() + tick, waited()]
  const timer = setInterval(() => {
    const [now, queue] = [performance.now(), waited()]
    const delay = Math.max(0, now - due)
    late.push({ when: performance.timeOrigin + now, delay, own: Math.max(0, delay - (queue - before) / 1e6) })
    due = now + tick
    before = queue
  }, tick)
  return () => {
    clearInterval(timer)
    return late
  }
}

async function read({ dir, queries, number }) {
  const port = parentPort ?? process
  let stopped = false
  port.on('message', () => {
    stopped = true
  })
  const index = await Index.open(dir)
  const answers = new Map()
  const stop = watch()
  let searches = 0
  while (!stopped) {
    const query = (searches + number) % asked
    const exact = searches % 4 === 0
    const [hits] = await index.search(queries[query], { topK: 10, exact })
    const key = JSON.stringify([query, exact, ...answerOf(hits)])
    answers.set(key, (answers.get(key) ?? 0) + 1)
    searches++
  }
  const late = stop()
  await index.close()
  const told = { searches, answers: [...answers.keys()], late }
  if (parentPort) parentPort.postMessage(told)
  else {
    await new Promise((sent) => process.send(told, sent))
    process.disconnect()
  }
}

async function write() {
  const [seconds = 180, readers = 8, count = 20_000] = process.argv.slice(2).map(Number)
  const folder = mkdtempSync(path.join(tmpdir(), 'lateforge-'))
  const dir = path.join(folder, 'index')
  const draws = new Random(1)
  const topics = directions(draws)
  const index = await Index.create(dir, { dim })
  let next = 0
  const add = (number) =>
    index.addEmbeddings({
      ...texts(number, length, draws, topics),
      ids: Array.from({ length: number }, () => `d${next++}`),
    })
  while (next < count) await add(Math.min(2000, count - next))
  await index.compact()
  const { offsets: _, ...all } = texts(asked, 20, draws, topics)
  const queries = Array.from({ length: asked }, (_, q) => ({
    ...{ data: all.data.slice(q * 20 * dim, (q + 1) * 20 * dim), offsets: [0, 20], dim, role: 'query' },
  }))
  const states = []
  const keep = async () => {
    const best = []
    for (const query of queries) best.push(answerOf((await index.search(query, { topK: depth, exact: true }))[0]))
    states.push(best)
  }
  await keep()
  const program = fileURLToPath(import.meta.url)
  const job = (number) => ({ dir, queries, number })
  const running = Array.from({ length: readers }, (_, number) => {
    if (number % 2 === 1) return new Worker(program, { workerData: job(number) })
    const child = fork(program, ['reader'], { serialization: 'advanced' })
    child.send(job(number))
    return child
  })
  const answers = running.map((reader) => once(reader, 'message'))
  const exits = running.map((reader) => once(reader, 'exit')) // which may come before its answer is looked at
  for (const reader of running) reader.on('error', (error) => console.error(error))
  // Whoever stops the process as a whole makes timers late that are nobody's fault.
  const stops = []
  process.on('SIGCONT', () => stops.push(performance.timeOrigin + performance.now()))
  const changes = { add: 0, replace: 0, delete: 0, compact: 0 }
  let oldest = 0
  for (const end = Date.now() + seconds * 1000; Date.now() < end; ) {
    const drawn = draws.next()
    const what = drawn < 0.4 ? 'add' : drawn < 0.6 ? 'replace' : drawn < 0.95 ? 'delete' : 'compact'
    changes[what]++
    if (what === 'add') await add(200)
    else if (what === 'delete') await index.delete(Array.from({ length: 150 }, () => `d${oldest++}`))
    else if (what === 'compact') await index.compact()
    else {
      const ids = Array.from({ length: 50 }, (_, i) => `d${oldest + Math.floor((i * (next - oldest)) / 50)}`)
      await index.addEmbeddings({ ...texts(ids.length, length, draws, topics), ids }, { existing: 'replace' })
    }
    await keep()
  }
  for (const reader of running) 'postMessage' in reader ? reader.postMessage('stop') : reader.send('stop')
  const places = states.map((best) => best.map((list) => new Map(list.map((hit, at) => [hit, at]))))
  let wrong = 0
  const rows = []
  for (const [number, answer] of answers.entries()) {
    const [{ searches, answers: found, late }] = await answer
    for (const key of found) {
      const [query, exact, ...hits] = JSON.parse(key)
      const isOf = (state) =>
        hits.length === 10 && hits.every((hit, at) => (exact ? state[query].get(hit) === at : state[query].has(hit)))
      if (!places.some(isOf)) {
        wrong++
        console.error(`reader ${number}: of no state: ${key}`)
      }
    }
    const own = late.filter(({ when }) => !stops.some((stop) => Math.abs(when - stop) < 200))
    const worst = (field, share = 1) => {
      const sorted = own.map((one) => one[field]).sort((a, b) => a - b)
      return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))].toFixed(1)
    }
    const kind = number % 2 ? 'worker' : 'process'
    rows.push(
      `${kind.padEnd(8)} ${String(searches).padStart(7)} searches, ${String(found.length).padStart(6)} answers; timers late by ` +
        `p99 ${worst('delay', 0.99)}, most ${worst('delay')} ms; without waiting for a processor ${worst('own', 0.99)}, ${worst('own')} ms`,
    )
  }
  for (const reader of running) if ('terminate' in reader) await reader.terminate()
  await Promise.all(exits)
  await index.verify()
  const { documents, tokens, segments, listed } = await index.info()
  await index.close()
  rmSync(folder, { recursive: true })
  console.log(
    `${os.cpus().length} processors, load ${os.loadavg()[0].toFixed(1)}, ${seconds} s, stopped from outside ${stops.length} times`,
  )
  console.log(
    `${JSON.stringify(changes)}, ${states.length} states; at the end ${documents} documents, ${tokens} tokens, ${segments} segments, ${listed} with lists`,
  )
  for (const row of rows) console.log(row)
  console.log(wrong === 0 ? 'every answer is that of one state' : `${wrong} answers are of no state`)
  if (wrong > 0) process.exitCode = 1
}

if (!isMainThread) await read(workerData)
else if (process.argv[2] === 'reader') process.once('message', read)
else await write()
