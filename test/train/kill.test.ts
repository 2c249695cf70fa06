import { type ChildProcess, spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, watch } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { verifyCheckpoint } from '../../lib/train/checkpoint/checkpoint.js'
import { latest } from '../../lib/train/checkpoint/state.js'
import type { TrainEvent } from '../../lib/train/events.js'
import { train } from '../../lib/train/loop/run.js'
import { bitsOf, folder, saveGuide, saveTinyModel, tinyRun, todaysPhases } from './tiny.js'

const steps = 12

interface Outcome {
  signal: NodeJS.Signals | null
  code: number | null
  events: TrainEvent[]
}

/** Starts or resumes the training in `dir`; `onEvent` may kill it. */
async function runChild(dir: string, onEvent: (event: TrainEvent, child: ChildProcess) => void): Promise<Outcome> {
  const script = fileURLToPath(new URL('./child.js', import.meta.url))
  const child = spawn(process.execPath, [script, dir, String(steps)], { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = new Promise<[number | null, NodeJS.Signals | null]>((resolve) =>
    child.on('exit', (code, signal) => resolve([code, signal])),
  )
  const events: TrainEvent[] = []
  for await (const line of createInterface({ input: child.stdout! })) {
    if (!line.endsWith('}')) continue // cut off by the kill
    const event = JSON.parse(line) as TrainEvent
    events.push(event)
    onEvent(event, child)
  }
  const [code, signal] = await ended
  return { code, signal, events }
}

t.test('killed in every phase, at a phase change and inside saves: the same bits in the end', async (t) => {
  const dir = folder(t)
  await saveTinyModel(path.join(dir, 'base'))
  await saveGuide(dir)
  const config = tinyRun(dir, path.join(dir, 'base'), 'alone', todaysPhases(dir, steps, { checkpoint: { every: 4 } }))
  const alone = await train(config).result
  alone.model.dispose()
  const root = path.join(dir, 'run/checkpoints')
  mkdirSync(root, { recursive: true })

  const check = async (what: string, { signal }: Outcome): Promise<void> => {
    t.equal(signal, 'SIGKILL', `killed ${what}`)
    for (const name of readdirSync(root))
      if (!name.startsWith('.')) await t.resolves(verifyCheckpoint(path.join(root, name)), `${name} is intact`)
  }

  const first = randomInt(1, steps)
  await check(
    `in phase one at step ${first}`,
    await runChild(dir, (e, child) => {
      if (e.type === 'step' && e.globalStep === first) child.kill('SIGKILL')
    }),
  )

  let inside = 0
  for (let attempt = 0; attempt < 10 && inside < 2; attempt++) {
    let watcher: ReturnType<typeof watch> | undefined
    const delay = randomInt(0, 12)
    const outcome = await runChild(dir, (e, child) => {
      if (e.type === 'phase' && !watcher)
        watcher = watch(root, (_, name) => {
          if (name?.startsWith('.step-')) void setTimeout(delay).then(() => child.kill('SIGKILL'))
        })
    })
    watcher?.close()
    if (outcome.code === 0) break
    await check(`${delay} ms into a save`, outcome)
    if (readdirSync(root).some((name) => name.startsWith('.step-'))) inside++
  }
  t.ok(inside > 0, `${inside} kills left an unfinished folder`)

  const lastOf = async (): Promise<number> => Number(/\d+$/.exec((await latest(path.join(dir, 'run'))) ?? '0')![0])
  for (const [p, name] of ['one', 'two', 'three'].entries()) {
    const reached = await lastOf()
    if (reached < steps * (p + 1) && p < 2)
      await check(
        `at the end of phase ${name}`,
        await runChild(dir, (e, child) => {
          if (e.type === 'phase' && e.at === 'end' && e.phase === name) child.kill('SIGKILL')
        }),
      )
    const low = Math.max(steps * (p + 1), await lastOf())
    const stop = low + 1 + randomInt(steps / 2) // early enough that the kill finds it running
    if (p < 2)
      await check(
        `at step ${stop}`,
        await runChild(dir, (e, child) => {
          if (e.type === 'step' && e.globalStep === stop) child.kill('SIGKILL')
        }),
      )
  }

  const { code, events } = await runChild(dir, () => {})
  t.equal(code, 0)
  const done = events.at(-1)!
  t.equal(done.type, 'done')
  t.equal(bitsOf(path.join(root, `step-${3 * steps}`)), bitsOf(alone.phases[2]!.checkpoint), 'the same bits')
  const lossesOf = (out: string): number[] =>
    readFileSync(path.join(dir, out, 'events.ndjson'), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as TrainEvent)
      .flatMap((e) => (e.type === 'step' ? e.loss : []))
  t.same(lossesOf('run'), lossesOf('alone'), 'the log tells of each step once, with the same loss')
  t.notOk(
    readdirSync(root).some((name) => name.startsWith('.')),
    'nothing unfinished is left',
  )
})
