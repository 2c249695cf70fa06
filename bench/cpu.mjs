// What the CPU kernels and training steps reach of the multiply-add peak: the native benches and `lateforge bench step`, some
// rounds in turn, medians and the spread. docs/performance.md has the results. LATEFORGE_ISA chooses the instructions.
//
// usage: node bench/cpu.mjs BENCHES OUT.json [ROUNDS]      after npm run setup
//   BENCHES  a folder where `cmake -S . -B BENCHES -DLF_BENCH=ON && cmake --build BENCHES -j2` was done
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import path from 'node:path'

const [benches, out, rounds = '3'] = process.argv.slice(2)
const found = new Map()
let machine
const keep = (name, value, unit, peak) => {
  const row = found.get(name) ?? { unit, values: [], shares: [] }
  row.values.push(value)
  if (peak) row.shares.push(value / peak)
  found.set(name, row)
}

/** Lines of a native bench, with the threads and the peak that the line before them names. */
function* linesOf(bench) {
  let threads = 0
  let peak = 0
  for (const line of execFileSync(path.join(benches, bench), ['0.05'], { encoding: 'utf8' }).split('\n')) {
    const head = /(\d+) threads?, .*peak ([\d.]+) GFLOP/.exec(line)
    if (head) [threads, peak] = [Number(head[1]), Number(head[2])]
    else yield { line, threads, peak }
  }
}

const products = { NT: 'forward', NN: 'input gradient', TN: 'weight gradient' }
const parts = {
  gemm_bench() {
    for (const { line, threads, peak } of linesOf('gemm_bench')) {
      const shape = /^ *(\d+) x +(\d+) x +(\d+)/.exec(line)
      for (const [, form, rate] of line.matchAll(/(NT|NN|TN) +([\d.]+)/g))
        keep(`${shape.slice(1).join(' × ')}, ${products[form]}, ${threads} threads`, Number(rate), 'GFLOP/s', peak)
    }
  },
  maxsim_bench() {
    for (const { line, peak } of linesOf('maxsim_bench')) {
      const row = /^\S+ +(\S.*?\S) {2,}.* ([\d.]+) GFLOP\/s/.exec(line)
      if (row) keep(`maxsim ${row[1]}`, Number(row[2]), 'GFLOP/s', peak)
    }
  },
  encoder_bench() {
    let name = ''
    for (const { line, peak } of linesOf('encoder_bench')) {
      const row = /^(.*?) +[\d.]+ ms +([\d.]+) (G\S+)/.exec(line)
      if (!row) continue
      const isBackward = row[1].trim() === 'backward'
      if (!isBackward) name = row[1]
      keep(isBackward ? `${name}, backward` : name, Number(row[2]), row[3], row[3] === 'GFLOP/s' ? peak : 0)
    }
  },
  steps() {
    for (const [shape, mode] of [
      ['ettin-17m', 'kept'],
      ['ettin-17m', 'encode'],
      ['nano', 'kept'],
    ]) {
      const args = ['dist/cli/main.js', 'bench', 'step', shape, '--mode', mode, '--lengths', 'bench/peers/lengths.json']
      const report = JSON.parse(execFileSync(process.execPath, [...args, '--json'], { encoding: 'utf8' }))
      const { lateforge, node, processor, isa, threads, tokensPerSecond, utilization } = report
      machine = { lateforge, node, processor, isa, threads }
      keep(`step ${shape}, ${mode}`, tokensPerSecond, 'tokens/s', tokensPerSecond / utilization)
    }
  },
}

for (let round = 0; round < Number(rounds); round++) for (const part of Object.values(parts)) part()
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1]
const rows = [...found].map(([name, { unit, values, shares }]) => ({
  ...{ name, unit, median: median(values), least: Math.min(...values), most: Math.max(...values) },
  ...(shares.length > 0 && { share: median(shares), leastShare: Math.min(...shares), mostShare: Math.max(...shares) }),
}))
const percent = (share) => `${(100 * share).toFixed(0)} %`
for (const { name, unit, median, least, most, share, leastShare, mostShare } of rows)
  console.log(
    `| ${name} | ${median.toPrecision(4)} ${unit} (${least.toPrecision(3)}-${most.toPrecision(3)}) | ` +
      `${share === undefined ? '' : `${percent(share)} (${percent(leastShare)}-${percent(mostShare)})`} |`,
  )
const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim()
writeFileSync(
  out,
  `${JSON.stringify({ machine, commit, date: new Date().toISOString().slice(0, 10), rows }, null, 1)}\n`,
)
