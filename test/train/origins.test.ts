/** Where each value of a run comes from, and that it is still known after a resume. */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { resolveConfig } from '../../lib/train/config/config.js'
import { readConfig } from '../../lib/train/config/config-file.js'
import { originsOf } from '../../lib/train/config/origins.js'
import { describeRun } from '../../lib/train/loop/describe.js'

const phase = { name: 'one', loss: 'contrastive', data: 'a.jsonl', batch: 8, learningRate: 1e-3 }

t.test('file, override, preset, default, given', async (t) => {
  const dir = t.testdir({
    'run.yaml': `model: m
out: o
phases:
  - { name: one, loss: contrastive, data: a.jsonl, batch: 8, learningRate: 1e-3, evaluate: beir, checkpoint: { every: 7 } }
`,
    'preset.yaml': 'preset: finetune\nmodel: m\nout: o\nphases:\n  - data: a.jsonl\n',
  })
  const file = path.join(dir, 'run.yaml')
  const origins = originsOf(resolveConfig(await readConfig(file, ['phases.one.batch=16', 'card.samples=0'])))
  t.match(origins, {
    model: `${file}:1:8`,
    seed: 'default',
    'card.samples': 'override "card.samples=0"',
    'phases[0].batch': 'override "phases.one.batch=16"',
    'phases[0].learningRate': new RegExp(`^${file}:4:\\d+$`),
    'phases[0].checkpoint.every': new RegExp(`^${file}:4:\\d+$`),
    'phases[0].checkpoint.keep': 'default',
    'phases[0].evaluate.data': new RegExp(`^${file}:4:\\d+$`),
    'phases[0].weightDecay': 'default',
  })
  const preset = originsOf(await readConfig(path.join(dir, 'preset.yaml')))
  t.equal(preset['phases[0].learningRate'], 'preset finetune')
  t.match(preset['phases[0].data'], /preset\.yaml:5:/)
  const given = originsOf(resolveConfig({ model: 'm', out: 'o', phases: [phase] }))
  t.match(given, { model: 'given', device: 'default', 'phases[0].batch': 'given' })
})

t.test('a run that goes on keeps what its beginning knew', async (t) => {
  const out = t.testdir()
  const read = (name: string) => JSON.parse(readFileSync(path.join(out, name), 'utf8'))
  const check = (name: string, samples: unknown[]) => ({ name, samples }) as never
  const config = resolveConfig({ model: 'm', out, phases: [phase, { ...phase, name: 'two' }] })
  await describeRun(out, config, [check('one', [1]), check('two', [2])], false)
  const before = read('origins.json')
  t.equal(before['phases[0].batch'], 'given')
  // As `resume` has it: all values from the run's own config.json.
  const again = resolveConfig(read('config.json'), () => path.join(out, 'config.json'))
  await describeRun(out, again, [check('two', [3])], true)
  t.same(read('origins.json'), before)
  t.same(read('check.json').phases, [
    { name: 'one', samples: [1] },
    { name: 'two', samples: [3] },
  ])
  const hidden = resolveConfig({ model: 'm', out, card: { samples: 0 }, phases: [phase] })
  await describeRun(out, hidden, [check('one', [1])], false)
  t.same(read('check.json').phases, [{ name: 'one', samples: [] }], 'data that may not be shown')
})
