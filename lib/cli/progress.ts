import { ProgressLine } from '../io/progress-line.js'
import type { OnProgress } from '../progress.js'

/** Shows on standard error how the work stands, if it takes longer than two seconds. @param aloud false: shows nothing */
export async function showing<T>(work: (onProgress: OnProgress) => Promise<T>, aloud = true): Promise<T> {
  if (!aloud) return work(() => {})
  const line = new ProgressLine()
  try {
    return await work((progress) => line.show(progress))
  } finally {
    line.close()
  }
}
