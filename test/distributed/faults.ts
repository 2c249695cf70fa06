/** Faults in trainings on several ranks: what is done to them, and what is left. For faults.test.ts and bench/faults.mjs. */
import { randomInt } from 'node:crypto'
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { verifyCheckpoint } from '../../lib/train/checkpoint/checkpoint.js'
import type { RunConfig } from '../../lib/train/config/types.js'
import type { TrainEvent } from '../../lib/train/events.js'
import { saveTinyModel, threePhases, tinyRun, writeData } from '../train/tiny.js'
import { Hosts, Job } from './job.js'

export type Kind = 'kill' | 'stop' | 'cut'

/** Steps of each phase: more than a training does before a fault is noticed. */
const steps = 40

/** The exit code of mpirun: that of a killed rank; the group's own; "lost communication with a daemon". */
export const exitCodes: Readonly<Record<Kind, number>> = { kill: 137, stop: 9, cut: 205 }

/** A contrastive phase and a distillation, with a checkpoint every few steps. */
export function faultyRun(dir: string, out: string, device: string): RunConfig {
  const phases = threePhases(dir, steps, { checkpoint: { every: 5, keep: 3 } })
  return { ...tinyRun(dir, path.join(dir, 'base'), out, [phases[0]!, phases[2]!]), device }
}

export interface Fault {
  kind: Kind
  ranks: number
  /** The rank that is killed or stopped; the one behind the cut. */
  victim: number
  /** The step after which it happens, and how many milliseconds. */
  step: number
  delay: number
}

interface FaultRecord {
  missing: number | null
  reason: string
  place: string
  /** Under way, or null when the fault came between two; the last one is in `recent` then. */
  collective: { kind: string } | null
  recent: { kind: string }[]
}

interface Aftermath {
  /** From the fault to the end of the last process; null: some were left. */
  seconds: number | null
  orphans: number
  code: number | null
  /** By rank. */
  records: Record<number, FaultRecord>
  stderr: string
}

export interface Trial {
  fault: Fault
  seconds: number | null
  code: number | null
  /** Ranks that the training was resumed on, and how far its losses are from those they ought to be. */
  resumedOn: number
  difference: number
  /** What should not be; empty when all is well. */
  problems: string[]
}

/** A folder with a base model and data, in which trainings run into faults. */
export class Lab {
  private readonly dir = mkdtempSync(path.join(tmpdir(), 'lateforge-faults-'))
  /** Losses of trainings that nothing happens to, by ranks. */
  private readonly whole = new Map<number, number[]>()
  private trials = 0

  static async open(): Promise<Lab> {
    const lab = new Lab()
    writeData(lab.dir)
    await saveTinyModel(path.join(lab.dir, 'base'))
    return lab
  }

  close(): void {
    rmSync(this.dir, { recursive: true, force: true })
  }

  /**
   * A training on 2 or 3 ranks that a fault ends at a random point, and that is then resumed. On as many ranks its losses
   * are those of a training that nothing happened to, bit for bit. On fewer they agree up to rounding with what as many
   * do from the same checkpoint; in float64, because in float32 rounding soon decides which token is the best match.
   */
  async trial(kind: Kind, fewer: boolean): Promise<Trial> {
    const ranks = randomInt(2, 4)
    const victim = kind === 'cut' ? ranks - 1 : randomInt(ranks)
    const fault = { kind, ranks, victim, step: randomInt(1, 2 * steps - 25), delay: randomInt(30) }
    const out = `run-${++this.trials}`
    const device = fewer ? 'cpu-f64' : 'cpu'
    const { seconds, orphans, code, records, stderr } = await suffer(this.dir, out, device, fault)
    const problems: string[] = []
    if (orphans > 0) problems.push(`${orphans} processes are left`)
    if (seconds === null || seconds >= 15) problems.push(`it took ${seconds ?? 'more than 30'} s`)
    if (code !== exitCodes[kind]) problems.push(`mpirun ended with ${code}: ${stderr}`)
    for (const [rank, missing] of expectedRecords(fault)) {
      const record = records[rank]
      const collective = (record?.collective ?? record?.recent.at(-1))?.kind
      if (record?.missing !== missing || !/^phase (one|three), step \d+ of 40$/.test(record.place) || !collective)
        problems.push(`rank ${rank} should name ${missing}, and a place: ${JSON.stringify(record)}; ${stderr}`)
    }
    problems.push(...(await broken(path.join(this.dir, out, 'checkpoints'))))
    const resumedOn = fewer ? ranks - 1 : ranks
    if (fewer) cpSync(path.join(this.dir, out), path.join(this.dir, `${out}-alike`), { recursive: true })
    const found = await this.finish(out, device, resumedOn)
    const wanted = fewer ? await this.finish(`${out}-alike`, device, ranks) : await this.undisturbed(ranks)
    const difference = Math.max(...wanted.map((loss, i) => Math.abs(found[i]! - loss) / Math.abs(loss)))
    if (found.length !== wanted.length || !(difference <= (fewer ? 1e-9 : 0)))
      problems.push(`the losses differ by ${difference} in ${found.length} steps`)
    return { fault, seconds, code, resumedOn, difference, problems }
  }

  private async undisturbed(ranks: number): Promise<number[]> {
    if (!this.whole.has(ranks)) this.whole.set(ranks, await this.finish(`whole-${ranks}`, 'cpu', ranks))
    return this.whole.get(ranks)!
  }

  /** Runs or resumes a training to its end. @returns the loss of every step, as the run's log has it */
  private async finish(out: string, device: string, ranks: number): Promise<number[]> {
    const job = new Job(ranks, 'faulty', [this.dir, out, device])
    const code = await job.ended
    if (code !== 0) throw new Error(`${out} on ${ranks} ranks: exit ${code}: ${job.stderr}`)
    return readFileSync(path.join(this.dir, out, 'events.ndjson'), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as TrainEvent)
      .flatMap((e) => (e.type === 'step' ? e.loss : []))
  }
}

/** Starts a training, lets the fault happen, and looks at what is left. */
async function suffer(dir: string, out: string, device: string, fault: Fault): Promise<Aftermath> {
  const hosts = fault.kind === 'cut' ? new Hosts() : undefined
  const job = new Job(fault.ranks, 'faulty', [dir, out, device], hosts)
  try {
    await new Promise<void>((resolve, reject) => {
      job.onLine = (line) => {
        const event = JSON.parse(line) as TrainEvent
        if (event.type === 'step' && event.globalStep === fault.step) resolve()
      }
      void job.ended.then((code) => reject(new Error(`exit ${code} before step ${fault.step}: ${job.stderr}`)))
    })
    await setTimeout(fault.delay)
    if (fault.kind === 'cut') hosts!.cut()
    else job.signal(fault.victim, fault.kind === 'kill' ? 'SIGKILL' : 'SIGSTOP')
    const took = await job.gone(30_000)
    const orphans = job.processes().length
    const code = took === null ? null : await job.ended
    return { seconds: took && took / 1000, orphans, code, records: recordsOf(dir, out), stderr: job.stderr }
  } finally {
    job.close()
    hosts?.close()
  }
}

function recordsOf(dir: string, out: string): Aftermath['records'] {
  const folder = path.join(dir, out, 'faults')
  const names = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.json')) : []
  return Object.fromEntries(
    names.map((name) => [
      Number(/\d+/.exec(name)![0]),
      JSON.parse(readFileSync(path.join(folder, name), 'utf8')) as FaultRecord,
    ]),
  )
}

/** Checkpoints that do not verify. */
async function broken(root: string): Promise<string[]> {
  const found: string[] = []
  for (const name of readdirSync(root))
    if (/^step-\d+$/.test(name))
      await verifyCheckpoint(path.join(root, name)).catch((error: Error) => found.push(`${name}: ${error.message}`))
  return found
}

/** Ranks that a fault leaves alive, and whom each of them has to name. */
function expectedRecords({ kind, ranks, victim }: Fault): [rank: number, missing: number][] {
  const all = Array.from({ length: ranks }, (_, r) => r)
  // Behind the cut the others are missing, and rank 0 is whom that side talks to.
  if (kind === 'cut') return all.map((r) => [r, r === victim ? 0 : victim])
  return all.filter((r) => r !== victim).map((r) => [r, victim])
}
