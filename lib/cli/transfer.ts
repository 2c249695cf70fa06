import type { HubProgress } from '../hub/repository.js'
import { transferShower } from '../hub/show.js'
import { ProgressLine } from '../io/progress-line.js'

/** For the verbs that load a model, or send one: shows on standard error how far it is. */
export async function showingTransfer<T>(
  work: (onProgress: (progress: HubProgress) => void) => Promise<T>,
  done?: 'sent',
): Promise<T> {
  const line = new ProgressLine()
  try {
    return await work(transferShower(line, done))
  } finally {
    line.close()
  }
}
