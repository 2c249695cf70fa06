/** One rank of heartbeat.test.ts. Arguments: what happens at step 20, folder of the records. */
import { setTimeout } from 'node:timers/promises'
import { startHeartbeat } from '../../lib/distributed/heartbeat.js'
import { Device } from '../../lib/tensor/device.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { group } from './rank.js'

const [plan, records] = process.argv.slice(2) as [string, string]
const blocked = plan === 'blocked'
if (blocked) group.configure({ deadline: 1.5, record: `${records}/rank-${group.rank}.json` })
const heartbeat = blocked
  ? null
  : await startHeartbeat(group, { records, interval: 0.2, silence: 2, ...(plan === 'end' && { deadline: 1.5 }) })
const tensor = Tensor.from(Device.open('cpu'), new Float32Array(100).fill(1))
for (let step = 0; ; step++) {
  group.mark(`step ${step}`)
  if (step === 20) {
    if (plan === 'end') break
    if (plan === 'error' && group.rank === 1) throw new Error('of this rank alone')
    if (plan === 'shared-error') {
      heartbeat?.close(new Error('of every rank'))
      process.exit(7)
    }
    // The event loop stands still: no beat, and nothing else either.
    if (group.rank === 1) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
  }
  group.allReduceMax(tensor).wait()
  await tensor.values()
  await setTimeout(20)
}
heartbeat?.close()
if (group.rank === 0) await setTimeout(2500) // the others are at their end, and wait for this one
