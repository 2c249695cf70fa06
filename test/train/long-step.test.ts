/** A step of many micro-batches: it tells where it is, and its loss at once; what it computes stays the same to the bit. */
import t, { type Test } from 'tap'
import { contrastive } from '../../lib/losses/index.js'
import type { Progress } from '../../lib/progress.js'
import { Device } from '../../lib/tensor/index.js'
import type { TrainEvent } from '../../lib/train/events.js'
import { type BatchLoss, gradCache, gradCacheAsync } from '../../lib/train/gradcache.js'
import { train } from '../../lib/train/loop/run.js'
import { seed } from '../seed.js'
import { folder, tinyModel, tinyRun, writeData } from './tiny.js'
import { ToyModel, toyBatch } from './toy.js'

t.setTimeout(300_000) // on a busy machine

t.test('GradCache tells each micro-batch of each pass, and computes the same', async (t) => {
  const settings = { temperature: 0.1, blockQueries: 4 }
  const loss: BatchLoss = ({ queries, documents, batch: { documentsPerQuery }, onProgress }) =>
    contrastive(queries, documents, { ...settings, documentsPerQuery, onProgress })
  const batch = toyBatch(seed, 9, [3, 1, 6, 2, 1, 5, 4, 1, 4])
  const model = new ToyModel(Device.open('cpu'), seed)
  const options = { seed: 5, step: 3, microBatchTokens: 1 } // a sequence each
  const run = async (onProgress?: (progress: Progress) => void) => {
    const value = await gradCacheAsync(model, batch, loss, { ...options, ...(onProgress && { onProgress }) })
    const found = { value: await value.value(), gradients: await model.parameters.gradients.values() }
    value.dispose()
    model.parameters.zeroGradients()
    return found
  }
  const told: Progress[] = []
  const [quiet, loud] = [await run(), await run((progress) => told.push(progress))]
  t.same(loud, quiet)
  const total = 2 * (9 + 27) + 1
  const [passes, blocks] = ['micro-batches', 'queries'].map((unit) => told.filter((progress) => progress.unit === unit))
  t.same(
    blocks,
    [0, 4, 8, 9].map((done) => ({ stage: 'training', part: 'loss', done, total: 9, unit: 'queries' })),
    'the loss, in blocks of its queries',
  )
  t.same(
    passes!.map(({ done }) => done),
    Array.from({ length: total - 1 }, (_, i) => i + 1),
    'the last one is the end of the step',
  )
  t.same([...new Set(passes!.map(({ stage, total }) => `${stage} ${total}`))], [`training ${total}`])
  t.same(
    [...new Set(told.map(({ part }) => part))],
    ['first pass, queries', 'first pass, documents', 'loss', 'second pass, documents', 'second pass, queries'],
  )
  t.throws(() => gradCache(model, batch, loss, { ...options, onProgress() {} }), { code: 'ERR_ARGUMENT' })
  const both: BatchLoss = ({ queries, documents, batch: { documentsPerQuery }, onProgress }) =>
    contrastive(queries, documents, { ...settings, symmetric: true, documentsPerQuery, onProgress })
  told.length = 0
  ;(await gradCacheAsync(model, batch, both, { ...options, onProgress: (progress) => told.push(progress) })).dispose()
  t.same(
    told.flatMap(({ part, done, unit }) => (unit === 'queries' ? `${part} ${done}` : [])),
    ['scores 0', 'scores 4', 'scores 8', 'scores 9', 'gradients 4', 'gradients 8', 'gradients 9'].map(
      (at) => `loss, ${at}`,
    ),
    'scores of all blocks come before the first gradient where a softmax goes over all of them',
  )
  model.parameters.dispose()
})

/** A run of two steps with a sequence a micro-batch, whose encoder takes `slow` milliseconds of the thread more. */
async function followed(t: Test, slow: number) {
  const dir = folder(t)
  const { pairs } = writeData(dir)
  const model = await tinyModel()
  const embed = model.embed.bind(model)
  let embedded = 0
  model.embed = (...input) => {
    embedded++
    const until = performance.now() + slow
    while (performance.now() < until); // as a large micro-batch would
    return embed(...input)
  }
  const phase = { name: 'one', loss: 'contrastive', data: pairs, batch: 16, steps: 3, learningRate: 1e-3 } as const
  const run = train({ ...tinyRun(dir, model, 'run', [phase]), microBatchTokens: 1, activationMemory: 0 })
  const seen: { event: TrainEvent; embedded: number }[] = []
  for await (const event of run) seen.push({ event, embedded })
  await run.result
  const bits = await model.parameters.values.values()
  model.dispose()
  return { seen, bits, embedded }
}

t.test(
  'a run: the loss of a step is told while the next one is computed, and a long step says where it is',
  async (t) => {
    const [short, long] = [await followed(t, 0), await followed(t, 40)]
    t.same(long.bits, short.bits, 'the same model')
    const losses = ({ seen }: typeof long) => seen.flatMap(({ event }) => (event.type === 'step' ? event.loss : []))
    t.same(losses(long), losses(short))
    t.ok(long.embedded >= 3 * 64, 'graphs are not kept')
    const first = long.seen.find(({ event }) => event.type === 'step')!
    t.ok(
      first.embedded > 64 && first.embedded < 64 + 16,
      `after ${first.embedded - 64} of 64 micro-batches of the next step`,
    )
    const inside = long.seen.flatMap(({ event }) =>
      event.type === 'progress' && event.stage === 'training' ? event : [],
    )
    t.match(
      inside.map(({ step }) => step).filter((step, i, all) => step !== all[i - 1]),
      [1, 2, 3],
    )
    for (const event of inside) {
      t.match(event, {
        phase: 'one',
        name: `step ${event.step}/3`,
        part: /^(first pass|second pass), (queries|documents)$|^loss$/,
        total: event.unit === 'queries' ? 16 : 65,
      })
      t.ok(event.unit === 'queries' ? event.part === 'loss' : event.done > 0 && event.done < 65)
    }
  },
)
