/**
 * A process or worker that searches an index until it is told to stop, and says how often and what was wrong. Every version
 * of a document has its number as its score, and all documents have the same at any time (readers.test.ts).
 */
import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import { Index } from '../../lib/indexing/index.js'

/** What a reader tells when it stops. */
export interface Told {
  searches: number
  /** Versions that it saw, in order. */
  versions: number
  wrong: string[]
  /** The largest delay of a timer of 5 ms, in milliseconds. */
  late: number
}

const { dir, documents } = isMainThread
  ? { dir: process.argv[2]!, documents: Number(process.argv[3]) }
  : (workerData as { dir: string; documents: number })
const port = parentPort ?? process
let stopped = false
port.on('message', () => {
  stopped = true
})
// A test that failed leaves none behind.
process.on('disconnect', () => process.exit())

const told: Told = { searches: 0, versions: 0, wrong: [], late: 0 }
let due = performance.now() + 5
const timer = setInterval(() => {
  told.late = Math.max(told.late, performance.now() - due)
  due = performance.now() + 5
}, 5)
const index = await Index.open(dir)
const query = { data: Float32Array.of(1, 0, 0, 0, 0, 0, 0, 0), offsets: [0, 1], dim: 8 } as never
let last = -1
while (!stopped && told.wrong.length < 5) {
  const [hits] = await index.search(query, { topK: documents + 10 })
  const version = hits![0]?.score ?? -1
  const same = hits!.every(({ score }) => score === version)
  if (hits!.length !== documents || !same || version < last)
    told.wrong.push(`after ${last}: ${hits!.length} documents, ${[...new Set(hits!.map(({ score }) => score))]}`)
  if (version !== last) told.versions++
  last = version
  told.searches++
  if (told.searches % 7 === 0) {
    const kept = await index.get(`d${told.searches % documents}`)
    if (Number(kept?.text) < version) told.wrong.push(`text ${kept?.text} after version ${version}`)
  }
}
clearInterval(timer)
await index.close()
if (parentPort) parentPort.postMessage(told)
else {
  process.send!(told)
  process.disconnect()
}
