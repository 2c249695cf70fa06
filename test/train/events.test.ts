import t from 'tap'
import type { RunResult } from '../../lib/train/config/types.js'
import { EventHub, type TrainEvent } from '../../lib/train/events.js'
import { Run } from '../../lib/train/loop/run.js'

const step = (n: number): Extract<TrainEvent, { type: 'step' }> => ({
  type: 'step',
  phase: 'p',
  step: n,
  globalStep: n,
  steps: 9,
  loss: 1 / n,
  learningRate: 1,
  gradientNorm: 1,
  tokens: 1,
  tokensPerSecond: 1,
  dataWaitMs: 0,
  memory: 0,
  etaSeconds: 0,
  source: 's',
})

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
const result = { out: 'somewhere' } as RunResult

function started(): { hub: EventHub; run: Run; finish: () => void; fail: (error: unknown) => void } {
  const hub = new EventHub()
  let settle!: { resolve: (r: RunResult) => void; reject: (e: unknown) => void }
  const outcome = new Promise<RunResult>((resolve, reject) => (settle = { resolve, reject }))
  return {
    hub,
    run: new Run(hub, outcome),
    finish: () => {
      hub.close()
      settle.resolve(result)
    },
    fail: (error) => {
      hub.close({ error })
      settle.reject(error)
    },
  }
}

/** Unhandled rejections and warnings while `fn` runs. */
async function watched(fn: () => Promise<void>): Promise<{ unhandled: unknown[]; warnings: Error[] }> {
  const [unhandled, warnings]: [unknown[], Error[]] = [[], []]
  const onUnhandled = (error: unknown): number => unhandled.push(error)
  const onWarning = (warning: Error): number => warnings.push(warning)
  process.on('unhandledRejection', onUnhandled).on('warning', onWarning)
  await fn()
  for (let i = 0; i < 5; i++) await turn()
  process.off('unhandledRejection', onUnhandled).off('warning', onWarning)
  return { unhandled, warnings }
}

t.test('an iterator opens with a snapshot and goes on from there', async (t) => {
  const { hub, run, finish } = started()
  const early = run[Symbol.asyncIterator]()
  hub.emit(step(1))
  hub.emit(step(2))
  const late = run[Symbol.asyncIterator]()
  hub.emit(step(3))
  finish()
  const all = async (events: AsyncIterable<TrainEvent>): Promise<TrainEvent[]> => {
    const list: TrainEvent[] = []
    for await (const event of events) list.push(event)
    return list
  }
  t.same(await all(early), [{ type: 'snapshot', status: 'running' }, step(1), step(2), step(3)])
  t.same(await all(late), [
    { type: 'snapshot', status: 'running', phase: 'p', step: 2, steps: 9, globalStep: 2, loss: 0.5, learningRate: 1 },
    step(3),
  ])
  t.match(await all(run), [{ type: 'snapshot', status: 'done', step: 3 }], 'after the end: where it ended')
  t.equal(await run.result, result)
})

t.test('leaving the loop does not stop the run, nor other readers', async (t) => {
  const { hub, run, finish } = started()
  const seen: string[] = []
  const other = (async () => {
    for await (const event of run) seen.push(event.type)
  })()
  const first = (async () => {
    for await (const event of run) if (event.type === 'step') break
  })()
  await turn()
  hub.emit(step(1))
  await first
  hub.emit(step(2))
  finish()
  await other
  t.same(seen, ['snapshot', 'step', 'step'])
  await run.result
})

t.test('failure: readers get what came before, then the error; either way of reading handles it', async (t) => {
  const error = new Error('broken')
  const iterated = await watched(async () => {
    const { hub, run, fail } = started()
    const { result } = run // taken, never awaited
    const seen: string[] = []
    const reading = (async () => {
      for await (const event of run) seen.push(event.type)
    })()
    hub.emit(step(1))
    fail(error)
    await t.rejects(reading, { message: 'broken' })
    t.same(seen, ['snapshot', 'step'])
    t.ok(result)
  })
  t.same(iterated, { unhandled: [], warnings: [] }, 'iterated')
  const awaited = await watched(async () => {
    const { run, fail } = started()
    const waiting = t.rejects(run.result, { message: 'broken' })
    fail(error)
    await waiting
  })
  t.same(awaited, { unhandled: [], warnings: [] }, 'awaited')
  const unread = await watched(async () => {
    const { run, fail } = started()
    fail(error)
    for (let i = 0; i < 5; i++) await turn()
    await t.rejects(run.result, { message: 'broken' }, 'a late reader still gets it')
  })
  t.same(unread.unhandled, [])
  t.same(unread.warnings, [error], 'nobody looked: a warning, not silence')
})

t.test('a reader that is far behind loses steps, nothing else', async (t) => {
  const { hub, run, finish } = started()
  const slow = run[Symbol.asyncIterator]()
  const warning = { type: 'warning', code: 'damaged-checkpoint', message: 'first', details: {} } as const
  hub.emit(warning)
  for (let n = 1; n <= 12_000; n++) hub.emit(step(n))
  finish()
  const events: TrainEvent[] = []
  for await (const event of slow) events.push(event)
  t.ok(events.length <= 10_001)
  t.same(events[1], warning)
  t.match(events.at(-1), { step: 12_000 })
})
