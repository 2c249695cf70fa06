import type { HubProgress } from '../hub/repository.js'
import { transferShower } from '../hub/show.js'
import { ProgressLine } from '../io/progress-line.js'

/** For the verbs that load a model, or send one: shows on standard error how far it is. */
export function showTransfer(done?: 'sent'): (progress: HubProgress) => void {
  return transferShower(new ProgressLine(), done)
}
