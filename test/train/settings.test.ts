/** What a run does beside stepping: evaluation, best states, early stops, failures, resuming from damage. */
import { appendFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import type { LateforgeError } from '../../lib/errors.js'
import { contrastive } from '../../lib/losses/contrastive.js'
import { Colbert } from '../../lib/models/colbert.js'
import { Device } from '../../lib/tensor/device.js'
import { add } from '../../lib/tensor/ops.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { latest, loadState, saveState } from '../../lib/train/checkpoint/state.js'
import type { CustomLoss, PhaseConfig, RunConfig } from '../../lib/train/config/types.js'
import { openData } from '../../lib/train/data.js'
import type { TrainEvent } from '../../lib/train/events.js'
import { gradCache } from '../../lib/train/gradcache.js'
import { train } from '../../lib/train/loop/run.js'
import { AdamW } from '../../lib/train/optim/adamw.js'
import { bitsOf, folder, threePhases, tinyModel, tinyRun, writeData } from './tiny.js'

type Test = Parameters<typeof folder>[0]

/** A run of one phase in a fresh folder, its model gone after the test. */
async function onePhase(
  t: Test,
  changes: Partial<PhaseConfig> = {},
): Promise<{ dir: string; config: RunConfig; model: Colbert }> {
  const dir = folder(t)
  const model = await tinyModel()
  t.teardown(() => model.dispose())
  const [first] = threePhases(dir, 6, changes)
  return { dir, config: tinyRun(dir, model, 'run', [{ ...first!, learnableTemperature: false, ...changes }]), model }
}

async function failure(run: ReturnType<typeof train>): Promise<LateforgeError> {
  return run.result.then(
    () => {
      throw new Error('the run did not fail')
    },
    (error) => error,
  )
}

t.test('evaluation: best state, start from it, early stop', async (t) => {
  const { dir, config, model } = await onePhase(t)
  const values = [0.2, 0.5, 0.4, 0.3, 0.9]
  const seen: string[] = []
  const weights: ArrayLike<number>[] = []
  const [one] = config.phases as PhaseConfig[]
  const run = train(
    {
      ...config,
      phases: [
        { ...one!, steps: 12, evaluate: { every: 2, metric: 'score', patience: 2 } },
        { ...one!, name: 'next', steps: 1, start: 'best', evaluate: { metric: 'score' } },
      ],
    },
    {
      async evaluate(given, { phase, step }) {
        t.equal(given, model)
        seen.push(`${phase} ${step}`)
        if (phase === 'one') weights.push(await model.parameters.values.values())
        return { score: phase === 'one' ? values[step / 2 - 1]! : 7, other: 1 }
      },
    },
  )
  const events: TrainEvent[] = []
  for await (const event of run) events.push(event)
  t.same(seen, ['one 2', 'one 4', 'one 6', 'one 8', 'next 1'], 'stopped after two without a new best')
  t.match(
    events.filter((e) => e.type === 'phase' && e.at === 'end'),
    [
      { reason: 'early-stop', step: 8 },
      { reason: 'steps', globalStep: 9 },
    ],
  )
  const { phases, best } = await run.result
  t.match(phases[0]!.best, { step: 4, value: 0.5, checkpoint: path.join(dir, 'run/checkpoints/step-4') })
  t.match(best, { phase: 'next', value: 7 }, 'over phases with the same metric')
  const saved = await Colbert.load(path.join(phases[0]!.best!.checkpoint!, 'model'))
  t.same(await saved.parameters.values.values(), weights[1], 'the best checkpoint holds the best state')
  saved.dispose()
  t.same(readdirSync(path.join(dir, 'run/checkpoints')).sort(), ['step-4', 'step-6', 'step-8', 'step-9'])
  t.match(
    events.filter((e) => e.type === 'checkpoint').map((e) => e.reason),
    ['best', 'periodic', 'best', 'periodic', 'phase', 'phase'],
  )
})

t.test('evaluation that cannot work', async (t) => {
  const { config } = await onePhase(t, { evaluate: { metric: 'ndcg@10' } })
  t.match(await failure(train(config)), { code: 'ERR_CONFIG', message: /no function that evaluates/ })
  const wrong = await failure(train(config, { evaluate: async () => ({ recall: 1 }) }))
  t.match(wrong, { code: 'ERR_CONFIG', message: /no number "ndcg@10", only recall/ })
})

t.test('an abort within an evaluation is made up for after the resume', async (t) => {
  const { config, model } = await onePhase(t, { steps: 4, evaluate: { every: 2, metric: 'x' } })
  const initial = await model.parameters.values.values()
  const alone = await train({ ...config, out: `${config.out}-alone` }, { evaluate: async () => ({ x: 1 }) }).result
  model.parameters.values.write(initial)
  const stopper = new AbortController()
  const run = train(config, {
    signal: stopper.signal,
    async evaluate(_, { signal }) {
      stopper.abort()
      signal!.throwIfAborted()
      return { x: 0 }
    },
  })
  const error = await failure(run)
  t.match(error, { code: 'ERR_ABORTED', details: { step: 2, checkpoint: /step-2$/ } })
  const steps: number[] = []
  const resumed = await train(config, {
    resume: 'latest',
    async evaluate(_, { step }) {
      steps.push(step)
      return { x: 1 }
    },
  }).result
  t.same(steps, [2, 4])
  t.equal(bitsOf(resumed.phases[0]!.checkpoint), bitsOf(alone.phases[0]!.checkpoint))
  t.match(resumed.best, { step: 2, checkpoint: /step-2$/ })
})

t.test('abort before anything', async (t) => {
  const { config } = await onePhase(t)
  t.match(await failure(train(config, { signal: AbortSignal.abort() })), {
    code: 'ERR_ABORTED',
    details: { checkpoint: null },
  })
})

t.test('divergence ends the run; the checkpoint before it is intact', async (t) => {
  const { config } = await onePhase(t, { checkpoint: { every: 2 } })
  const phase = config.phases[0] as PhaseConfig
  let calls = 0
  const fn: CustomLoss['fn'] = ({ queries, documents, temperature }) => {
    const loss = contrastive(queries, documents, { temperature })
    return ++calls === 4 ? add(loss, Tensor.from(loss.device, [Number.NaN])) : loss
  }
  const error = await failure(train({ ...config, phases: [{ ...phase, loss: { id: 'breaks', fn } }] }))
  t.match(error, { code: 'ERR_DIVERGED', details: { step: 4, phase: 'one' } })
  t.match(await latest(config.out), /step-2$/)
})

t.test('distillation without scores, data that is missing', async (t) => {
  const { config } = await onePhase(t, { loss: 'distillation' })
  t.match(await failure(train(config)), { code: 'ERR_DATA', message: /source "pairs" has no teacher scores/ })
  const absent = await onePhase(t, { data: 'nowhere/*.jsonl' })
  t.match(await failure(train(absent.config)), { code: 'ERR_DATA' })
})

t.test('resuming: refusals, changes, damage', async (t) => {
  const { config, dir } = await onePhase(t, { checkpoint: { every: 2, keep: 9 } })
  const phase = config.phases[0] as PhaseConfig
  t.match(await failure(train(config, { resume: 'latest' })), { code: 'ERR_CHECKPOINT', message: /no checkpoint/ })
  const { phases } = await train(config).result
  const bits = bitsOf(phases[0]!.checkpoint)
  t.match(await failure(train(config)), { code: 'ERR_CONFIG', message: /earlier run/ })
  const changed = { ...config, phases: [{ ...phase, learningRate: 0.5 }] }
  t.match(await failure(train(changed, { resume: 'auto' })), {
    code: 'ERR_CHECKPOINT',
    message: /phases\[0\]\.learningRate: 0\.5 against 0\.001/,
  })
  const root = path.join(dir, 'run/checkpoints')
  t.match(await failure(train(config, { resume: path.join(root, 'step-3') })), {
    code: 'ERR_CHECKPOINT',
    message: /no checkpoint of this run/,
  })

  const file = path.join(root, 'step-6/optimizer.safetensors')
  const bytes = readFileSync(file)
  bytes[bytes.length >> 1]! ^= 4
  writeFileSync(file, bytes)
  t.match(await failure(train(config, { resume: 'latest' })), {
    code: 'ERR_CHECKPOINT',
    message: /optimizer\.safetensors changed/,
  })
  const run = train(config, { resume: 'auto' })
  const events: TrainEvent[] = []
  for await (const event of run) events.push(event)
  t.match(
    events.filter((e) => e.type === 'warning' || e.type === 'start'),
    [{ code: 'damaged-checkpoint', message: /optimizer\.safetensors changed/ }, { resumed: path.join(root, 'step-4') }],
  )
  t.same(
    events.flatMap((e) => (e.type === 'step' ? e.step : [])),
    [5, 6],
  )
  t.equal(bitsOf((await run.result).phases[0]!.checkpoint), bits, 'the same end')
  t.ok(readdirSync(root).includes('step-6.aside'), 'the damaged one was set aside')

  const early = await train(config, { resume: path.join(root, 'step-2') }).result
  t.equal(bitsOf(early.phases[0]!.checkpoint), bits, 'from an earlier one too')
  const again = await train(config, { resume: 'auto' }).result
  t.match(again.phases, [{ steps: 6, globalStep: 6 }], 'a finished run has nothing left to do')

  appendFileSync(phase.data as string, '{"query":"w1 w2","document":"w3"}\n')
  const moved = await failure(train(config, { resume: path.join(root, 'step-4') }))
  t.match(moved, { code: 'ERR_CHECKPOINT', message: /data is not what it was/ })
})

t.test('a loop of one’s own: saveState and loadState', async (t) => {
  const dir = folder(t)
  const device = Device.open()
  const reader = await tinyModel()
  t.teardown(() => reader.dispose())
  await device.synchronize()
  const before = device.memory()
  const data = await openData({
    data: writeData(dir).triplets,
    model: reader,
    batch: 8,
    seed: 1,
    cacheDir: path.join(dir, 'cache'),
  })
  const start = async (): Promise<{ model: Colbert; opt: AdamW }> => {
    const model = await tinyModel()
    return {
      model,
      opt: new AdamW(model.parameterGroups([{ learningRate: 1e-3, weightDecay: 0.01 }]), { maxGradNorm: 1 }),
    }
  }
  const steps = async ({ model, opt }: { model: Colbert; opt: AdamW }, first: number, last: number): Promise<void> => {
    for (let step = first; step < last; step++) {
      const batch = await data.at(step)
      const loss = gradCache(
        model,
        batch,
        ({ queries, documents }) =>
          contrastive(queries, documents, { temperature: 0.05, documentsPerQuery: batch.documentsPerQuery }),
        { microBatchTokens: 100, seed: 1, step },
      )
      opt.step().dispose()
      t.ok((await loss.value()) > 0)
      loss.dispose()
    }
  }
  const one = await start()
  await steps(one, 0, 3)
  const saved = await saveState(path.join(dir, 'own'), { ...one, step: 3, extra: { note: 'x' } })
  t.equal(saved, path.join(dir, 'own/step-3'))
  await t.rejects(saveState(path.join(dir, 'own'), { ...one, step: 3 }), { code: 'ERR_CHECKPOINT' })
  await steps(one, 3, 5)
  const two = await start()
  t.match(await loadState(path.join(dir, 'own'), two), { step: 3, extra: { note: 'x' }, path: saved })
  await steps(two, 3, 5)
  t.same(await two.model.parameters.values.values(), await one.model.parameters.values.values(), 'the same bits')
  const other = await Colbert.create(
    {
      architecture: 'bert',
      layers: 1,
      width: 16,
      heads: 1,
      dim: 16,
      positions: 64,
      tokenizer: one.model.tokenizer,
      recipe: { queryLength: 8, documentLength: 16 },
    },
    { seed: 1 },
  )
  const opt = new AdamW(other.parameterGroups([{ learningRate: 1 }]))
  await t.rejects(loadState(saved, { model: other, opt }), { code: 'ERR_CHECKPOINT', message: /another shape/ })
  await t.rejects(loadState(path.join(dir, 'none'), two), { code: 'ERR_CHECKPOINT' })
  data.close()
  for (const owner of [one.model, one.opt, two.model, two.opt, other, opt]) owner.dispose()
  await device.synchronize()
  const after = device.memory()
  t.same([after.tensors, after.bytes], [before.tensors, before.bytes], 'memory is where it was')
})
