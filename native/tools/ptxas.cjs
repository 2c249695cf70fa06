// What ptxas said about every kernel: registers, block size, spills. A kernel that spills, or whose block asks for more
// registers than a multiprocessor has, is a problem. Usage: node native/tools/ptxas.cjs [build folder] --write
// writes bench/results/ptxas.json.
'use strict'
const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')

const root = path.resolve(__dirname, '../..')
const registersOfMultiprocessor = 65536

/** Kernels that are known to spill, with the reason why that is accepted: [part of the name, reason]. */
const accepted = []

/** Names as C++ writes them; what a file keeps to itself without its hash. */
function demangle(names) {
  const result = spawnSync('c++filt', { input: names.join('\n'), encoding: 'utf8', maxBuffer: 1 << 28 })
  const readable = result.status === 0 ? result.stdout.trimEnd().split('\n') : names
  return new Map(
    names.map((name, i) => [
      name,
      readable[i]
        .replace(/^void lateforge::cuda::entry<(.*)>\(.*$/, '$1')
        .replaceAll('(anonymous namespace)::', '')
        .replaceAll('lateforge::', '')
        .replaceAll('cuda::', '')
        .replace(/\((?:Activation|long|int|Layout)\)/g, '')
        .trim(),
    ]),
  )
}

/** [{ file, kernel, arch, registers, threads, spills, stack }] of the reports in a build folder. */
function readReports(folder) {
  const rows = []
  for (const report of fs
    .readdirSync(folder, { recursive: true })
    .filter((f) => f.endsWith('.o.ptxas'))
    .sort()) {
    const found = []
    const threads = new Map()
    let [row, entry] = [undefined, undefined]
    for (const line of fs.readFileSync(path.join(folder, report), 'utf8').split('\n')) {
      let match = /Compiling entry function '([^']+)' for '([^']+)'/.exec(line)
      if (match)
        found.push((row = { file: `${path.basename(report, '.o.ptxas')}.cu`, kernel: match[1], arch: match[2] }))
      match = /(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads/.exec(line)
      if (match && row) Object.assign(row, { stack: Number(match[1]), spills: Number(match[2]) + Number(match[3]) })
      match = /Used (\d+) registers/.exec(line)
      if (match && row) row.registers = Number(match[1])
      match = /^\.entry (\S+)/.exec(line)
      if (match) entry = match[1]
      match = /^\.maxntid (\d+)/.exec(line)
      if (match && entry) threads.set(entry, Number(match[1]))
    }
    const names = demangle([...new Set(found.map((r) => r.kernel))])
    for (const r of found) rows.push({ ...r, threads: threads.get(r.kernel) ?? 0, kernel: names.get(r.kernel) })
  }
  return rows
}

function checkKernels(folder) {
  const rows = readReports(folder)
  const problems = rows.flatMap(({ file, kernel, arch, registers, threads, spills }) => {
    const where = `${file}, ${arch}, ${kernel}`
    if (threads === 0) return [`${where}: no launch bounds`]
    if (registers * threads > registersOfMultiprocessor)
      return [`${where}: ${registers} registers x ${threads} threads are more than ${registersOfMultiprocessor}`]
    if (spills > 0 && !accepted.some(([part]) => kernel.includes(part)))
      return [`${where}: ${spills} bytes are spilled`]
    return []
  })
  return { kernels: rows.length, problems, rows }
}

module.exports = { checkKernels }

if (require.main === module) {
  const folder = path.resolve(process.argv[2]?.startsWith('--') ? 'build/cuda' : (process.argv[2] ?? 'build/cuda'))
  const { rows, problems } = checkKernels(folder)
  for (const problem of problems) process.stdout.write(`${problem}\n`)
  if (process.argv.includes('--write')) {
    const target = path.join(root, 'bench/results/ptxas.json')
    fs.mkdirSync(path.dirname(target), { recursive: true })
    const lines = rows.map((r) => JSON.stringify(r)).sort()
    fs.writeFileSync(target, `[\n${lines.join(',\n')}\n]\n`)
    process.stdout.write(`${rows.length} kernels in ${path.relative(root, target)}\n`)
  }
  process.exit(problems.length ? 1 : 0)
}
