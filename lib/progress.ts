/** How work stands that may take a while: one shape of event, whatever the work is. */

/** What is being done. */
export type ProgressStage =
  | 'downloading'
  | 'sending'
  | 'loading'
  | 'reading'
  | 'checking'
  | 'tokenizing'
  | 'training'
  | 'evaluating'
  | 'encoding'
  | 'pooling'
  | 'indexing'
  | 'clustering'
  | 'merging'
  | 'searching'
  | 'scoring'
  | 'teaching'
  | 'writing'
  | 'verifying'

/** What is counted. */
export type ProgressUnit =
  | 'bytes'
  | 'rows'
  | 'documents'
  | 'queries'
  | 'texts'
  | 'tokens'
  | 'tensors'
  | 'micro-batches'
  | 'searches'

/** How work stands that may take a while, as every `onProgress` is told it. */
export interface Progress {
  /** What is being done. */
  stage: ProgressStage
  /** To what: a source, a collection, a model, a repository; absent where there is one thing alone. */
  name?: string
  /** Which part of it: a file, a pass, or `2 of 13`. */
  part?: string
  /** How much is through, in units. */
  done: number
  /** Of how much; absent as long as nobody knows. */
  total?: number
  /** What is counted. */
  unit: ProgressUnit
  /** Why nothing goes on at the moment, if so. */
  waiting?: string
}

/** Is told how work stands, often, and once more when it is through. */
export type OnProgress<P extends Progress = Progress> = (progress: P) => void

/** Milliseconds between two events of work that passes many small things. */
const OFTEN = 100

/** Tells no more often than is of use; what it is asked to tell is made only then. */
export function seldom<P extends Progress>(onProgress: OnProgress<P> | undefined): (make: () => P) => void {
  if (!onProgress) return () => {}
  let told = Number.NEGATIVE_INFINITY
  return (make) => {
    const now = performance.now()
    if (now - told < OFTEN) return
    told = now
    onProgress(make())
  }
}

/** Items as they are, told as they pass. @param about all but how many passed */
export async function* counted<T>(
  items: Iterable<T> | AsyncIterable<T>,
  about: Omit<Progress, 'done'>,
  onProgress: OnProgress | undefined,
): AsyncGenerator<T> {
  const tell = seldom(onProgress)
  let done = 0
  for await (const item of items) {
    yield item
    done++
    tell(() => ({ ...about, done }))
  }
  onProgress?.({ ...about, done, total: done })
}
