import { Worker } from 'node:worker_threads'
import type { Featurizer } from '../text/featurizer.js'
import { type EncodedRows, encodeRows, type RowTexts } from './encode.js'

interface Lane {
  worker: Worker
  waiting: { resolve: (rows: EncodedRows) => void; reject: (reason: unknown) => void }[]
  failure?: unknown
}

/** Batches tokenized on the calling thread before workers are worth starting. */
const IN_THREAD_BATCHES = 8

/** Tokenizes batches of rows, the first few here, then on worker threads; results come in the order asked for. */
export class RowEncoder {
  private readonly featurizer: Featurizer
  private readonly workers: number
  private readonly lanes: Lane[] = []
  private asked = 0

  constructor(featurizer: Featurizer, workers: number) {
    this.featurizer = featurizer
    this.workers = workers
  }

  /** Batches worth having under way at once. */
  get depth(): number {
    return 2 * Math.max(1, this.workers)
  }

  async encode(rows: RowTexts[]): Promise<EncodedRows> {
    const number = this.asked++
    if (this.workers === 0 || number < IN_THREAD_BATCHES) {
      await new Promise((resolve) => setImmediate(resolve)) // timers and signals get their turn between batches
      return encodeRows(this.featurizer, rows)
    }
    if (this.lanes.length < this.workers) this.lanes.push(this.start())
    const lane = this.lanes[number % this.lanes.length]!
    if (lane.failure !== undefined) throw lane.failure
    return new Promise((resolve, reject) => {
      lane.waiting.push({ resolve, reject })
      lane.worker.postMessage(rows)
    })
  }

  async close(): Promise<void> {
    await Promise.all(this.lanes.splice(0).map(({ worker }) => worker.terminate()))
  }

  private start(): Lane {
    const { tokenizer, recipe } = this.featurizer
    const workerData = { ...tokenizer.toJson(), recipe }
    const worker = new Worker(new URL('./tokenize-worker.js', import.meta.url), { workerData })
    const lane: Lane = { worker, waiting: [] }
    const fail = (reason: unknown): void => {
      lane.failure ??= reason
      for (const { reject } of lane.waiting.splice(0)) reject(reason)
    }
    worker.on('message', (rows: EncodedRows) => lane.waiting.shift()?.resolve(rows))
    worker.on('error', fail)
    worker.on('exit', (code) => fail(new Error(`a tokenizer worker stopped with exit code ${code}`)))
    return lane
  }
}
