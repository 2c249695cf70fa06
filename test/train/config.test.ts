import { writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import path from 'node:path'
import t from 'tap'
import { ConfigError, type LateforgeError } from '../../lib/errors.js'
import { decisive, fingerprint, plainConfig, resolveConfig } from '../../lib/train/config/config.js'
import { readConfig } from '../../lib/train/config/config-file.js'
import { presets } from '../../lib/train/config/presets.js'
import { folder } from './tiny.js'

const phase = { name: 'a', loss: 'contrastive', data: 'pairs.jsonl', batch: 8, learningRate: 1e-3 }
const minimal = { model: 'm', out: 'o', phases: [phase] }

function problem(config: unknown): LateforgeError {
  try {
    resolveConfig(config)
  } catch (error) {
    return error as LateforgeError
  }
  throw new Error('nothing was thrown')
}

t.test('defaults', async (t) => {
  t.match(resolveConfig(minimal), {
    seed: 42,
    device: 'cpu',
    precision: 'float32',
    microBatchTokens: 8192,
    activationMemory: 'auto',
    phases: [
      {
        data: ['pairs.jsonl'],
        epochs: 1,
        schedule: 'linear',
        warmup: 0,
        temperature: 1,
        weightDecay: 0,
        maxGradNorm: 1,
        start: 'last',
        checkpoint: { every: 500, keep: 2 },
      },
    ],
  })
  t.equal(
    resolveConfig({ ...minimal, device: 'cuda:1' }).precision,
    'bfloat16',
    'mixed precision is the default on GPUs',
  )
  const onSecond = { embed() {}, device: { name: 'cuda:1' }, precision: 'bfloat16' }
  for (const device of ['cuda', 'cuda:1', undefined])
    t.equal(resolveConfig({ ...minimal, model: onSecond, device }).precision, 'bfloat16', `a rank's GPU as ${device}`)
  t.equal(resolveConfig(resolveConfig(minimal)).phases[0]!.epochs, 1, 'resolving twice changes nothing')
  const fn = () => {
    throw new Error('not called')
  }
  const given = { ...phase, loss: { id: 'mine', fn }, evaluate: {}, checkpoint: { every: 7 } }
  const [resolved] = resolveConfig({ ...minimal, phases: [given] }).phases
  t.match(resolved, { loss: { id: 'mine', fn }, evaluate: { every: 7, metric: 'ndcg@10', mode: 'max' } })
})

t.test('data: patterns, entries and sources, in a list or alone', async (t) => {
  const source = { name: 's', async *[Symbol.asyncIterator]() {} }
  const entry = { files: '~/x/*.parquet', columns: { query: 'q', negatives: ['a'] }, documents: { files: 'd.tsv' } }
  const of = (data: unknown) => resolveConfig({ ...minimal, phases: [{ ...phase, data }] })
  t.same(of(entry).phases[0]!.data, [{ ...entry, files: `${homedir()}/x/*.parquet` }])
  t.same(of([entry, 'a.jsonl', source]).phases[0]!.data, [
    { ...entry, files: `${homedir()}/x/*.parquet` },
    'a.jsonl',
    source,
  ])
  const hub = { name: 'h', files: ['hf://datasets/a/b', 'c.jsonl'], queries: 'q.tsv' }
  t.same((plainConfig(of([hub, 'hf://datasets/a/b'])) as { phases: { data: unknown }[] }).phases[0]!.data, [
    { name: 'h', files: ['hf://datasets/a/b', path.resolve('c.jsonl')], queries: path.resolve('q.tsv') },
    'hf://datasets/a/b',
  ])
  t.equal(fingerprint(of('a.jsonl')), fingerprint(resolveConfig(minimal)), 'not of where data is')
  t.notMatch(
    decisive(resolveConfig(minimal)),
    { phases: [{ smallSources: 'refuse' }] },
    'as before there was the setting',
  )
  t.match(decisive(resolveConfig({ ...minimal, phases: [{ ...phase, smallSources: 'wrap' }] })), {
    phases: [{ smallSources: 'wrap' }],
  })
})

t.test('problems in objects', async (t) => {
  const cases: [unknown, RegExp][] = [
    [{ ...minimal, precision: 'bfloat16' }, /^precision is "bfloat16", for which "cpu" has no kernels/],
    [{ ...minimal, precision: 'half' }, /^precision is "half"; expected one of/],
    [{ ...minimal, sed: 1 }, /^unknown key "sed", did you mean "seed"\?$/],
    [{ ...minimal, qqqqqq: 1 }, /^unknown key "qqqqqq", expected one of .*\bphases\b/],
    [
      { ...minimal, phases: [{ ...phase, temprature: 1 }] },
      /^phases\[0\]: unknown key "temprature", did you mean "temperature"\?$/,
    ],
    [
      { ...minimal, phases: [{ ...phase, evaluate: { evry: 3 } }] },
      /^phases\[0\]\.evaluate: unknown key "evry", did you mean "every"\?$/,
    ],
    [{ ...minimal, phases: [{ ...phase, checkpoint: { kep: 3 } }] }, /did you mean "keep"\?$/],
    [{ ...minimal, phases: [{ ...phase, prompts: { querry: '' } }] }, /did you mean "query"\?$/],
    [{ ...minimal, phases: [{ ...phase, batch: '8' }] }, /^phases\[0\]\.batch is "8"; expected number/],
    [{ ...minimal, phases: [{ ...phase, batch: 0 }] }, /^phases\[0\]\.batch is 0; expected number to be >=1$/],
    [{ ...minimal, phases: [{ ...phase, batch: undefined }] }, /^phases\[0\]\.batch is missing; expected number$/],
    [{ ...minimal, phases: [{ ...phase, learningRate: Number.NaN }] }, /learningRate/],
    [
      { ...minimal, phases: [{ ...phase, loss: 'kl' }] },
      /^phases\[0\]\.loss is "kl"; expected contrastive, distillation, margin-mse/,
    ],
    [{ ...minimal, phases: [{ ...phase, loss: { id: 'x' } }] }, /phases\[0\]\.loss/],
    [{ ...minimal, phases: [{ ...phase, data: [] }] }, /^phases\[0\]\.data is \[\]; expected a file pattern/],
    [{ ...minimal, phases: [{ ...phase, data: undefined }] }, /^phases\[0\]\.data is missing; expected a file pattern/],
    [{ ...minimal, phases: [{ ...phase, data: 5 }] }, /^phases\[0\]\.data is 5; expected a file pattern/],
    [{ ...minimal, phases: [{ ...phase, data: ['a', 5] }] }, /^phases\[0\]\.data\[1\] is 5; expected a file pattern/],
    [{ ...minimal, phases: [{ ...phase, data: ['~no/a'] }] }, /^phases\[0\]\.data\[0\] is "~no\/a"/],
    [{ ...minimal, phases: [{ ...phase, data: {} }] }, /^phases\[0\]\.data\.files is missing; expected a file pattern/],
    [
      { ...minimal, phases: [{ ...phase, data: [{ files: 'a', colums: {} }] }] },
      /^phases\[0\]\.data\[0\]: unknown key "colums", did you mean "columns"\?$/,
    ],
    [
      { ...minimal, phases: [{ ...phase, data: { files: 'a', columns: { querry: 'q' } } }] },
      /^phases\[0\]\.data\.columns: unknown key "querry", did you mean "query"\?$/,
    ],
    [
      { ...minimal, phases: [{ ...phase, data: { files: 'a', documents: { fils: 'd' } } }] },
      /unknown key "fils", did you mean "files"\?/,
    ],
    [{ ...minimal, phases: [{ ...phase, smallSources: 'repeat' }] }, /smallSources is "repeat"/],
    [
      { ...minimal, phases: [{ ...phase, smallSources: 'wrap', maskDuplicates: false }] },
      /smallSources wrap repeats rows in a batch/,
    ],
    [{ ...minimal, phases: [{ ...phase, sampling: 'even' }] }, /sampling is "even"; expected proportional/],
    [{ ...minimal, phases: [{ ...phase, schedule: 'cos' }] }, /schedule is "cos"/],
    [{ ...minimal, phases: [{ ...phase, freeze: ['('] }] }, /freeze\[0\] is "\("; expected a regular expression/],
    [
      { ...minimal, phases: [{ ...phase, steps: 1, epochs: 1 }] },
      /^phases\[0\]\.epochs give steps or epochs, not both$/,
    ],
    [{ ...minimal, phases: [phase, phase] }, /^phases\[1\]\.name "a" is taken$/],
    [{ ...minimal, phases: [{ ...phase, start: 'best' }] }, /start best needs a phase before/],
    [{ ...minimal, phases: [{ ...phase, name: '../a' }] }, /name is "\.\.\/a"; expected letters/],
    [{ ...minimal, phases: [] }, /phases is \[\]; expected at least one phase/],
    [{ ...minimal, model: {} }, /^model is \{\}; expected a folder/],
    [
      { ...minimal, preset: 'colbert-zro' },
      /^unknown preset "colbert-zro", did you mean "colbert-zero"\?$|preset: unknown/,
    ],
    [{ ...minimal, out: 'a\0b' }, /^out is "a\\u0000b"; expected the name of a folder$/],
    [{ ...minimal, model: { embed() {} }, dim: 8 }, /^dim belongs to a model that is read from a folder/],
    [{ ...minimal, model: { embed() {} }, freshProjection: true }, /^freshProjection belongs to a model/],
    [
      { ...minimal, model: { embed() {}, device: { name: 'cpu' } }, device: 'cuda' },
      /^device is "cuda", but the model is on "cpu"$/,
    ],
    [null, /expected object/],
  ]
  for (const [config, message] of cases) {
    const error = problem(config)
    t.ok(error instanceof ConfigError && error.code === 'ERR_CONFIG')
    t.match(error.message, message)
  }
  const both = problem({ ...minimal, sed: 1, phases: [{ ...phase, bach: 1 }] })
  t.equal((both.details.issues as unknown[]).length, 2, 'all problems at once')
})

t.test('settings that contradict each other, or that nothing reads', async (t) => {
  const distillation = { loss: 'distillation' }
  const margin = { loss: 'margin-mse' }
  const mine = { loss: { id: 'mine', fn() {} } }
  const both = { loss: { contrastive: 1, distillation: 1 } }
  const learned = { learnableTemperature: true }
  const cases: [changes: object, key: string, message: RegExp][] = [
    [{ ...margin, temperature: 0.1 }, 'temperature', /no effect on margin-mse, only on contrastive, distillation/],
    [{ ...margin, ...learned }, 'learnableTemperature', /no effect on margin-mse/],
    [{ normalizeScores: false }, 'normalizeScores', /no effect on contrastive, only on distillation/],
    [{ ...margin, normalizeScores: false }, 'normalizeScores', /no effect on margin-mse/],
    [{ ...mine, normalizeScores: false }, 'normalizeScores', /no effect on a loss of your own/],
    [{ teacherTemperature: 2 }, 'teacherTemperature', /no effect on contrastive, only on distillation/],
    [{ ...margin, temperatureSquared: true }, 'temperatureSquared', /no effect on margin-mse/],
    [{ ...distillation, ...learned, temperatureSquared: true }, 'temperatureSquared', /this one is learned/],
    [
      { ...mine, scores: 'mean' },
      'scores',
      /no effect on a loss of your own, only on contrastive, distillation, margin-mse/,
    ],
    [{ studentTemperature: 2 }, 'studentTemperature', /no effect on contrastive, only on distillation/],
    [{ ...distillation, studentTemperature: 2 }, 'studentTemperature', /is what temperature says/],
    [
      { loss: { contrastive: 1, 'margin-mse': 1 }, normalizeScores: false },
      'normalizeScores',
      /no effect on contr.* \+ marg/,
    ],
    [{ ...both, gradientScale: 'pylate' }, 'gradientScale', /no effect on contrastive \+ distillation/],
    [{ ...both, negatives: 0 }, 'negatives', /is 0, and contrastive \+ distillation compares/],
    [{ loss: { contrastive: 1 } }, 'loss', /two of them or more with weights/],
    [{ loss: { contrastive: 1, distilation: 1 } }, 'loss', /two of them or more with weights/],
    [{ loss: { contrastive: 1, distillation: -1 } }, 'loss', /two of them or more with weights/],
    [{ loss: { contrastive: 0, distillation: 0 } }, 'loss', /two of them or more with weights/],
    [{ ...distillation, maskDuplicates: false }, 'maskDuplicates', /no effect on distillation, only on contrastive/],
    [{ ...margin, maskDuplicates: false }, 'maskDuplicates', /no effect on margin-mse/],
    [{ ...mine, maskDuplicates: false }, 'maskDuplicates', /no effect on a loss of your own/],
    [{ ...distillation, guide: { model: 'g' } }, 'guide', /no effect on distillation, only on contrastive/],
    [{ ...mine, guide: { model: 'g' } }, 'guide', /no effect on a loss of your own/],
    [{ guide: { model: 'g', relative: true } }, 'guide', /is relative, which has no effect without a margin/],
    [{ guide: { model: { embed() {} }, dense: true } }, 'guide', /is given as an object/],
    [{ guide: { margin: 1 } }, 'guide.model', /is missing/],
    [{ ...distillation, symmetric: true }, 'symmetric', /no effect on distillation, only on contrastive/],
    [{ ...mine, symmetric: true }, 'symmetric', /no effect on a loss of your own/],
    [{ ...distillation, gather: 'documents' }, 'gather', /no effect on distillation/],
    [{ ...margin, gather: 'documents' }, 'gather', /no effect on margin-mse/],
    [{ ...distillation, gradientScale: 'pylate' }, 'gradientScale', /"pylate" has no effect on distillation/],
    [{ gradientScale: 'pylate-contrastive', gather: 'none' }, 'gradientScale', /of a loss that gathers/],
    [{ ...mine, gradientScale: 'pylate-contrastive' }, 'gradientScale', /no effect on a loss of your own/],
    [{ ...distillation, negatives: 0 }, 'negatives', /is 0, and distillation compares/],
    [{ ...margin, negatives: 0 }, 'negatives', /is 0, and margin-mse compares/],
    [{ negatives: 3, sampleNegatives: 3 }, 'sampleNegatives', /is 3, and has no effect where negatives: 3/],
    [{ dropAbove: 0 }, 'dropAbove', /is 0; expected/],
    [{ negatives: 0, dropAbove: 0.9 }, 'dropAbove', /no effect where negatives is 0/],
    [{ sampleNegatives: 0 }, 'sampleNegatives', /is 0; expected/],
    [{ negatives: 0, batch: 1 }, 'batch', /nothing to tell the positive from/],
    [{ steps: 10, scheduleSteps: 9 }, 'scheduleSteps', /is 9, the phase has 10 steps/],
    [{ steps: 9, scheduleSteps: 10, schedule: 'constant' }, 'scheduleSteps', /no effect on a constant schedule/],
    [{ steps: 10, warmup: 11 }, 'warmup', /is 11 steps, the phase has 10/],
    [{ ...learned, temperature: 0.005 }, 'temperature', /is 0\.005, and one that is learned stays at 0\.01/],
    [{ ...distillation, ...learned, temperature: 0.005 }, 'temperature', /stays at 0\.01/],
  ]
  for (const [changes, key, message] of cases) {
    const { details } = problem({ ...minimal, phases: [{ ...phase, ...changes }] })
    const issues = details.issues as { path: string; message: string }[]
    t.same(
      issues.map(({ path }) => path),
      [`phases[0].${key}`],
      JSON.stringify(changes),
    )
    t.match(issues[0]?.message, message)
  }
  t.match(problem({ ...minimal, dim: 8 }).message, /^dim has no effect without freshProjection/)
  const head = [{ out: 16, residual: true }, { out: 8 }]
  t.match(problem({ ...minimal, head }).message, /^head has no effect without freshProjection/)
  t.match(
    problem({ ...minimal, freshProjection: true, dim: 8, head }).message,
    /^dim is what the last layer of head says/,
  )
  t.match(problem({ ...minimal, freshProjection: true, head: [{ out: 9 }] }).message, /^head\[0\]\.out/)
  for (const loss of ['distillation', 'margin-mse'])
    t.match(
      problem({ ...minimal, commDtype: 'float16', phases: [{ ...phase, loss }] }).message,
      /^commDtype has no effect/,
    )
  const good: object[] = [
    { temperature: 0.005 },
    { ...distillation, temperature: 0.5, normalizeScores: false, gradientScale: 2 },
    { ...distillation, temperature: 0.25, teacherTemperature: 0.1, temperatureSquared: true },
    { ...both, temperature: 1e-3, studentTemperature: 2e-3, teacherTemperature: 0.1, temperatureSquared: true },
    {
      ...both,
      ...learned,
      studentTemperature: 1,
      temperatureSquared: true,
      maskDuplicates: false,
      gather: 'documents',
    },
    { ...mine, temperature: 0.1, gather: 'documents' },
    { steps: 10, warmup: 10, gradientScale: 'pylate', maskDuplicates: false, gather: 'documents' },
    { gradientScale: 'pylate', gather: 'none' },
    { negatives: 0, symmetric: true, guide: { model: 'g', margin: 0.05, relative: true } },
    { negatives: 50, sampleNegatives: 7, scores: 'mean' },
  ]
  for (const changes of good) {
    const config = { ...minimal, commDtype: 'float16', phases: [phase, { ...phase, name: 'b', ...changes }] }
    t.doesNotThrow(() => resolveConfig(config), JSON.stringify(changes))
  }
  t.match(
    problem({ ...minimal, commDtype: 'float16', phases: [{ ...phase, gather: 'none' }] }).message,
    /^commDtype has no effect/,
  )
  t.equal(resolveConfig({ ...minimal, freshProjection: true, dim: 8 }).dim, 8)
  t.same(resolveConfig({ ...minimal, freshProjection: true, head }).head, head)
})

t.test('YAML: every problem has its line and column, overrides are named', async (t) => {
  const dir = folder(t)
  const write = (text: string): string => {
    const file = path.join(dir, 'zero.yaml')
    writeFileSync(file, text)
    return file
  }
  const good = write(`model: m
out: o
phases:
  - name: a
    loss: contrastive
    data: [x.jsonl, "y/*.jsonl.gz"]
    batch: 8
    learningRate: 1e-3
    temperature: 0.02
`)
  const config = await readConfig(good, [
    'seed=7',
    'phases.0.batch=64',
    'phases.a.prompts.query="search: "',
    'activationMemory=auto',
  ])
  t.match(config, {
    seed: 7,
    activationMemory: 'auto',
    phases: [{ batch: 64, learningRate: 1e-3, prompts: { query: 'search: ' } }],
  })
  t.match(config.phases[0]!.data, ['x.jsonl', 'y/*.jsonl.gz'])
  const fails = (file: string | undefined, overrides: string[], message: RegExp | string) =>
    t.rejects(readConfig(file, overrides), { code: 'ERR_CONFIG', message })
  await fails(
    good,
    ['phases.0.bach=64'],
    'override "phases.0.bach=64": phases[0]: unknown key "bach", did you mean "batch"?',
  )
  await fails(good, ['phases.0.batch=many'], /^override "phases\.0\.batch=many": phases\[0\]\.batch is "many"/)
  await fails(good, ['seed'], /expected key=value/)
  await fails(good, ['phases.b.batch=1'], /there is no phases\.b/)
  await fails(good, ['seed.x=1'], /seed/)
  await fails(good, ['__proto__.x=1'], /no key/)
  t.equal(({} as Record<string, unknown>).x, undefined)
  const bad = write(`model: m
out: o
phases:
  - name: a
    loss: contrastive
    data: x.jsonl
    batch: eight
    temprature: 0.02
`)
  await t.rejects(readConfig(bad), {
    message: [
      `${bad}:7:12: phases[0].batch is "eight"; expected number, received string`,
      `${bad}:4:5: phases[0].learningRate is missing; expected number`,
      `${bad}:8:5: phases[0]: unknown key "temprature", did you mean "temperature"?`,
    ].join('\n'),
    details: { issues: [{ path: 'phases[0].batch' }, {}, { suggestion: 'temperature' }] },
  })
  await fails(write('model: m\n  out: [\n'), [], /^.*zero\.yaml:\d+:\d+: /)
  await fails(path.join(dir, 'none.yaml'), [], /none\.yaml cannot be read/)
  await fails(undefined, ['model=m', 'out=o'], /phases is missing/)
})

t.test('YAML merge keys: what several phases share is said once', async (t) => {
  const file = path.join(folder(t), 'run.yaml')
  const text = `model: m
out: o
phases:
  - &first
    name: a
    loss: contrastive
    data: x.jsonl
    batch: 8
    learningRate: 1e-3
    checkpoint: { every: 7 }
  - { <<: *first, name: b, batch: 4 }
`
  writeFileSync(file, text)
  const { phases } = await readConfig(file, ['phases.b.checkpoint.keep=5'])
  t.match(phases, [
    { name: 'a', batch: 8, checkpoint: { every: 7, keep: 2 } },
    { name: 'b', batch: 4, data: ['x.jsonl'], checkpoint: { every: 7, keep: 5 } },
  ])
  writeFileSync(file, text.replace('batch: 8', 'bach: 8'))
  await t.rejects(readConfig(file), { message: /:8:5: .*unknown key "bach".*\n.*:11:5: .*unknown key "bach"/ })
})

t.test('paths: ~ is the home folder, in every key and in overrides; config.json has absolute ones', async (t) => {
  const dir = folder(t)
  const home = process.env.HOME
  process.env.HOME = dir
  t.teardown(() => {
    process.env.HOME = home
  })
  const file = path.join(dir, 'run.yaml')
  const text = (at: string): string => `model: ${at}/m
out: "${at}/runs/a b"
cacheDir: '${at}'
phases:
  - { name: a, loss: contrastive, data: ['${at}/x/*.jsonl', y.jsonl, x~/~], batch: 8, learningRate: 1e-3, evaluate: { data: ${at}/beir, patience: 2 } }
`
  writeFileSync(file, text("'~'").replaceAll("'~'", '~'))
  const config = await readConfig(file)
  const at = (name: string): string => path.join(dir, name)
  t.match(config, {
    model: at('m'),
    out: at('runs/a b'),
    cacheDir: dir,
    phases: [{ data: [at('x/*.jsonl'), 'y.jsonl', 'x~/~'], evaluate: { data: at('beir') } }],
  })
  t.equal((await readConfig(file, ['out=~/other'])).out, at('other'))
  t.equal((await readConfig(file, ['out="~"'])).out, dir)
  t.equal((await readConfig(file, ['out=./~/other'])).out, './~/other', 'a folder that is called ~')
  t.match(plainConfig(config), { phases: [{ data: [at('x/*.jsonl'), path.resolve('y.jsonl'), path.resolve('x~/~')] }] })
  t.match(plainConfig(resolveConfig({ ...minimal, model: '.', cacheDir: 'c' })), {
    model: process.cwd(),
    out: path.resolve('o'),
    cacheDir: path.resolve('c'),
  })
  writeFileSync(file, text('~bob'))
  const all = await readConfig(file).catch((error: LateforgeError) => error)
  t.match(all, { code: 'ERR_CONFIG', message: /run\.yaml:1:8: model is "~bob\/m"; "~" means your own home folder/ })
  for (const key of ['out', 'cacheDir', 'phases[0].data', 'phases[0].evaluate.data'])
    t.match((all as Error).message, key)
})

t.test('presets: every one needs only model, out and data', async (t) => {
  for (const [name, { phases }] of presets) {
    const config = resolveConfig({
      preset: name,
      model: 'm',
      out: 'o',
      phases: phases.map(() => ({ data: 'x.jsonl' })),
    })
    t.same(
      config.phases.map((p) => p.name),
      phases.map((p) => p.name),
    )
  }
  const zero = resolveConfig({
    preset: 'colbert-zero',
    model: 'm',
    out: 'o',
    phases: [{ data: 'a' }, { data: 'b', steps: 5, checkpoint: { keep: 9 } }, { data: 'c' }],
  })
  t.match(zero.phases, [
    { batch: 16384, learningRate: 3e-4, temperature: 0.02, queryLength: 39, documentLength: 187, negatives: 0 },
    { batch: 64, learningRate: 8e-6, temperature: 0.2, steps: 5, checkpoint: { every: 1500, keep: 9 } },
    { batch: 128, learningRate: 4e-6, loss: 'distillation', documentLength: 519 },
  ])
  t.equal(zero.phases[1]!.epochs, undefined)
  t.match(zero.phases[0]!.prompts, { query: 'search_query: ', document: 'search_document: ' })
  const late = (change: object) =>
    resolveConfig({ preset: 'mlateon', model: 'm', out: 'o', phases: [{ data: 'a' }, { data: 'b' }], ...change })
  const { head, recipe } = presets.get('mlateon')!
  t.match(late({ freshProjection: true }), { head, recipe }, 'a preset has a head for an encoder, and a recipe')
  t.equal(late({}).head, undefined, 'a ColBERT has a head')
  t.equal(late({ freshProjection: true, dim: 64 }).head, undefined)
  t.same(late({ recipe: { queryExpansion: 8 } }).recipe, { ...recipe, queryExpansion: 8 })
  t.match(late({ model: { embed() {} } }), { head: undefined, recipe: undefined }, 'a model that is there has both')
  t.match(
    problem({ preset: 'kd-only', model: 'm', out: 'o', phases: [{ data: 'a' }, { data: 'b' }] }).message,
    /has 1 phases, 2 are given/,
  )
  t.match(problem({ preset: 'kd-only', model: 'm', out: 'o', phases: [{}] }).message, /phases\[0\]\.data is missing/)
})

t.test('the fingerprint follows what decides the numbers', async (t) => {
  const of = (change: object, inPhase: object = {}): string =>
    fingerprint(resolveConfig({ ...minimal, ...change, phases: [{ ...phase, ...inPhase }] }))
  const base = of({})
  for (const same of [
    of({ out: 'elsewhere' }),
    of({ model: 'n' }),
    of({ workers: 2 }),
    of({}, { data: 'moved' }),
    of({}, { checkpoint: { every: 3 } }),
    of({}, { evaluate: { every: 2 } }),
  ])
    t.equal(same, base)
  for (const other of [
    of({ seed: 1 }),
    of({ microBatchTokens: 4 }),
    of({}, { batch: 4 }),
    of({}, { loss: 'distillation' }),
    of({}, { evaluate: { patience: 2 } }),
    of({}, { symmetric: true }),
    of({}, { gather: 'none' }),
    of({}, { guide: { model: 'g' } }),
  ])
    t.not(other, base)
  const guided = (model: string, margin: number) => of({}, { guide: { model, margin } })
  t.equal(guided('g', 0), guided('elsewhere/g', 0), 'where the guide is decides nothing')
  t.not(guided('g', 0), guided('g', 1))
  t.notOk('out' in decisive(resolveConfig(minimal)))
  const on = (device: string) => fingerprint(resolveConfig({ ...minimal, device }))
  t.equal(on('cuda:1'), on('cuda'), 'which GPU it is decides nothing')
  t.not(on('cuda'), on('cpu'))
})
