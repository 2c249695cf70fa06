/** A training in a process of its own, to be killed: prints its events. Arguments: folder, steps of a phase. */
import path from 'node:path'
import { train } from '../../lib/train/loop/run.js'
import { tinyRun, todaysPhases } from './tiny.js'

const [dir, steps] = process.argv.slice(2) as [string, string]
const phases = todaysPhases(dir, Number(steps), { checkpoint: { every: 4 } })
const run = train(tinyRun(dir, path.join(dir, 'base'), 'run', phases), { resume: 'auto' })
for await (const event of run) process.stdout.write(`${JSON.stringify(event)}\n`)
