import { Worker } from 'node:worker_threads'
import { UnsupportedError } from '../errors.js'
import type { Featurizer } from '../text/featurizer.js'
import { inTurns } from '../turns.js'
import { type EncodedRows, encodeRows, type RowTexts } from './tokenize.js'
import type { TokenizerWork } from './tokenize-worker.js'

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
      return inTurns(encodeRows(this.featurizer, rows))
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
    const workerData: TokenizerWork = { tokenizer: tokenizer.shared, recipe }
    let worker: Worker
    try {
      worker = new Worker(new URL('./tokenize-worker.js', import.meta.url), { workerData })
    } catch (cause) {
      throw stopped('cannot be started', cause)
    }
    const lane: Lane = { worker, waiting: [] }
    const fail = (reason: unknown): void => {
      lane.failure ??= reason
      for (const { reject } of lane.waiting.splice(0)) reject(reason)
    }
    worker.on('message', (rows: EncodedRows) => lane.waiting.shift()?.resolve(rows))
    worker.on('error', (cause) => fail(stopped('failed', cause)))
    worker.on('exit', (code) => fail(stopped(`ended with exit code ${code}`)))
    return lane
  }
}

/** Most often what Node was started with: a permission that lacks, or a module for every thread that throws in this one. */
function stopped(how: string, cause?: unknown): UnsupportedError {
  const reason = cause === undefined ? '' : `: ${(cause as Error).message}`
  const denied = (cause as NodeJS.ErrnoException | undefined)?.code === 'ERR_ACCESS_DENIED'
  return new UnsupportedError(
    'ERR_UNSUPPORTED',
    `a worker thread that tokenizes ${how}${reason}. ` +
      (denied ? 'Start Node with --allow-worker, or tokenize' : 'It inherits the flags of Node. Without it: tokenize') +
      ' on the calling thread, { workers: 0 }',
    {},
    { cause },
  )
}
