import { readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { Colbert } from '../../lib/models/colbert.js'
import { Device } from '../../lib/tensor/device.js'
import type { StepEvent, TrainEvent } from '../../lib/train/events.js'
import { stepLine } from '../../lib/train/loop/progress.js'
import { train } from '../../lib/train/loop/run.js'
import { linear } from '../../lib/train/optim/schedule.js'
import { bitsOf, folder, saveTinyModel, threePhases, tinyModel, tinyRun } from './tiny.js'

async function eventsOf(run: AsyncIterable<TrainEvent>): Promise<TrainEvent[]> {
  const events: TrainEvent[] = []
  for await (const event of run) events.push(event)
  return events
}

const steps = (events: readonly TrainEvent[]): StepEvent[] => events.filter((e) => e.type === 'step')

t.test('three phases, from a model object', async (t) => {
  const dir = folder(t)
  const device = Device.open()
  await device.synchronize()
  const before = device.memory()
  const model = await tinyModel()
  const run = train(tinyRun(dir, model, 'run', threePhases(dir, 6)))
  const events = await eventsOf(run)
  const result = await run.result
  t.equal(result.model, model, 'trained in place')
  t.same(
    events.filter((e) => e.type !== 'progress').map((e) => e.type + ('at' in e ? `:${e.at}` : '')),
    [
      'snapshot',
      'warning', // of the third negatives that phase two leaves out
      'start',
      ...Array(3)
        .fill(['phase:begin', 'step', 'step', 'step', 'checkpoint', 'step', 'step', 'step', 'checkpoint', 'phase:end'])
        .flat(),
      'done',
    ],
  )
  t.same(
    steps(events).map((e) => [e.phase, e.step, e.globalStep]),
    ['one', 'two', 'three'].flatMap((phase, p) => Array.from({ length: 6 }, (_, i) => [phase, i + 1, 6 * p + i + 1])),
  )
  for (const e of steps(events)) {
    t.ok(Number.isFinite(e.loss) && e.gradientNorm > 0 && e.tokens > 0 && e.tokensPerSecond > 0, 'a number everywhere')
    if (e.phase !== 'one') t.equal(e.temperature, 1, 'a fixed temperature is shown too')
  }
  t.ok(Math.abs(steps(events)[0]!.temperature! - 0.1) < 1e-6)
  t.not(steps(events)[5]!.temperature, steps(events)[0]!.temperature, 'the temperature learns')
  t.equal(model.recipe.documentLength, 12, 'lengths are inherited')
  t.same(
    result.phases.map((p) => path.basename(p.checkpoint)),
    ['step-6', 'step-12', 'step-18'],
  )

  const log = readFileSync(path.join(dir, 'run/events.ndjson'), 'utf8').trimEnd().split('\n')
  t.same(
    log.map((line) => JSON.parse(line).type),
    events.flatMap(({ type }) => (type === 'snapshot' || type === 'progress' ? [] : type)),
    'the log holds every event but how things stood meanwhile',
  )

  const saved = await Colbert.load(path.join(dir, 'run/model'))
  t.same(
    await saved.parameters.values.data(),
    await model.parameters.values.data(),
    'the saved model is the trained one',
  )
  saved.dispose()
  model.dispose()
  await device.synchronize()
  const after = device.memory()
  t.same([after.tensors, after.bytes], [before.tensors, before.bytes], 'memory is where it was')
})

t.test('two losses in one phase: a step shows both', async (t) => {
  const dir = folder(t)
  const model = await tinyModel()
  const third = threePhases(dir, 4)[2]!
  const loss = { contrastive: 2, distillation: 0.5 }
  const run = train(tinyRun(dir, model, 'run', [{ ...third, loss, temperature: 0.1, studentTemperature: 1 }]))
  const seen = steps(await eventsOf(run))
  await run.result
  t.equal(seen.length, 4)
  for (const { loss: sum, losses } of seen) {
    t.same(Object.keys(losses!), ['contrastive', 'distillation'])
    t.ok(losses!.contrastive! > 0 && losses!.distillation! > 0)
    t.ok(Math.abs(2 * losses!.contrastive! + 0.5 * losses!.distillation! - sum) < 1e-5 * sum, 'the loss is their sum')
  }
  t.match(stepLine(seen[0]!), /loss [\d.]+ \(contrastive [\d.]+, distillation [\d.]+\)/)
  model.dispose()
})

t.test('a phase that stops before its schedule does', async (t) => {
  const dir = folder(t)
  const model = await tinyModel()
  const [first] = threePhases(dir, 4)
  const change = { scheduleSteps: 20, warmup: 0.1, learnableTemperature: false }
  const run = train(tinyRun(dir, model, 'run', [{ ...first!, ...change }]))
  const seen = steps(await eventsOf(run))
  await run.result
  t.same(
    seen.map(({ learningRate }) => learningRate),
    [0, 1, 2, 3].map((step) => first!.learningRate * linear(step, 20, 2)),
  )
  for (const [wrong, path, message] of [
    [{ scheduleSteps: 6 }, 'scheduleSteps', /scheduleSteps is 6, the phase has 7 steps/],
    [{ warmup: 8 }, 'warmup', /the warm-up has 8 steps, the phase 7/],
  ] as const) {
    const { steps: _, ...epoch } = { ...first!, ...wrong } // 60 rows by 8
    const error = await train(tinyRun(dir, model, 'other', [epoch])).result.catch((error) => error)
    t.match(error, { code: 'ERR_CONFIG', message })
    t.match(error.details.issues, [{ path: `phases[0].${path} (phase "one")` }])
  }
  model.dispose()
})

t.test('20 steps = 10 + abort + resume + 10, and two runs at once give the bits each gives alone', async (t) => {
  const dir = folder(t)
  const folderOf = path.join(dir, 'base')
  await saveTinyModel(folderOf)
  const phases = threePhases(dir, 8)
  const config = (out: string, seed: number) => ({ ...tinyRun(dir, folderOf, out, phases), seed })
  const alone: string[] = []
  for (const seed of [7, 8]) {
    const { model, phases } = await train(config(`alone${seed}`, seed)).result
    alone.push(bitsOf(phases[2]!.checkpoint))
    model.dispose()
  }
  t.not(alone[0], alone[1])
  const both = await Promise.all([7, 8].map((seed) => train(config(`both${seed}`, seed)).result))
  t.same(
    both.map(({ phases }) => bitsOf(phases[2]!.checkpoint)),
    alone,
    'interleaved',
  )
  for (const { model } of both) model.dispose()

  for (const stop of [2, 8, 11, 21]) {
    const stopper = new AbortController()
    const run = train(config(`stop${stop}`, 7), { signal: stopper.signal })
    const read = (async () => {
      for await (const e of run) if (e.type === 'step' && e.globalStep === stop) stopper.abort()
    })()
    const error = await t.rejects(run.result, { code: 'ERR_ABORTED' }).then(() => run.result.catch((e) => e))
    await t.rejects(read, { code: 'ERR_ABORTED' })
    t.match(path.basename(error.details.checkpoint), /^step-\d+$/, `stopped at ${error.details.globalStep}`)
    const resumed = await train(config(`stop${stop}`, 7), { resume: 'latest' }).result
    t.equal(bitsOf(resumed.phases[2]!.checkpoint), alone[0], `stop at ${stop}: the same bits`)
    t.equal(
      readFileSync(path.join(dir, `stop${stop}/events.ndjson`), 'utf8').match(/"type":"step"/g)!.length,
      24,
      'every step is in the log once',
    )
    resumed.model.dispose()
  }
})
