/** The examples that are programs, run as a user runs them. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import t from 'tap'

const run = promisify(execFile)

t.test('custom-loop learns, and continues from its checkpoint with the same model', async (t) => {
  const args = ['examples/custom-loop/run.js', '--out', t.testdir(), '--steps', '120']
  const first = (await run(process.execPath, args)).stdout
  const again = (await run(process.execPath, args)).stdout
  const found = (text: string) => Number(/found: (\d+) of 1000/.exec(text)?.[1])
  t.match(first, /^starting\n/)
  t.match(again, /^resuming at step 120\n/)
  t.ok(found(first) > 200, `held-out numbers found: ${found(first)}; by chance it would be 1`)
  t.equal(found(again), found(first))
})
