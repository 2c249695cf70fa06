/**
 * Whole trainings by the command line on several ranks: the same losses and metrics as one process, the same bits twice,
 * going on with another number of ranks, stopping together, and ranks that were not started alike.
 */
import { spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { groupExitCode } from '../../lib/distributed/group.js'
import { writeBeir } from '../../lib/eval/index.js'
import type { PhaseConfig, RunConfig } from '../../lib/train/config/types.js'
import type { EvalEvent, StepEvent, TrainEvent } from '../../lib/train/events.js'
import { bitsOf, folder, saveGuide, saveTinyModel, threePhases, tinyRun, writeData } from '../train/tiny.js'
import { mpiEnvironment, mpirun, withoutMpich, withoutRanks } from './launch.js'

const main = fileURLToPath(new URL('../../lib/cli/main.js', import.meta.url))
const steps = 6

interface Outcome {
  code: number | null
  events: TrainEvent[]
  out: string
  err: string
}

/** `lateforge <args> --json` on so many ranks; 1: without mpirun. */
async function lateforge(
  ranks: number,
  args: string[],
  onEvent?: (e: TrainEvent) => void,
  { mpirun = 'mpirun', mpi = '' } = {},
): Promise<Outcome> {
  const command = [process.execPath, main, ...args, '--json', ...(args[0] === 'eval' ? [] : ['--quiet'])]
  const whole = ranks === 1 ? command : ['timeout', '-k', '5', '120', mpirun, '-n', `${ranks}`, ...command]
  const child = spawn(whole[0]!, whole.slice(1), { env: { ...mpiEnvironment, NO_COLOR: '1', LATEFORGE_MPI: mpi } })
  const outcome: Outcome = { code: null, events: [], out: '', err: '' }
  let rest = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    outcome.out += text
    const lines = (rest + text).split('\n')
    rest = lines.pop()!
    for (const line of lines) {
      if (!line.startsWith('{"')) continue
      const event = JSON.parse(line) as TrainEvent
      outcome.events.push(event)
      onEvent?.(event)
    }
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => (outcome.err += text))
  return new Promise((resolve) => child.on('close', (code) => resolve({ ...outcome, code })))
}

const stepsOf = ({ events }: Outcome): StepEvent[] => events.filter((e) => e.type === 'step')
const evalsOf = ({ events }: Outcome): EvalEvent[] => events.filter((e) => e.type === 'eval')

/** A config file for three phases that evaluate on a small collection. */
async function prepare(dir: string, name: string, changes: Partial<PhaseConfig> = {}): Promise<string> {
  const base = path.join(dir, 'base')
  if (!existsSync(base)) {
    await saveTinyModel(base)
    const texts = readFileSync(path.join(dir, 'pairs.jsonl'), 'utf8').trim().split('\n')
    const rows = texts.map((line) => JSON.parse(line) as { query: string; document: string })
    const judged = rows.slice(0, 9)
    await writeBeir(path.join(dir, 'beir'), {
      documents: rows.map(({ document }, i) => ({ id: `d${i}`, text: document })),
      queries: judged.map(({ query }, i) => ({ id: `q${i}`, text: query })),
      qrels: { test: new Map(judged.map((_, i) => [`q${i}`, new Map([[`d${i}`, 1]])])) },
    })
  }
  const config = tinyRun(dir, base, name, threePhases(dir, steps))
  const data = path.join(dir, 'beir')
  const phases = config.phases.map((phase) => ({
    ...phase,
    evaluate: { every: 3, data, split: 'test' },
    ...(phase.loss === 'contrastive' && changes), // only it gathers
  }))
  const file = path.join(dir, `${name}.json`)
  writeFileSync(file, JSON.stringify({ ...config, phases }))
  return file
}

/**
 * Losses of two runs of the same steps. Sums in another order differ by rounding; where two document tokens are all but
 * tied for a maximum that can decide between them, so what follows may be off by more (once in six seeds, by 1 %).
 */
function agrees(t: Test, found: Outcome, wanted: Outcome, from = 0): void {
  const expected = stepsOf(wanted).filter((e) => e.globalStep > from)
  t.same(
    stepsOf(found).map((e) => [e.phase, e.step, e.tokens]),
    expected.map((e) => [e.phase, e.step, e.tokens]),
    'the same steps, of the same tokens',
  )
  const [first, begin] = [stepsOf(found)[0]!, expected[0]!]
  if (from === 0)
    t.ok(Math.abs(first.loss - begin.loss) <= 1e-4 * begin.loss, `first loss ${first.loss}, expected ${begin.loss}`)
  for (const [i, { loss, globalStep }] of stepsOf(found).entries())
    if (!(Math.abs(loss - expected[i]!.loss) <= 0.03 * expected[i]!.loss))
      t.fail(`loss of step ${globalStep} is ${loss}, expected ${expected[i]!.loss}`)
  // One that was due when the run stopped is made up for.
  const since = evalsOf(found)[0]?.globalStep === from ? from : from + 1
  const evaluated = evalsOf(wanted).filter((e) => e.globalStep >= since)
  t.same(
    evalsOf(found).map((e) => e.globalStep),
    evaluated.map((e) => e.globalStep),
    'the same evaluations',
  )
  for (const [i, { value, globalStep }] of evalsOf(found).entries())
    t.ok(Math.abs(value - evaluated[i]!.value) < 0.1, `${value} at step ${globalStep}, expected ${evaluated[i]!.value}`)
}

t.test('training on several ranks', { skip: withoutRanks, timeout: 300_000 }, async (t) => {
  const dir = folder(t)
  writeData(dir)
  const alone = await lateforge(1, ['train', await prepare(dir, 'alone')])
  t.equal(alone.code, 0, alone.err)

  const three = await lateforge(3, ['train', await prepare(dir, 'three')])
  t.equal(three.code, 0, three.err)
  agrees(t, three, alone)
  t.match(
    three.events.find((e) => e.type === 'start'),
    { ranks: 3 },
  )

  // Documents travel instead of queries: other sums, the same gradients.
  const crossed = await prepare(dir, 'crossed', { gather: 'documents' })
  const two = await lateforge(2, ['train', crossed])
  t.equal(two.code, 0, two.err)
  agrees(t, two, alone)

  t.comment('both directions, and a guide whose tokens are others: the same on several ranks')
  const guide = { model: `${await saveGuide(dir)}-dense`, dense: true, margin: 0.1 }
  const guided: Outcome[] = []
  for (const [ranks, gather] of [
    [1, 'queries'],
    [3, 'queries'],
    [2, 'documents'],
  ] as const) {
    const file = await prepare(dir, `guided-${ranks}`, { guide, symmetric: true, ...(ranks > 1 && { gather }) })
    guided.push(await lateforge(ranks, ['train', file]))
    t.equal(guided.at(-1)!.code, 0, guided.at(-1)!.err)
    agrees(t, guided.at(-1)!, guided[0]!)
  }
  t.not(stepsOf(guided[0]!)[0]!.loss, stepsOf(alone)[0]!.loss)

  t.comment('the same ranks give the same bits; a run stops as one and goes on with other ranks')
  const again = await prepare(dir, 'again')
  const stopAt = steps + 2
  let stopped = false
  const first = await lateforge(3, ['train', again], (event) => {
    if (stopped || event.type !== 'step' || event.globalStep < stopAt) return
    stopped = true
    process.kill(rankProcesses(again)[1]!, 'SIGTERM') // one of the three is told
  })
  t.not(first.code, 0)
  const saved = first.events.findLast((e) => e.type === 'checkpoint')
  t.match(saved, { reason: 'abort' })
  const resumed = await lateforge(3, ['resume', path.join(dir, 'again')])
  t.equal(resumed.code, 0, resumed.err)
  const end = `checkpoints/step-${3 * steps}`
  t.equal(bitsOf(path.join(dir, 'again', end)), bitsOf(path.join(dir, 'three', end)), 'stopped and resumed: same bits')

  const other = await prepare(dir, 'other')
  const begun = await lateforge(2, ['train', other], (event) => {
    if (event.type === 'step' && event.globalStep === stopAt) process.kill(rankProcesses(other)[0]!, 'SIGTERM')
  })
  t.not(begun.code, 0)
  const at = begun.events.findLast((e) => e.type === 'checkpoint')!
  const rest = await lateforge(1, ['resume', path.join(dir, 'other')])
  t.equal(rest.code, 0, rest.err)
  t.equal(stepsOf(rest).length, 3 * steps - at.globalStep)
  agrees(t, rest, alone, at.globalStep)

  t.comment('negatives of one rank: on another number of ranks the run goes on, and says what that changes')
  const apart = await prepare(dir, 'apart', { gather: 'none' })
  const halves = await lateforge(2, ['train', apart], (event) => {
    if (event.type === 'step' && event.globalStep === stopAt) process.kill(rankProcesses(apart)[0]!, 'SIGTERM')
  })
  t.not(halves.code, 0)
  const whole = await lateforge(1, ['resume', path.join(dir, 'apart')])
  t.equal(whole.code, 0, whole.err)
  t.match(
    whole.events.filter((e) => e.type === 'warning' && e.code === 'ranks'),
    [{ details: { phase: 'two', ranks: 1, before: 2 } }],
  )

  t.comment('a sharded search finds what one process finds')
  const evaluation = async (ranks: number): Promise<unknown> => {
    const { code, out, err } = await lateforge(ranks, ['eval', path.join(dir, 'base'), path.join(dir, 'beir')])
    t.equal(code, 0, err)
    return JSON.parse(out) // on a terminal, as mpirun makes it, in several lines
  }
  t.same(await evaluation(3), await evaluation(1))
})

t.test(
  'two ranks by MPICH: the same bits as by Open MPI',
  { skip: withoutMpich || withoutRanks, timeout: 300_000 },
  async (t) => {
    const dir = folder(t)
    writeData(dir)
    for (const mpi of ['mpirun', 'mpirun.mpich']) {
      const run = await lateforge(2, ['train', await prepare(dir, mpi)], undefined, { mpirun: mpi })
      t.equal(run.code, 0, run.err)
      t.match(
        run.events.find((e) => e.type === 'start'),
        { ranks: 2 },
      )
      t.equal(stepsOf(run).length, 3 * steps)
    }
    const [open, mpich] = ['mpirun', 'mpirun.mpich'].map((mpi) => path.join(dir, mpi, `checkpoints/step-${3 * steps}`))
    t.equal(bitsOf(mpich!), bitsOf(open!))

    t.comment(
      'a rank that cannot go on ends the job, with its exit code or, as it happens, that of the rank which notices',
    )
    const bad = await lateforge(2, ['eval', path.join(dir, 'base'), path.join(dir, 'nothing')], undefined, {
      mpirun: 'mpirun.mpich',
    })
    t.ok([3, groupExitCode].includes(bad.code!), `${bad.code}: ${bad.err}`)

    t.comment('ranks of one MPI that are told to use the other see nobody: no training of each on its own')
    const other = await lateforge(2, ['train', await prepare(dir, 'other-mpi')], undefined, { mpi: 'mpich' })
    t.equal(other.code, groupExitCode, other.err)
    t.match(other.out + other.err, /Open MPI's mpirun started 2 ranks, and MPICH or Intel MPI sees 1/)
  },
)

t.test('the CUDA kernels, run on the host, on two ranks', { skip: withoutRanks, timeout: 300_000 }, async (t) => {
  const dir = folder(t)
  writeData(dir)
  for (const precision of ['float32', 'bfloat16'] as const) {
    const outcomes: Outcome[] = []
    for (const ranks of [1, 2]) {
      const name = `${precision}-${ranks}`
      const file = await prepare(dir, name)
      const { phases, ...config } = JSON.parse(readFileSync(file, 'utf8')) as RunConfig
      const phase = { ...phases[0]!, steps: 2, evaluate: undefined }
      writeFileSync(file, JSON.stringify({ ...config, phases: [phase], device: 'cuda-host', precision }))
      outcomes.push(await lateforge(ranks, ['train', file]))
      t.equal(outcomes.at(-1)!.code, 0, outcomes.at(-1)!.err)
    }
    agrees(t, outcomes[1]!, outcomes[0]!)
  }
})

t.test('ranks that were not started alike', { skip: withoutRanks }, async (t) => {
  const dir = folder(t)
  writeData(dir)
  for (const [kind, message] of [
    ['seed', /rank 2 \(against rank 0\): config\.seed: 8 against 7/],
    ['data', /rank 1 \(against rank 0\): data: /],
    ['weights', /rank 1 \(against rank 0\): weights: /],
  ] as const) {
    const { status, reports, stderr } = mpirun(3, 'unlike', [dir, kind])
    t.equal(status, groupExitCode, `${kind}: ${stderr}`)
    t.equal(reports.length, 3)
    for (const report of reports) t.match(report, { code: 'ERR_GROUP', message })
    for (const rank of [0, 1, 2]) {
      const record = JSON.parse(readFileSync(path.join(dir, `run-${kind}/faults/rank-${rank}.json`), 'utf8'))
      t.match(record.reason, message)
    }
  }
})

t.test("a fault of the last phase is every rank's, before anything is trained", { skip: withoutRanks }, async (t) => {
  const dir = folder(t)
  writeData(dir)
  const file = await prepare(dir, 'faulty')
  const found = await lateforge(2, ['train', file, 'phases.2.batch=1000', 'phases.1.documentLength=65'])
  t.equal(found.code, 2)
  t.same(
    found.events.map(({ type }) => type).filter((type) => type !== 'progress'),
    ['snapshot'],
  )
  for (const rank of [0, 1]) {
    const start = found.err.indexOf(`error ERR_CONFIG (rank ${rank})  2 faults`)
    t.not(start, -1, found.err)
    t.match(
      found.err.slice(start),
      /phases\[1\]\.documentLength \(phase "two"\)[\s\S]*phases\[2\]\.batch \(phase "three"\)/,
    )
  }
  for (const name of ['config.json', 'checkpoints', 'events.ndjson', 'model'])
    t.notOk(existsSync(path.join(dir, 'faulty', name)), name)
})

/** The processes that run lateforge on this config, oldest first. */
function rankProcesses(config: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
        return command[0] === process.execPath && command.includes(config)
      } catch {
        return false // gone meanwhile
      }
    })
    .sort((a, b) => a - b)
}
