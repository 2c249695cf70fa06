/** The card of a trained model: what the Hub reads of it, what it says of the training, and that nothing in data breaks it. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import type { Colbert } from '../../lib/models/colbert.js'
import type { TrainingRecord } from '../../lib/models/options.js'
import { resolveConfig } from '../../lib/train/config/config.js'
import type { PhaseConfig, RunConfig } from '../../lib/train/config/types.js'
import { phaseRecord, trainingRecord } from '../../lib/train/loop/record.js'
import { train } from '../../lib/train/loop/run.js'
import { folder, saveTinyModel, threePhases, tinyModel, tinyRun, writeData } from './tiny.js'

const read = (dir: string) => readFileSync(path.join(dir, 'README.md'), 'utf8')

/** What stands between the two lines of dashes, as YAML 1.1 and 1.2 read it, and the rest. */
function parts(card: string): { data: Record<string, never>; body: string } {
  const [, front, body] = /^---\n([\s\S]*?)\n---\n([\s\S]*)$/.exec(card)!
  const data = parse(front!, { version: '1.1' })
  t.same(parse(front!), data, 'the same by both versions of YAML')
  return { data, body: body! }
}

/** An evaluation whose values are functions of the step. */
const evaluate = async (_: Colbert, { globalStep }: { globalStep: number }) => ({
  'ndcg@10': 0.5 - 0.01 * Math.abs(globalStep - 6),
  'a b ndcg@10': 0.25,
  'c ndcg@10': globalStep / 100,
})

async function finished(config: RunConfig, options: Parameters<typeof train>[1] = {}): Promise<string> {
  const { model, out } = await train(config, { evaluate, ...options }).result
  model.dispose()
  return path.join(out, 'model')
}

t.test('a run: base, data, settings, results, versions; nothing of the machine or the hour', async (t) => {
  const dir = folder(t)
  await saveTinyModel(path.join(dir, 'base'))
  const phases = threePhases(dir, 4, { evaluate: { every: 2 } })
  const config = (out: string) => tinyRun(dir, path.join(dir, 'base'), out, phases)
  const model = await finished(config('out'))
  const card = read(model)
  const { data, body } = parts(card)
  t.same(data, {
    library_name: 'PyLate',
    pipeline_tag: 'sentence-similarity',
    tags: [
      ...['ColBERT', 'PyLate', 'sentence-transformers', 'feature-extraction', 'lateforge'],
      ...['dataset_size:180', 'loss:contrastive', 'loss:distillation'],
    ],
    'model-index': [
      {
        name: 'ColBERT model',
        results: [
          ['the evaluation of the run, mean', 0.44],
          ['a b', 0.25],
          ['c', 0.12],
        ].map(([name, value]) => ({
          task: { type: 'information-retrieval', name: 'Information Retrieval' },
          dataset: { name, type: name },
          metrics: [{ type: 'ndcg@10', value, name: 'ndcg@10' }],
        })),
      },
    ],
  })
  t.match(body, /\| a b \| 0\.2500 \|\n/)
  t.match(body, /Trained from `base` in 3 phases: seed 7, precision float32\./)
  t.match(
    body,
    /### one\n\nLoss: contrastive\. 4 steps of 8 queries\. Queries of up to 8 tokens, documents of up to 16\./,
  )
  t.match(body, /- `temperature`: `0\.1`\n- `learnableTemperature`: `true`\n/)
  t.match(body, /\| scored \| 60 \| 4 \| yes \|/)
  t.match(
    body,
    /### one[\s\S]*\| 2 \| 0\.4600 \|\n\| \*\*4\*\* \| \*\*0\.4800\*\* \|\n[\s\S]*### two/,
    'its best in bold',
  )
  t.match(body, /### two[\s\S]*\| \*\*2\*\* \| \*\*0\.5000\*\* \|\n\| 4 \| 0\.4800 \|/)
  t.match(body, new RegExp(`- lateforge: \\S+\n- Node: ${process.version}\n- device: cpu\n`))
  t.notMatch(body, dir, 'no path')
  t.notMatch(body, new RegExp(`${new Date().getFullYear()}-`), 'no date')
  const first = JSON.parse(readFileSync(path.join(dir, 'pairs.jsonl'), 'utf8').split('\n')[0]!)
  t.ok(body.includes(`- query: \`${first.query}\`\n  - positive: \`${first.document}\``), 'a row')

  // Cut short and gone on with: the same card, of phases that were over too.
  const controller = new AbortController()
  const run = train(config('cut'), { evaluate, signal: controller.signal })
  const events = async () => {
    for await (const event of run) if (event.type === 'step' && event.globalStep === 5) controller.abort()
  }
  await t.rejects(events(), { code: 'ERR_ABORTED' })
  t.equal(read(await finished(config('cut'), { resume: 'auto' })), card)

  // Checkpoints say how far they are, and have results only of themselves.
  const at = (step: number) => parts(read(path.join(dir, `out/checkpoints/step-${step}/model`)))
  t.match(at(6).body, /in 2 phases[\s\S]*### two\n\nLoss: contrastive\. 2 steps of 8[\s\S]*\| \*\*2\*\* \|/)
  t.notMatch(at(6).body, /### three/)
  t.match(at(6).data, { 'model-index': [{ results: [{ metrics: [{ value: 0.5 }] }, {}, {}] }] })

  // A model that is only loaded and saved has the short one.
  const { Colbert } = await import('../../lib/models/colbert.js')
  const again = await Colbert.load(model)
  await again.save(path.join(dir, 'again'))
  again.dispose()
  t.notMatch(read(path.join(dir, 'again')), /## Training|model-index/)
  t.match(read(path.join(dir, 'again')), /Trained with lateforge\.[\s\S]*## Use/)
})

t.test('texts and names that look like Markdown, HTML or YAML; no rows where none are wanted', async (t) => {
  const dir = folder(t)
  writeData(dir)
  const odd = [
    '`code` | pipe ``two``',
    '<script>alert(1)</script>',
    '[a](http://b) ![c](d) $x$ *d* __e__',
    '---\nlicense: other\n---\n# heading\n- list',
    `${'long '.repeat(100)}`,
    '\u202edlrow\u0007 \ud800x',
    '`',
  ]
  const file = path.join(dir, 'a_b <i>`x`.jsonl')
  const rows = Array.from({ length: 16 }, (_, i) => ({
    query: odd[i % odd.length],
    document: odd[(i + 1) % odd.length],
  }))
  writeFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
  const phase: PhaseConfig = { name: 'p', loss: 'contrastive', data: file, batch: 4, steps: 1, learningRate: 1e-3 }
  const run = async (out: string, changes: Partial<RunConfig>) =>
    read(await finished({ ...tinyRun(dir, await tinyModel(), out, [phase]), ...changes }))
  const card = await run('out', { card: { samples: 16 } })
  const { data, body } = parts(card)
  t.same(data['model-index' as never], undefined)
  const lines = body.split('\n').filter((line) => /^\s*- (query|positive): /.test(line))
  t.equal(lines.length, 32)
  // What is outside of code spans is ours.
  const spans = /^ *- (?:query|positive): (`+)( ?)(.*?[^`])?\2\1$/
  for (const line of lines) {
    const [, fence, , content] = spans.exec(line) ?? []
    t.ok(fence !== undefined || line.endsWith('`` ` ``'), line)
    t.notOk((content ?? '').includes(fence ?? 'x') && new RegExp(`(?<!\`)${fence}(?!\`)`).test(content!), line)
    t.ok(line.length < 240, 'cut short')
  }
  t.equal(body.match(/^---$/gm), null, 'no second beginning')
  for (const unseen of ['\u202e', '\u0007']) t.notOk(body.includes(unseen))
  t.match(body, '| a&#95;b &#60;i&#62;&#96;x&#96; | 16 | 1 | no |')
  t.notMatch(await run('none', { card: { samples: 0 } }), /<details>|alert/)
  t.throws(() => resolveConfig({ ...tinyRun(dir, 'm', 'o', [phase]), card: { sample: 0 } }), {
    code: 'ERR_CONFIG',
    message: /card.*did you mean "samples"/,
  })
  t.ok(existsSync(file))
})

t.test('what comes from the Hub is named as there; weights of losses', async (t) => {
  const config = resolveConfig({
    model: 'org/base@v1',
    out: 'o',
    phases: [
      {
        name: 'p',
        loss: { contrastive: 1, distillation: 0.5 },
        data: [
          'hf://datasets/org/pairs@main/en/*.parquet',
          { files: ['hf://datasets/org/kd', 'hf://datasets/yes'] },
          'own/*.jsonl',
        ],
        batch: 4,
        learningRate: 1e-3,
        prompts: { query: 'on: ' },
        evaluate: ['nanobeir', 'test/eval'],
      },
    ],
  })
  const model = await tinyModel()
  const metrics = { 'ndcg@10': 1 / 3 }
  const evaluations = [{ step: 2, metrics, metric: 'ndcg@10', best: true }]
  const record = phaseRecord(config.phases[0]!, model.recipe, 2, evaluations, [])
  t.match(record, { datasets: ['org/pairs', 'org/kd', 'yes'], evaluatedOn: 'nanobeir, eval' })
  const dir = folder(t)
  const card = async (training: TrainingRecord): Promise<ReturnType<typeof parts>> => {
    await model.save(path.join(dir, 'model'), { training })
    return parts(read(path.join(dir, 'model')))
  }
  const { data, body } = await card(trainingRecord(config, 4, [record]))
  t.match(data, {
    base_model: 'org/base',
    datasets: ['org/pairs', 'org/kd', 'yes'],
    'model-index': [
      {
        name: 'ColBERT model based on org/base@v1',
        results: [{ dataset: { name: 'nanobeir, eval' }, metrics: [{ value: 0.33333 }] }],
      },
    ],
  })
  t.match(body, '# ColBERT model based on org/base@v1')
  t.match(
    body,
    'Trained from [org/base@v1](https://huggingface.co/org/base) in 1 phase: seed 42, precision float32, ranks 4.',
  )
  t.match(body, 'Loss: 1 × contrastive + 0.5 × distillation.')
  t.match(body, '- `prompts`: `{"query":"on: "}`')
  t.match(body, '[org/kd](https://huggingface.co/datasets/org/kd)')
  const older = { ...record, steps: 3 }
  t.same((await card(trainingRecord(config, 1, [older]))).data['model-index' as never], undefined, 'of another step')
  await t.rejects(model.save(path.join(dir, 'model'), { training: 'x' as never }), { code: 'ERR_ARGUMENT' })
  model.dispose()
})
