/**
 * A training under a learned temperature of which rank 1 stops at the end of a step, so that the other rank waits in the
 * middle of the next one, with reads under way. Arguments: folder. What rank 0 gets is printed.
 */
import { LateforgeError } from '../../lib/errors.js'
import { train } from '../../lib/train/loop/run.js'
import { threePhases, tinyRun } from '../train/tiny.js'
import { group } from './rank.js'

const [dir] = process.argv.slice(2) as [string]
let stops = false
// Asked for between the gradients of a step and the last thing that ranks sum in it.
const signal = Object.create(new AbortController().signal, {
  aborted: {
    get() {
      if (stops) process.kill(process.pid, 'SIGSTOP')
      return false
    },
  },
}) as AbortSignal
const [phase] = threePhases(dir, 100)
const run = train(tinyRun(dir, `${dir}/base`, 'run', [phase!]), { group, ...(group.rank === 1 && { signal }) })
process.on('unhandledRejection', (reason) => console.log(`nobody caught ${reason}`))
try {
  for await (const event of run) stops ||= group.rank === 1 && event.type === 'step' && event.step === 3
} catch (error) {
  if (group.rank === 0) console.log(`caught ${error instanceof LateforgeError && error.code}`)
}
