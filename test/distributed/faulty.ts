/** One rank of a training that things happen to. Arguments: folder, name of the run's folder, device. Rank 0 prints. */
import { train } from '../../lib/train/loop/run.js'
import { faultyRun } from './faults.js'
import { group } from './rank.js'

const [dir, out, device] = process.argv.slice(2) as [string, string, string]
const run = train(faultyRun(dir, out, device), { resume: 'auto', group })
if (group.rank === 0) for await (const event of run) process.stdout.write(`${JSON.stringify(event)}\n`)
await run.result
