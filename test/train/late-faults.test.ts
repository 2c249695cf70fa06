/** Faults of the last phase are found before the first one trains, all of them at once, and nothing is written. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { Device } from '../../lib/tensor/device.js'
import type { PhaseConfig, RunConfig } from '../../lib/train/config/types.js'
import type { TrainEvent } from '../../lib/train/events.js'
import { checkRun } from '../../lib/train/loop/check-run.js'
import { type TrainOptions, train } from '../../lib/train/loop/run.js'
import { folder, saveTinyModel, tinyModel, tinyRun, writeData } from './tiny.js'

interface Outcome {
  code?: string
  message: string
  details: { issues?: { path: string; code: string }[] }
  events: TrainEvent[]
}

/** Runs what must be refused. */
async function refusal(config: RunConfig, options: TrainOptions = {}): Promise<Outcome> {
  const run = train(config, options)
  const events: TrainEvent[] = []
  const read = (async () => {
    for await (const event of run) events.push(event)
  })().catch(() => {})
  const error = await run.result.then(
    () => ({ message: 'it was trained', details: {} }),
    (reason) => reason,
  )
  await read
  return Object.assign(error, { events })
}

function good(data: string, name = 'one'): PhaseConfig {
  return { name, loss: 'contrastive', data, batch: 8, steps: 2, learningRate: 1e-3 }
}

t.test('a fault of phase 2 of 2', async (t) => {
  const dir = folder(t)
  const { pairs, triplets, scored } = writeData(dir)
  const write = (name: string, text: string): string => {
    writeFileSync(path.join(dir, name), text)
    return path.join(dir, name)
  }
  const row = { query: 'w1', documents: ['w1', 'w2'], scores: [1, 0] }
  const bad = write('bad.jsonl', `${JSON.stringify(row)}\n\n{"query": "w1"}\n`)
  const short = write('short.jsonl', `${JSON.stringify({ query: 'w1', documents: ['w1'], scores: [1] })}\n`.repeat(9))
  const mixed = write('mixed.jsonl', `${JSON.stringify(row)}\n{"query":"w1","document":"w2"}\n`)
  const cases: [what: string, phase: Partial<PhaseConfig>, key: string, code: string, words: RegExp][] = [
    ['no file', { data: path.join(dir, 'none.jsonl') }, 'data', 'ERR_DATA', /none\.jsonl/],
    ['a row that is none', { data: bad }, 'data', 'ERR_DATA', /bad\.jsonl:3: no column is the positive/],
    ['no scores', { loss: 'distillation' }, 'data', 'ERR_DATA', /"triplets" has no teacher scores/],
    ['scores in some rows', { data: mixed }, 'data', 'ERR_DATA', /"mixed", row 2: .*scores/],
    [
      'one document to distil',
      { loss: 'distillation', data: short },
      'data',
      'ERR_DATA',
      /"short": one document in each of its 9 rows/,
    ],
    ['long documents', { documentLength: 512 }, 'documentLength', 'ERR_RECIPE', /512 tokens.* 64/],
    ['long queries', { queryLength: 65 }, 'queryLength', 'ERR_RECIPE', /65 tokens.* 64/],
    ['no room', { documentLength: 3 }, 'documentLength', 'ERR_RECIPE', /no room for text/],
    [
      'a prompt as long as the text',
      { prompts: { document: 'w1 '.repeat(20) } },
      'prompts.document',
      'ERR_RECIPE',
      /fills/,
    ],
    ['a batch', { batch: 1000 }, 'batch', 'ERR_DATA', /"triplets" has 60 rows, fewer than one batch of 1000/],
    ['a pattern of nothing', { freeze: ['embedings'] }, 'freeze', 'ERR_CONFIG', /"embedings" matches no parameter/],
    ['the same twice', { freeze: ['norm', 'norm'] }, 'freeze', 'ERR_CONFIG', /"norm" .* an earlier pattern left/],
    ['all of it', { freeze: ['.'] }, 'freeze', 'ERR_CONFIG', /nothing to train/],
    ['weights', { sampling: [1, 2] }, 'sampling', 'ERR_ARGUMENT', /one weight for each of the 1 sources/],
    [
      'one name for two',
      { data: [triplets, { name: 'triplets', async *[Symbol.asyncIterator]() {} }] },
      'data',
      'ERR_DATA',
      /named/,
    ],
  ]
  const model = await tinyModel()
  for (const [what, changes, key, code, words] of cases) {
    const phases = [good(pairs), { ...good(triplets, 'two'), ...changes }]
    const found = await refusal(tinyRun(dir, model, 'out', phases))
    t.equal(found.code, code, what)
    t.match(found.message, words, what)
    t.match(found.message, `phases[1].${key} (phase "two")`, what)
    t.same(
      found.events.filter(({ type }) => type !== 'snapshot' && type !== 'progress'),
      [],
      'nothing happened',
    )
    t.notOk(existsSync(path.join(dir, 'out')), 'nothing was written')
  }
  t.same(model.recipe.documentLength, 16, 'the model is what it was')

  const all = [
    { ...good(path.join(dir, 'none.jsonl')), queryLength: 65 },
    { ...good(scored, 'two'), batch: 61, documentLength: 65 },
  ]
  const found = await refusal(tinyRun(dir, model, 'out', all))
  t.equal(found.code, 'ERR_CONFIG', 'faults of several kinds')
  t.same(
    found.details.issues!.map(({ path, code }) => [path, code]),
    [
      ['phases[0].queryLength (phase "one")', 'ERR_RECIPE'],
      ['phases[0].data (phase "one")', 'ERR_DATA'],
      ['phases[1].documentLength (phase "two")', 'ERR_RECIPE'],
      ['phases[1].batch (phase "two")', 'ERR_DATA'],
    ],
    'all of them, in one error',
  )
  const both = await refusal(tinyRun(dir, path.join(dir, 'no-model'), 'out', all))
  t.match(both.message, /^3 faults[\s\S]*\nmodel: .*no-model is no folder/, 'and without a model what does not need it')

  const device = Device.open()
  const { limit, bytes } = device.memory()
  device.setMemoryLimit(bytes + 6e6)
  t.teardown(() => device.setMemoryLimit(limit))
  const large = [good(pairs), { ...good(triplets, 'two'), batch: 60 }]
  const memory = await refusal({ ...tinyRun(dir, model, 'out', large), microBatchTokens: 1e6 })
  device.setMemoryLimit(limit)
  t.match(memory, {
    code: 'ERR_OUT_OF_MEMORY',
    message: /phases\[1\]\.batch.*the device has.*To lower it: microBatchTokens/,
  })
  t.equal(memory.details.issues!.length, 1, 'the other phase fits')
  model.dispose()
})

t.test('a folder that the trained model could not replace', async (t) => {
  const dir = folder(t)
  const { pairs } = writeData(dir)
  const model = await tinyModel()
  const target = path.join(dir, 'out/model')
  mkdirSync(target, { recursive: true })
  writeFileSync(path.join(target, 'notes.txt'), 'mine')
  const config = tinyRun(dir, model, 'out', [good(pairs)])
  const found = await refusal(config)
  t.match(found, { code: 'ERR_FORMAT', message: /^out: .*notes\.txt/ })
  t.same(readdirSync(path.join(dir, 'out')), ['model'], 'nothing was written')
  rmSync(path.join(target, 'notes.txt'))
  for (const litter of ['.DS_Store', 'Thumbs.db']) writeFileSync(path.join(target, litter), '')
  await train(config).result
  t.ok(existsSync(path.join(target, 'model.safetensors')), 'what file managers leave is no obstacle')

  const inTheWay = await refusal({ ...config, out: pairs })
  t.match(inTheWay, { code: 'ERR_FILE', message: /^out: ENOTDIR/ })
  mkdirSync(path.join(dir, 'other/config.json'), { recursive: true })
  t.match(await refusal({ ...config, out: path.join(dir, 'other') }), {
    code: 'ERR_FILE',
    message: /config\.json is in the way/,
  })
  model.dispose()
})

t.test('what rows hold and training does not read is said once', async (t) => {
  const dir = folder(t)
  const rows = Array.from({ length: 20 }, (_, i) => ({
    query: `w${i}`,
    positive: `w${i} w1`,
    ...(i === 7 ? {} : { negative: 'w2', negative_1: 'w3' }),
    title: 'w4',
    ...(i < 5 && { negative_3: i === 4 ? null : 'w5' }),
  }))
  const file = path.join(dir, 'ragged.jsonl')
  writeFileSync(file, rows.map((row) => JSON.stringify(row)).join('\n'))
  const model = await tinyModel()
  const run = train(tinyRun(dir, model, 'out', [good(file), { ...good(file, 'two'), negatives: 1 }]))
  const warnings: object[] = []
  for await (const event of run) if (event.type === 'warning') warnings.push({ code: event.code, ...event.details })
  const columns = (phase: string) => [
    { code: 'unused-columns', phase, source: 'ragged', column: 'title', rows: 20 },
    { code: 'missing-negatives', phase, source: 'ragged', missing: 1 },
  ]
  t.same(warnings, [
    ...columns('one'),
    { code: 'short-rows', phase: 'two', source: 'ragged', negatives: 1, rows: 1, fewest: 0, row: 8 },
    { code: 'unused-documents', phase: 'two', source: 'ragged', negatives: 1, documents: 23 },
    ...columns('two'),
  ])
  const drawn = await checkRun(
    tinyRun(dir, model, 'drawn', [
      { ...good(file), sampleNegatives: 2 },
      { ...good(file, 'two'), sampleNegatives: 3 },
    ]),
  )
  t.match(
    drawn.warnings.filter(({ code }) => code === 'short-rows' || code === 'no-effect'),
    [
      { message: /fewer than sampleNegatives: 2 in 1 of 20 rows \(row 8 has 0\)/ },
      { code: 'short-rows', details: { phase: 'two', negatives: 3, rows: 16 } },
      { message: /sampleNegatives: 3 has no effect here: no row has more negatives/ },
    ],
  )
  t.equal(drawn.warnings.length, 7)
  model.dispose()
})

t.test('what dropAbove leaves out is counted', async (t) => {
  const dir = folder(t)
  const { scored, triplets } = writeData(dir) // scores 3, 1, 0 and 0 to 2
  const model = await tinyModel()
  const phase = { ...good(scored), negatives: 2 }
  const found = await checkRun(
    tinyRun(dir, model, 'out', [
      { ...phase, dropAbove: 1 / 3 },
      { ...phase, name: 'two', dropAbove: 0.9 },
    ]),
  )
  const texts = readFileSync(scored, 'utf8').trim().split('\n')
  const high = texts.filter((line) => JSON.parse(line).scores[3] >= 1).length
  const [dropped, ...rest] = found.warnings.filter(({ code }) => code !== 'short-rows')
  t.match(dropped, {
    code: 'dropped-negatives',
    message: /dropAbove: 0\.33+ drops \d+ of 180 negatives, in 60 of 60 rows, of which 0 have none left/,
    details: { phase: 'one', negatives: 60 + high, of: 180, rows: 60, emptied: 0 },
  })
  t.match(rest, [
    { code: 'no-effect', message: /dropAbove: 0.9 has no effect here: no negative scores as high/ },
    { code: 'unused-documents', details: { documents: 60 } },
  ])
  t.match(found.phases[0]!.sources[0]!.documents, { used: 3 * 60 - high, unused: 0, dropped: 60 + high })
  await train(tinyRun(dir, model, 'trained', [{ ...phase, dropAbove: 1 / 3, steps: 2 }])).result
  const refused = await refusal(tinyRun(dir, model, 'refused', [{ ...good(triplets), dropAbove: 0.9 }]))
  t.match(refused, { code: 'ERR_DATA', message: /phases\[0\]\.data.*"triplets" has no scores, by which dropAbove/ })
  model.dispose()
})

t.test('one short row changes its own query and no other: reports A1, A2', async (t) => {
  const dir = folder(t)
  /** 60 rows of 3 documents; row 7 of one where it is short. */
  const write = (name: string, scores: boolean, short: boolean): string => {
    const rows = Array.from({ length: 60 }, (_, i) => {
      const documents = [`w${i} w1`, `w${(i + 7) % 60}`, `w${(i + 9) % 60} w2`].slice(0, short && i === 6 ? 1 : 3)
      const [positive, ...negatives] = documents
      return {
        query: `w${i}`,
        ...(scores ? { documents, scores: documents.map((_, j) => 2 - j) } : { positive, negatives }),
      }
    })
    const file = path.join(dir, `${name}.jsonl`)
    writeFileSync(file, rows.map((row) => JSON.stringify(row)).join('\n'))
    return file
  }
  for (const loss of ['contrastive', 'distillation', 'margin-mse'] as const) {
    const scored = loss !== 'contrastive'
    const seen: { losses: number[]; norms: number[]; tokens: number[]; warnings: object[] }[] = []
    for (const short of [false, true]) {
      const file = write(`${loss}-${short}`, scored, short)
      const start = await tinyModel()
      const phase: PhaseConfig = { name: 'one', loss, data: file, batch: 60, steps: 3, learningRate: 1e-3 }
      const run = train(tinyRun(dir, start, `out-${loss}-${short}`, [phase]))
      const found = { losses: [] as number[], norms: [] as number[], tokens: [] as number[], warnings: [] as object[] }
      for await (const event of run) {
        if (event.type === 'warning') found.warnings.push({ code: event.code, ...event.details })
        if (event.type !== 'step') continue
        found.losses.push(event.loss)
        found.norms.push(event.gradientNorm)
        found.tokens.push(event.tokens)
      }
      start.dispose()
      seen.push(found)
    }
    const [full, one] = seen
    t.same(full!.warnings, [])
    t.same(
      one!.warnings,
      scored ? [{ code: 'single-documents', phase: 'one', source: `${loss}-true`, rows: 1, row: 7 }] : [],
    )
    const off = one!.losses.map((value, step) => Math.abs(value / full!.losses[step]! - 1))
    t.ok(Math.max(...off) < 0.1, `${loss}: ${one!.losses}, without the short row ${full!.losses}`)
    t.ok(Math.min(...one!.norms) > 0.5 * Math.min(...full!.norms), `${loss}: gradients of ${one!.norms}`)
    // What is missing is two short documents: CLS, marker, one word and two, SEP.
    t.same(
      one!.tokens,
      full!.tokens.map((tokens) => tokens - 9),
    )
  }
})

t.test('settings that do nothing on one rank, or with one source, are said', async (t) => {
  const dir = folder(t)
  const { pairs, triplets } = writeData(dir)
  const model = await tinyModel()
  const settings = { gather: 'documents', sampling: { tempered: 0.5 } } as const
  const phases = [good(pairs), { ...good(triplets, 'two'), ...settings }]
  const run = train({ ...tinyRun(dir, model, 'out', phases), commDtype: 'float16' })
  const warnings: object[] = []
  for await (const event of run) if (event.type === 'warning') warnings.push({ code: event.code, ...event.details })
  t.same(warnings, [
    { code: 'no-effect', key: 'commDtype' },
    { code: 'no-effect', phase: 'two', key: 'sampling' },
    { code: 'no-effect', phase: 'two', key: 'gather' },
  ])
  model.dispose()
})

t.test('resuming checks what is still to be trained', async (t) => {
  const dir = folder(t)
  const { pairs, triplets } = writeData(dir)
  await saveTinyModel(path.join(dir, 'base'))
  const stopper = new AbortController()
  const phases = [good(pairs), { ...good(triplets, 'two'), steps: 4, documentLength: 12 }]
  const config = tinyRun(dir, path.join(dir, 'base'), 'out', phases)
  const run = train(config, { signal: stopper.signal })
  for await (const event of run) {
    if (event.type === 'step' && event.globalStep === 3) {
      stopper.abort()
      break
    }
  }
  await t.rejects(run.result, { code: 'ERR_ABORTED' })
  const text = (file: string) => readdirSync(path.join(dir, file)).sort().join()
  const before = text('out/checkpoints')
  rmSync(triplets)
  t.match(await refusal(config, { resume: 'auto' }), {
    code: 'ERR_DATA',
    message: /^phases\[1\]\.data \(phase "two"\)/,
  })
  t.equal(text('out/checkpoints'), before, 'nothing was written')
  writeData(dir)
  rmSync(pairs)
  const { model, phases: done } = await train(config, { resume: 'auto' }).result
  t.equal(done[1]!.steps, 4, 'the data of a phase that is through may be gone')
  model.dispose()
})
