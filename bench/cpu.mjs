// What the CPU kernels and training steps reach of the multiply-add peak: the native benches and `lateforge bench step`, some
// rounds in turn, medians and the spread. docs/performance.md has the results. LATEFORGE_ISA and LATEFORGE_MATMUL choose.
//
// usage: node bench/cpu.mjs BENCHES OUT.json [ROUNDS]      after npm run setup
//   BENCHES  a folder where `cmake -S . -B BENCHES -DLF_BENCH=ON && cmake --build BENCHES -j2` was done
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import path from 'node:path'

const [benches, out, rounds = '3'] = process.argv.slice(2)
const found = new Map()
/** The largest that was seen, by threads: other work on the machine only lowers it. */
const peaks = new Map()
let machine
/** @param threads whose peak the value is a share of; 0: of none @param share where the value is no rate of operations */
const keep = (name, value, unit, threads = 0, share = undefined) => {
  const row = found.get(name) ?? { unit, threads, values: [], shares: [] }
  row.values.push(value)
  if (share !== undefined) row.shares.push(share)
  found.set(name, row)
}

/** Lines of a native bench, with the threads that the line before them names. */
function* linesOf(bench) {
  let threads = 0
  for (const line of execFileSync(path.join(benches, bench), ['0.05'], { encoding: 'utf8' }).split('\n')) {
    const head = /(\d+) threads?, .*peak ([\d.]+) GFLOP/.exec(line)
    if (head) {
      threads = Number(head[1])
      peaks.set(threads, Math.max(peaks.get(threads) ?? 0, Number(head[2])))
    } else yield { line, threads }
  }
}

const products = { NT: 'forward', NN: 'input gradient', TN: 'weight gradient' }
const parts = {
  gemm_bench() {
    for (const { line, threads } of linesOf('gemm_bench')) {
      const shape = /^ *(\d+) x +(\d+) x +(\d+)/.exec(line)
      for (const [, form, rate] of line.matchAll(/(NT|NN|TN) +([\d.]+)/g))
        keep(
          `${shape.slice(1).join(' × ')}, ${products[form]}, ${threads} ${threads > 1 ? 'threads' : 'thread'}`,
          Number(rate),
          'GFLOP/s',
          threads,
        )
    }
  },
  maxsim_bench() {
    for (const { line, threads } of linesOf('maxsim_bench')) {
      const row = /^\S+ +(\S.*?\S) {2,}.* ([\d.]+) GFLOP\/s/.exec(line)
      if (row) keep(`maxsim ${row[1]}`, Number(row[2]), 'GFLOP/s', threads)
    }
  },
  encoder_bench() {
    let name = ''
    for (const { line, threads } of linesOf('encoder_bench')) {
      const row = /^(.*?) +[\d.]+ ms +([\d.]+) (G\S+)/.exec(line)
      if (!row) continue
      const isBackward = row[1].trim() === 'backward'
      if (!isBackward) name = row[1]
      keep(isBackward ? `${name}, backward` : name, Number(row[2]), row[3], row[3] === 'GFLOP/s' ? threads : 0)
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
      const { lateforge, node, processor, isa, threads, matmul, tokensPerSecond, utilization } = report
      machine = { lateforge, node, processor, isa, threads, matmul }
      keep(`step ${shape}, ${mode}`, tokensPerSecond, 'tokens/s', 0, utilization)
    }
  },
}

for (let round = 0; round < Number(rounds); round++) for (const part of Object.values(parts)) part()
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1]
const spread = (values) => ({ median: median(values), least: Math.min(...values), most: Math.max(...values) })
const rows = [...found].map(([name, { unit, threads, values, shares }]) => {
  const ofPeak = threads > 0 ? values.map((value) => value / peaks.get(threads)) : shares
  return { name, unit, ...spread(values), ofPeak: ofPeak.length > 0 ? spread(ofPeak) : null }
})
const percent = (share) => `${(100 * share).toFixed(0)} %`
for (const { name, unit, median, least, most, ofPeak } of rows) {
  const share = ofPeak && `${percent(ofPeak.median)} (${percent(ofPeak.least)}-${percent(ofPeak.most)})`
  const rounded = [median, least, most].map((value) => (value > 1000 ? value.toFixed(0) : value.toPrecision(3)))
  console.log(`| ${name} | ${rounded[0]} ${unit} (${rounded[1]}-${rounded[2]}) | ${share ?? ''} |`)
}
const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim()
writeFileSync(
  out,
  `${JSON.stringify({ machine, peaks: Object.fromEntries(peaks), commit, date: new Date().toISOString().slice(0, 10), rows }, null, 1)}\n`,
)
