/** A worker thread that reads a large tokenizer.json: see `load.ts`. */
import { readFileSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { FormatError } from '../../errors.js'
import { type Answer, packFile } from './load.js'

const file = workerData as string
const post = (answer: Answer): void => parentPort!.postMessage(answer)
try {
  post({ read: packFile(file, readFileSync(file, 'utf8')) })
} catch (error) {
  if (!(error instanceof FormatError)) throw error
  post({ message: error.message })
}
