/** What `checkRun` and `lateforge check` say of a run, against numbers made by hand. */
import { existsSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { native } from '../../lib/native.js'
import { Device } from '../../lib/tensor/device.js'
import type { PhaseConfig } from '../../lib/train/config/types.js'
import { checkRun } from '../../lib/train/index.js'
import { train } from '../../lib/train/loop/run.js'
import { lateforge } from '../command.js'
import { folder, saveTinyModel, threePhases, tinyModel, tinyRun } from './tiny.js'

/** 40 rows; queries of 2 or 6 words, documents of 3 words and a comma, or of 20 words. */
function writeRows(file: string): void {
  const words = (n: number) => Array.from({ length: n }, (_, i) => `w${i}`).join(' ')
  const rows = Array.from({ length: 40 }, (_, i) => ({
    query: i % 10 === 9 ? words(6) : 'w1 w2',
    positive: i % 4 === 3 ? words(20) : 'w3, w4 w5',
    negative: 'w6',
  }))
  writeFileSync(file, rows.map((row) => JSON.stringify(row)).join('\n'))
}

const phase: PhaseConfig = { name: 'one', loss: 'contrastive', data: '', batch: 12, epochs: 2, learningRate: 1e-3 }

t.test('lengths, cuts, samples, steps', async (t) => {
  const dir = folder(t)
  const file = path.join(dir, 'rows.jsonl')
  writeRows(file)
  const model = await tinyModel()
  const prompts = { query: 'w9 ' }
  const phases = [
    { ...phase, data: file },
    { ...phase, name: 'two', data: file, prompts, documentLength: 12, negatives: 0 },
  ]
  const {
    ok,
    faults,
    warnings,
    out,
    phases: found,
  } = await checkRun({
    ...tinyRun(dir, model, 'out', phases),
    acceptRecipeChange: ['queryPrompt'],
  })
  t.same([ok, faults, out.exists, out.lastCheckpoint], [true, [], false, null])
  t.match(warnings, [{ code: 'unused-documents', message: /phase "two".* leaves out 40 of 80 documents/ }])
  t.equal(warnings.length, 1)
  t.notOk(existsSync(path.join(dir, 'out')))
  t.notOk(existsSync(path.join(dir, 'cache')), 'no shards either')
  const [one, two] = found
  t.match(one, { name: 'one', rows: 40, batch: 12, stepsPerEpoch: 3, steps: 6, recipe: [] })
  t.match(one!.sources, [
    {
      name: 'rows',
      rows: 40,
      batches: 3,
      documents: { fewest: 2, most: 2, used: 80, unused: 0, shortRows: 0 },
      scores: false,
    },
  ])
  // [CLS] [Q] … [SEP]: a query of 6 words has 9 tokens, of 8; a document of 20 words has 23, of 16
  t.same(one!.sources[0]!.lengths, {
    rows: 40,
    queries: { texts: 40, cut: 4, limit: 8, mean: (36 * 5 + 4 * 8) / 40, median: 5, longest: 8 },
    documents: { texts: 80, cut: 10, limit: 16, mean: (30 * 7 + 10 * 16 + 40 * 4) / 80, median: 7, longest: 16 },
  })
  const mask = '[MASK]'
  t.same(one!.samples[0], {
    source: 'rows',
    row: 1,
    query: { tokens: ['[CLS]', '[Q] ', 'w1', 'w2', '[SEP]'], skipped: [], cut: false, expansion: 3, mask },
    positive: {
      tokens: ['[CLS]', '[D] ', 'w3', ',', 'w4', 'w5', '[SEP]'],
      skipped: [3],
      cut: false,
      expansion: 0,
      mask,
    },
    negatives: [{ tokens: ['[CLS]', '[D] ', 'w6', '[SEP]'], skipped: [], cut: false, expansion: 0, mask }],
  })
  t.same(
    one!.samples.map(({ row }) => row),
    [1, 20, 40],
    'spread over the source',
  )
  t.match(one!.samples[2], { query: { cut: true, expansion: 0 }, positive: { cut: true } })

  t.same(two!.recipe, [
    { field: 'queryPrompt', model: '', phase: 'w9 ' },
    { field: 'documentLength', model: 16, phase: 12 },
  ])
  t.same(two!.samples[0]!.query.tokens, ['[CLS]', '[Q] ', 'w9', 'w1', 'w2', '[SEP]'], 'with its prompt')
  t.same(two!.samples[0]!.negatives, [])
  t.match(two!.sources[0]!.documents, { used: 40, unused: 40, shortRows: 0 })

  const few = await checkRun(tinyRun(dir, model, 'out', phases), { rows: 10 })
  t.match(
    few.phases[0]!.sources[0],
    { rows: 40, lengths: { rows: 10, queries: { texts: 10 } } },
    'all read, 10 looked at',
  )
  t.equal(model.recipe.queryPrompt, '', 'the model is as it was')
  await t.rejects(checkRun({ ...tinyRun(dir, model, 'out', phases), device: 'gpu' } as never), { code: 'ERR_CONFIG' })
  model.dispose()
})

t.test('on the command line', async (t) => {
  const dir = folder(t)
  writeRows(path.join(dir, 'rows.jsonl'))
  await saveTinyModel(path.join(dir, 'base'))
  writeFileSync(
    path.join(dir, 'run.yaml'),
    `model: base
out: out
phases:
  - { name: one, loss: contrastive, data: rows.jsonl, batch: 8, learningRate: 1e-3 }
  - { name: two, loss: contrastive, data: rows.jsonl, batch: 8, learningRate: 1e-3, documentLength: 12 }
`,
  )
  const check = (...args: string[]) => lateforge(['check', 'run.yaml', ...args], dir)
  const shown = check()
  t.same([shown.status, shown.stderr], [0, ''])
  for (const line of [
    /^out {4}.*out is new; .* GiB free$/m,
    /^one: 5 steps of 8 \(an epoch has 5\), 40 rows$/m,
    /^ {2}documentLength: 12, the model has 16$/m,
    /^ {2}memory: .* GiB at the peak of a step, .* for the longest rows, of .*$/m,
    /^ {2}rows {4}documents +40 +80 +6\.6 +7 +16 +16 +12\.5 %$/m,
    /^ {4}query {5}\[CLS\] \[Q\] w1 w2 \[SEP\] \[MASK\] × 3$/m,
    /^ {4}positive {2}\[CLS\] \[D\] w3 ~,~ w4 w5 \[SEP\]$/m,
    /^ {4}positive {2}\[CLS\] \[D\] w0 .* \[SEP\] … cut at 12$/m,
  ])
    t.match(shown.stdout, line)
  t.match(JSON.parse(check('--json').stdout), { ok: true, phases: [{ name: 'one' }, { name: 'two' }] })
  const refused = check('--json', 'phases.two.batch=100', 'phases.two.evaluate={metric: ndgc, data: nowhere}')
  t.equal(refused.status, 2)
  t.match(JSON.parse(refused.stdout), {
    ok: false,
    faults: [
      { path: 'phases[1].batch (phase "two")', code: 'ERR_DATA', where: 'override "phases.two.batch=100"' },
      { path: 'phases[1].evaluate.metric (phase "two")' },
    ],
  })
  t.match(refused.stderr, /^error ERR_CONFIG {2}2 faults/)
  t.notOk(existsSync(path.join(dir, 'out')))
  t.equal(check('phases.two.batch=100').status, 3, 'faults of one kind have its code')
})

t.test('memory: what is said before and what is there', async (t) => {
  const dir = folder(t)
  for (const [activationMemory, microBatchTokens] of [
    [0, 64],
    [300_000, 64],
    [1e9, 512],
  ] as const) {
    const model = await tinyModel()
    const [, two] = threePhases(dir, 4, { batch: 48 })
    const config = { ...tinyRun(dir, model, `out-${activationMemory}`, [two!]), activationMemory, microBatchTokens }
    const { usual, worst } = (await checkRun(config)).phases[0]!.memory!
    const device = Device.open()
    await device.synchronize()
    device.resetPeak()
    await train(config).result
    const { peak } = device.memory()
    t.ok(usual.bytes <= worst.bytes)
    // Each thread has workspaces of its own, which only beside a model as small as this one are seen.
    const workspaces = 2 ** 18 * native().cpuInfo().threads
    const most = 1.3 * worst.bytes + workspaces
    t.ok(peak > 0.7 * usual.bytes && peak < most, `${peak} of ${usual.bytes} to ${worst.bytes}`)
    model.dispose()
    await device.synchronize()
  }
})

t.test('memory where rows have few documents or many: the largest rows together', async (t) => {
  const dir = folder(t)
  const rows = Array.from({ length: 60 }, (_, i) => ({
    query: `w${i} w1`,
    documents: Array.from({ length: i % 5 === 4 ? 60 : 1 }, (_, j) => `w${j} w2 w3 w4 w5 w6`),
  }))
  const write = (name: string, some: object[]): string => {
    writeFileSync(path.join(dir, name), some.map((row) => JSON.stringify(row)).join('\n'))
    return path.join(dir, name)
  }
  const all = write('all.jsonl', rows)
  const largest = write(
    'largest.jsonl',
    rows.filter(({ documents }) => documents.length > 1),
  )
  const model = await tinyModel()
  const run = (data: string) => tinyRun(dir, model, `out-${path.basename(data)}`, [{ ...phase, data, epochs: 1 }])
  const { memory, sources } = (await checkRun(run(all))).phases[0]!
  t.match(sources[0]!.documents, { fewest: 1, most: 60, used: 12 * 60 + 48, unused: 0, shortRows: 0 })
  const { usual, worst } = memory!
  t.ok(usual.embeddings < 0.4 * worst.embeddings && usual.loss < 0.4 * worst.loss)
  const device = Device.open()
  await device.synchronize()
  device.resetPeak()
  await train(run(largest)).result
  const { peak } = device.memory()
  t.ok(peak > 0.7 * worst.bytes && peak < 1.3 * worst.bytes, `${peak} of ${worst.bytes}`)
  t.ok(peak > 1.3 * usual.bytes, `${peak}, usual rows need ${usual.bytes}`)
  model.dispose()
})
