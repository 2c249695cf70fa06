import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { lateforge } from '../command.js'

const bench = (...args: string[]) => lateforge(['bench', 'maxsim', ...args])

t.test('a table, a report, and one compared with it', async (t) => {
  const table = bench('tiny', '--seconds', '0.01', '--dim', '16')
  t.match(table, { status: 0, stderr: '' })
  t.match(table.stdout, /^shape .*\ntiny +8 x 20 .* %.*\ncpu: .*peak \d+ GFLOP\/s.*dim 16, float32\n/)
  const json = bench('tiny', '--seconds', '0.01', '--threads', '1', '--json')
  t.match(json, { status: 0, stderr: '' })
  const report = JSON.parse(json.stdout)
  t.match(report, { device: 'cpu', threads: 1, results: [{ name: 'tiny', dim: 128, forward: { median: Number } }] })
  const file = path.join(t.testdir({}), 'before.json')
  report.results[0].forward.median *= 1000
  writeFileSync(file, JSON.stringify(report))
  const compared = bench('tiny', '--seconds', '0.01', '--compare', file)
  const ratio = /x([\d.]+)\n/.exec(compared.stdout)
  t.ok(Number(ratio?.[1]) > 1, `far faster than the report that was changed: ${ratio?.[1]}`)
})

t.test('a step, in words and as a report', async (t) => {
  const step = (...args: string[]) => lateforge(['bench', 'step', 'tiny', '--steps', '1', ...args])
  t.match(step('--batch', '2'), {
    status: 0,
    stderr: '',
    stdout: /^tiny, kept, batch 2, float32 on cpu\ntokens\/s +\d+/,
  })
  const file = path.join(t.testdir({}), 'lengths.json')
  writeFileSync(file, JSON.stringify({ steps: [{ queries: [4], documents: [9] }] }))
  t.match(JSON.parse(step('--json', '--mode', 'encode', '--lengths', file).stdout), { mode: 'encode', batch: 1 })
  writeFileSync(file, JSON.stringify({ steps: [{ queries: [4, 0], documents: [9, 9] }] }))
  t.match(step('--lengths', file), { status: 3, stderr: /ERR_DATA.*holds no lengths/ })
  const trace = `${file}.trace`
  t.match(step('--trace', trace), {
    status: 0,
    stdout: /traced step .* ms: op, calls, ms, share\n[\s\S]*linear +\d+ [\s\S]*no op/,
  })
  const { traceEvents } = JSON.parse(readFileSync(trace, 'utf8'))
  t.ok(traceEvents.length > 20)
  t.ok(traceEvents.every(({ ts, dur }: { ts: number; dur: number }) => ts > 0 && dur > 0))
  const attention = traceEvents.find(({ name }: { name: string }) => name === 'attention')
  t.match(attention.args.operands, /qkv float32 \[\d+, 96\]/)
  t.match(step('--precision', 'bfloat16'), { status: 5, stderr: /ERR_UNSUPPORTED/ })
})

t.test('the list, and bad input', async (t) => {
  t.match(bench('--list'), { status: 0, stdout: /rerank-1k +1 x 1000/ })
  t.match(JSON.parse(bench('--list', '--json').stdout)[0], { name: 'batch-64', layout: 'all' })
  t.match(bench('rerank'), { status: 2, stdout: '', stderr: /^error ERR_ARGUMENT {2}no shape "rerank"/ })
  t.match(bench('tiny', '--device', 'abacus'), { status: 5, stderr: /ERR_DEVICE/ })
  t.match(bench('tiny', '--seconds', '0'), { status: 2, stderr: /number above 0/ })
  t.match(bench('tiny', '--dim', '12'), { status: 2, stderr: /multiple of 8/ })
  t.match(bench('tiny', '--compare', 'nowhere.json'), { status: 3, stderr: /^error ERR_DATA/ })
  t.match(bench('tiny', '--compare', 'package.json'), { status: 3, stderr: /is no report/ })
})

t.test('InfoNCE, and 16 bits', async (t) => {
  const run = (...args: string[]) => lateforge(['bench', ...args])
  const table = run('infonce', 'loss-tiny', '--seconds', '0.01', '--dim', '16')
  t.match(table, { status: 0, stderr: '' })
  t.match(table.stdout, /^shape .*beyond MB.*\nloss-tiny +8 x 20 /)
  const json = run('infonce', 'loss-tiny', '--seconds', '0.01', '--block-queries', '3', '--json')
  const report = JSON.parse(json.stdout)
  t.match(report, { what: 'infonce', results: [{ name: 'loss-tiny', blockQueries: 3, extraBytes: Number }] })
  const file = path.join(t.testdir({}), 'before.json')
  writeFileSync(file, json.stdout)
  t.match(run('infonce', 'loss-tiny', '--seconds', '0.01', '--compare', file).stdout, /x[\d.]+\n/)
  t.match(run('infonce', '--list').stdout, /loss-16384 +16384 x 16384/)
  t.match(run('maxsim', 'tiny', '--dtype', 'bfloat16'), { status: 5, stderr: /ERR_DTYPE .*cpu does not compute/ })
  const emulated = run(
    'maxsim',
    'tiny',
    '--dtype',
    'float16',
    '--dim',
    '8',
    '--device',
    'cuda-host',
    '--seconds',
    '0.01',
  )
  t.match(emulated, {
    status: 0,
    stdout: /flushed ms.*\ntiny .*cuda-host: .*dim 8, float16\nMedians by the device's clock/s,
  })
})
