/** What `checkRun` and `lateforge check` say of a run, against numbers made by hand. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
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
      compared: { own: 1, others: 22 },
      // Two queries, two positives, four pairs, of which the first is new. Alike: 636 pairs of queries, 480 of positives,
      // 408 of both.
      repeats: {
        ...{ rows: 36, queries: 38, positives: 38, falseNegatives: 0 },
        pairsInBatch: ((12 * 11) / (40 * 39)) * 708,
      },
      scores: false,
    },
  ])
  // [CLS] [Q] … [SEP]: a query of 6 words has 9 tokens, of 8; a document of 20 words has 23, of 16
  t.same(one!.sources[0]!.lengths, {
    rows: 40,
    queries: {
      ...{ texts: 40, cut: 4, lost: 4 / (36 * 5 + 4 * 9), limit: 8, mean: (36 * 5 + 4 * 9) / 40 },
      ...{ median: 5, p90: 5, p99: 9, longest: 9 },
    },
    documents: {
      ...{ texts: 80, cut: 10, lost: 70 / (30 * 7 + 10 * 23 + 40 * 4), limit: 16 },
      ...{ mean: (30 * 7 + 10 * 23 + 40 * 4) / 80, median: 4, p90: 23, p99: 23, longest: 23 },
    },
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

t.test('what repeats, and what leaks', async (t) => {
  const dir = folder(t)
  const rows = [
    { query: 'w1 w2', positive: 'w3 w4', negatives: ['w5', 'w6'] },
    { query: ' w1  w2', positive: 'w3\tw4 ', negatives: ['w7', 'w3 w4'] }, // the row before, and its positive as a negative
    { query: 'w1 w2', positive: 'caf\u00e9', negatives: ['w5', 'cafe\u0301'] },
    { query: 'w8', positive: 'w3 w4', negatives: ['w5', 'w6'] },
    { query: 'W8', positive: 'w9', negatives: ['w5', 'w6'] },
  ]
  const file = path.join(dir, 'rows.jsonl')
  writeFileSync(file, rows.map((row) => JSON.stringify(row)).join('\n'))
  await saveTinyModel(path.join(dir, 'base'))
  const collection = {
    ...{ name: 'judged', split: 'test' },
    documents: { ids: ['a', 'b', 'c'], texts: ['w9', 'w3  w4', 'w5'] },
    queries: { ids: ['1', '2', '3'], texts: ['W8 ', 'w7', 'w1 w2'] },
    qrels: new Map([
      ['1', new Map(Object.entries({ a: 1, b: 0 }))],
      ['2', new Map(Object.entries({ c: 2 }))],
      ['3', new Map(Object.entries({ c: 1, gone: 1 }))],
    ]),
  }
  const data = { ...phase, data: file, batch: 3, epochs: 1 }
  const run = tinyRun(dir, path.join(dir, 'base'), 'out', [data, { ...data, name: 'two' }])
  const { phases, warnings } = await checkRun(run, { collections: [collection] })
  const repeats = { rows: 1, queries: 2, positives: 2, falseNegatives: 2 }
  // Of ten pairs of rows three share a query, three a positive, one both; a batch has three pairs of rows.
  t.match(phases[0]!.sources[0]!.repeats, { ...repeats, pairsInBatch: (3 / 10) * 5 })
  const leak = {
    ...{ collection: 'judged', split: 'test' },
    queries: { of: 3, found: 2 },
    documents: { of: 2, found: 1 },
    pairs: { of: 3, found: 1 },
    first: { source: 'rows', row: 1, query: 'w1 w2' },
  }
  t.same(phases[0]!.leaks, [leak])
  t.same(phases[1]!.leaks, [leak], 'each phase looks anew')
  const said = warnings.filter(({ code }) => code === 'leak' || code === 'false-negatives')
  t.match(said, [
    { code: 'false-negatives', message: /^phase "one", source "rows": 2 negatives are the positive of their own row$/ },
    { code: 'leak', message: /^phase "one": 2 of 3 queries of judged, test, .*"rows", row 1/ },
    { code: 'false-negatives' },
    { code: 'leak' },
  ])
  t.equal(said.length, 4)
  const without = await checkRun(run)
  t.equal(without.phases[0]!.leaks, null)
  t.notOk(without.warnings.some(({ code }) => code === 'leak'))
})

t.test('steps that are tried', async (t) => {
  const dir = folder(t)
  await saveTinyModel(path.join(dir, 'base'))
  const phases = threePhases(dir, 40).map((phase) => ({ ...phase, warmup: 0.2, scheduleSteps: 100 }))
  const config = tinyRun(dir, path.join(dir, 'base'), 'out', phases)
  const seen: string[] = []
  const { phases: tried } = await checkRun(config, {
    steps: 2,
    onProgress: (event) => event.type === 'step' && seen.push(`${event.phase} ${event.step}/${event.steps}`),
  })
  t.same(
    seen,
    ['one', 'two', 'three'].flatMap((name) => [`${name} 1/1`, `${name} 1/3`, `${name} 2/3`, `${name} 3/3`]),
  )
  const workspaces = 2 ** 18 * native().cpuInfo().threads
  for (const { name, memory, trial } of tried) {
    const { steps, secondsPerStep, seconds, tokensPerSecond } = trial!
    t.same([steps, seconds], [2, 40 * secondsPerStep])
    t.ok(tokensPerSecond > 0 && secondsPerStep > 0)
    const { worst, usual } = trial!.memory
    t.ok(usual <= worst + workspaces, `${name}: ${usual} of ${worst}`)
    const said = memory!.worst.bytes
    t.ok(worst > 0.7 * said && worst < 1.3 * said + workspaces, `${name}: ${worst} of ${said}`)
  }
  t.notOk(existsSync(path.join(dir, 'out')))
  t.notOk(existsSync(path.join(dir, 'cache')))
  const untried = await checkRun(config)
  t.equal(untried.phases[0]!.trial, null)
  const refused = await checkRun({ ...config, phases: [{ ...phases[0]!, batch: 100 }] }, { steps: 2 })
  t.same([refused.ok, refused.phases[0]!.trial], [false, null], 'a run with faults is not tried')
  const model = await tinyModel()
  await t.rejects(checkRun({ ...config, model }, { steps: 1 }), {
    code: 'ERR_CONFIG',
    message: /would train the model/,
  })
  model.dispose()
  const stop = new AbortController()
  const stopped = checkRun(config, { steps: 50, signal: stop.signal, onProgress: () => stop.abort() })
  await t.rejects(stopped, { code: 'ERR_ABORTED' })
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
    /^ {2}rows {4}documents +40 +80 +7\.5 +4 +23 +23 +23 +16 +12\.5 % +11\.7 %$/m,
    /^ {4}query {5}\[CLS\] \[Q\] w1 w2 \[SEP\] \[MASK\] × 3$/m,
    /^ {4}positive {2}\[CLS\] \[D\] w3 ~,~ w4 w5 \[SEP\]$/m,
    /^ {4}positive {2}\[CLS\] \[D\] w0 .* \[SEP\] … cut at 12$/m,
  ])
    t.match(shown.stdout, line)
  t.match(shown.stdout, /^ {2}rows +36 +38 +38 +0 +25\.42$/m, 'what repeats')
  t.match(shown.stdout, /own negatives {2}of the batch\n {2}rows .* 1\.0 +14\.0$/m)
  const judged = path.join(dir, 'judged')
  mkdirSync(path.join(judged, 'qrels'), { recursive: true })
  writeFileSync(path.join(judged, 'corpus.jsonl'), '{"_id":"d","title":"","text":"w3, w4 w5"}\n')
  writeFileSync(path.join(judged, 'queries.jsonl'), '{"_id":"q","text":"w1 w2"}\n')
  writeFileSync(path.join(judged, 'qrels/test.tsv'), 'query-id\tcorpus-id\tscore\nq\td\t1\n')
  const tried = check('--test', 'judged', '--steps', '1')
  t.equal(tried.status, 0)
  t.match(tried.stderr, /^warn {2}phase "one": 1 of 1 queries of judged, test, are queries of the data/m)
  t.match(tried.stdout, /^ {2}judged, test {2}1 of 1 +1 of 1 +1 of 1 +rows, row 1$/m)
  t.match(tried.stdout, /^ {2}measured: .* GiB at the peak, .* tokens\/s, .* a step, .* for the phase$/m)
  t.match(tried.stdout, /^about .* for all steps; evaluations and checkpoints not counted$/m)
  t.match(check('--split', 'dev'), { status: 2, stderr: /--split has no effect without --test/ })
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
