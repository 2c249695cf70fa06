#!/usr/bin/env node
// Trainings on 2 and 3 ranks that are killed, stopped or cut off at random points, and resumed: the table of docs/ranks.md.
// Usage: node bench/faults.mjs [points of each kind, default 20]      Needs mpirun; the cuts need root and iproute2.
import { spawnSync } from 'node:child_process'

const points = Number(process.argv[2] ?? 20)
const tsc = ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json', '--noEmit', 'false', '--outDir', 'build/js']
if (spawnSync(process.execPath, tsc, { stdio: ['ignore', 2, 2] }).status !== 0) process.exit(1)
const { Lab, exitCodes } = await import('../build/js/test/distributed/faults.js')
const { withoutHosts } = await import('../build/js/test/distributed/job.js')
const { withoutRanks } = await import('../build/js/test/distributed/launch.js')

const lab = await Lab.open()
const exponent = (x) => (x === 0 ? '0' : x.toExponential(0))
console.log(
  '| fault | points | all processes gone after, s: least, median, most | exit code | resumed on as many ranks: losses | on fewer | all well |',
)
console.log('|---|---|---|---|---|---|---|')
try {
  for (const kind of ['kill', 'stop', 'cut']) {
    const reason = withoutRanks || (kind === 'cut' && withoutHosts)
    if (reason) {
      console.error(`${kind}: skipped, ${reason}`)
      continue
    }
    const trials = []
    for (let i = 0; i < points; i++) {
      const trial = await lab.trial(kind, i % 2 === 1)
      trials.push(trial)
      console.error(JSON.stringify(trial))
      if (trial.problems.length) process.exitCode = 1
    }
    const seconds = trials.map((trial) => trial.seconds ?? Infinity).sort((a, b) => a - b)
    const worst = (fewer) =>
      Math.max(0, ...trials.filter((t) => t.resumedOn < t.fault.ranks === fewer).map((t) => t.difference))
    const cells = [
      kind,
      points,
      [seconds[0], seconds[points >> 1], seconds[points - 1]].map((s) => s.toFixed(1)).join(', '),
      exitCodes[kind],
      worst(false) === 0 ? 'the same bits' : exponent(worst(false)),
      `within ${exponent(worst(true))}`,
      `${trials.filter((trial) => trial.problems.length === 0).length} of ${points}`,
    ]
    console.log(`| ${cells.join(' | ')} |`)
  }
} finally {
  lab.close()
}
