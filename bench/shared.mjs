// What a training step keeps of its speed where others compute too: `lateforge bench step` alone, then beside one and beside
// three processes for each core that do nothing but count, some rounds in turn. Prints one JSON object.
//
// usage: node bench/shared.mjs [ROUNDS, default 3] [OPTIONS of bench step]      after npm run setup
// On Linux give everyone the same chance: where sched_autogroup_enabled is 1, a terminal's processes share one process' part.
import { execFileSync, spawn } from 'node:child_process'
import { machineOf } from '../dist/bench/machine.js'
import { Device } from '../dist/tensor/device.js'

const [rounds = '3', ...options] = process.argv.slice(2)
const machine = await machineOf(Device.open(), 'cpu', 0.2)
const besides = [0, 1, 3]
const rates = Object.fromEntries(besides.map((count) => [count, []]))

function tokensPerSecond() {
  const command = ['dist/cli/main.js', 'bench', 'step', '--mode', 'kept', '--steps', '3', '--json', ...options]
  return JSON.parse(execFileSync(process.execPath, command, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }))
    .tokensPerSecond
}

for (let round = 0; round < Number(rounds); round++)
  for (const count of besides) {
    const busy = Array.from({ length: count * machine.threads }, () => spawn(process.execPath, ['-e', 'for (;;);']))
    try {
      rates[count].push(Math.round(tokensPerSecond()))
    } finally {
      for (const child of busy) child.kill()
    }
  }
const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)]
const kept = Object.fromEntries(
  besides.map((count) => [count, Number((median(rates[count]) / median(rates[0])).toFixed(3))]),
)
console.log(JSON.stringify({ ...machine, busyProcessesPerCore: rates, kept }, null, 1))
