/** The folder of a run has one owner at a time: a process, or rank 0 of several. */
import { randomUUID } from 'node:crypto'
import { mkdir, open, readdir, readFile, readlink, rename, rm, rmdir, stat, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { FileError, LockedError, typed } from '../../errors.js'

export interface FolderLock {
  release(): Promise<void>
}

/** Who claims a folder. A process number means something only together with its namespace and the time it was started. */
interface Claim {
  host: string
  pid: number
  /** When the run was started. */
  started: string
  /** The boot of the system and the namespace that `pid` is of, and when the process was started there. */
  namespace: string
  ticks: string
}

/** Sign of life of an owner that another machine cannot look up, and after how long without one it counts as ended. */
const beatMs = 15_000
const silenceMs = 5 * 60_000
/** Claims that are made at the same moment settle it within this time. */
const settleMs = 2000

/**
 * Claims a run's folder. What a killed process of this machine has left is cleared away. Every claim is a file of its own,
 * which stays until its run ends, so that nobody ever removes the claim of a process that lives: who finds another living
 * claim beside its own withdraws. Of two that are made at once the one with the greater name does so.
 * @throws LockedError ERR_LOCKED that names the owner; FileError ERR_FILE when the folder cannot be written
 */
export async function lockFolder(out: string): Promise<FolderLock> {
  const folder = join(out, 'lock')
  const name = `${randomUUID()}.json`
  const [namespace, ticks] = [await namespaceOf(), await ticksOf(process.pid)]
  const own: Claim = { host: hostname(), pid: process.pid, started: new Date().toISOString(), namespace, ticks }
  const made = await write(folder, name, own).catch((error) => {
    const reason = typed(error)
    throw reason instanceof FileError
      ? new FileError('ERR_FILE', `out: ${reason.message}`, reason.details, { cause: error })
      : error
  })
  const file = join(folder, name)
  try {
    const { mtimeMs: since } = await stat(file)
    for (let waited = 0; ; waited += 50) {
      const rivals = await rivalsOf(folder, name, own, since)
      const rival = rivals.find((r) => r.name < name || r.since < since - settleMs || waited > settleMs)
      if (rival) throw refused(out, folder, rival, own, since)
      if (rivals.length === 0) break
      await setTimeout(50)
    }
  } catch (error) {
    await remove(folder, name, made)
    throw error
  }
  const handle = await open(file, 'r+')
  const timer = setInterval(() => void handle.write('{', 0).catch(() => {}), beatMs).unref()
  return {
    async release() {
      clearInterval(timer)
      await handle.close()
      await remove(folder, name, made)
    },
  }
}

interface Rival extends Claim {
  name: string
  /** By the clock of the file system: when it was made, and its last sign of life. Milliseconds. */
  since: number
  seen: number
}

/** The other claims whose processes live, or may live; those of dead ones are removed. */
async function rivalsOf(folder: string, own: string, { namespace }: Claim, now: number): Promise<Rival[]> {
  const rivals: Rival[] = []
  for (const name of await readdir(folder)) {
    if (name === own || name.startsWith('.')) continue
    const file = join(folder, name)
    try {
      const claim = JSON.parse(await readFile(file, 'utf8')) as Claim
      const { birthtimeMs, mtimeMs } = await stat(file)
      const lives =
        claim.namespace === namespace ? (await ticksOf(claim.pid)) === claim.ticks : mtimeMs > now - silenceMs
      if (lives) rivals.push({ ...claim, name, since: Math.min(birthtimeMs || mtimeMs, mtimeMs), seen: mtimeMs })
      else await rm(file, { force: true })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error // withdrawn meanwhile
    }
  }
  return rivals
}

function refused(out: string, folder: string, rival: Rival, own: Claim, now: number): LockedError {
  const { host, pid, started } = rival
  const next =
    rival.namespace === own.namespace
      ? 'Wait until it has ended, stop it, or choose another `out`'
      : `It gave its last sign of life ${Math.max(0, Math.round((now - rival.seen) / 1000))} s ago, and cannot be looked ` +
        `up from here. If it has ended, remove ${folder}; ${silenceMs / 60_000} minutes after its last sign it no longer counts`
  return new LockedError(
    'ERR_LOCKED',
    `${out} belongs to a run of process ${pid} on ${host}, started ${started}. ${next}`,
    {
      out,
      host,
      pid,
      started,
    },
  )
}

/**
 * It appears whole: who finds it can read it. The folder may be removed by another run's end meanwhile.
 * @returns the first folder that had to be made
 */
async function write(folder: string, name: string, claim: Claim): Promise<string> {
  let first: string | undefined
  for (let attempt = 0; ; attempt++) {
    const made = await mkdir(folder, { recursive: true })
    first ??= made
    try {
      const unfinished = join(folder, `.${name}`)
      await writeFile(unfinished, `${JSON.stringify(claim)}\n`)
      await rename(unfinished, join(folder, name))
      return first ?? folder
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || attempt > 100) throw error
    }
  }
}

/** With the folders that were made for it, from `made` on, where nothing else is in them. */
async function remove(folder: string, name: string, made: string): Promise<void> {
  await rm(join(folder, name), { force: true })
  try {
    for (let empty = folder; ; empty = dirname(empty)) {
      await rmdir(empty)
      if (empty.length <= made.length) break
    }
  } catch {} // others are in it
}

/** Where processes cannot be looked up, every claim is of a namespace of its own: its signs of life count. */
async function namespaceOf(): Promise<string> {
  if (process.platform !== 'linux') return randomUUID()
  const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8')
  return `${boot.trim()} ${await readlink('/proc/self/ns/pid')}`
}

/** When a process of this machine was started, in ticks since the boot; '' where there is none, or it is dead. */
async function ticksOf(pid: number): Promise<string> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ') // from the third one on: the name may hold anything
  return /^[ZX]/.test(fields[0]!) ? '' : (fields[19] ?? '')
}
