/**
 * Locks between processes, by claims in a folder: they work on network file systems whose own locks do not, and what a
 * killed process leaves is known for it. Ours and no package: those go by the age of a file alone.
 */
import { randomUUID } from 'node:crypto'
import { mkdir, open, readdir, readFile, readlink, rename, rm, rmdir, stat, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout } from 'node:timers/promises'

export interface FolderLock {
  release(): Promise<void>
}

/** Who claims a folder. A process number means something only together with its namespace and the time it was started. */
interface Claim {
  host: string
  pid: number
  /** When it was made. */
  started: string
  /** The boot of the system and the namespace that `pid` is of, and when the process was started there. */
  namespace: string
  ticks: string
}

/** Sign of life of an owner that another machine cannot look up, and after how long without one it counts as ended. */
const beatMs = 15_000
export const silenceMs = 5 * 60_000
/** Claims that are made at the same moment settle it within this time. */
const settleMs = 2000

/**
 * Claims a folder, which is made for it. What a killed process of this machine has left is cleared away. Every claim is a
 * file of its own, which stays until it is released, so that nobody ever removes the claim of a process that lives: who
 * finds another living claim beside its own withdraws. Of two that are made at once the one with the greater name does so.
 * @returns the lock, or the claim of whoever has it
 */
export async function claimFolder(folder: string): Promise<FolderLock | Rival> {
  const name = `${randomUUID()}.json`
  const [namespace, ticks] = [await namespaceOf(), await ticksOf(process.pid)]
  const own: Claim = { host: hostname(), pid: process.pid, started: new Date().toISOString(), namespace, ticks }
  const made = await write(folder, name, own)
  const file = join(folder, name)
  try {
    const { mtimeMs: since } = await stat(file)
    for (let waited = 0; ; waited += 50) {
      const rivals = await rivalsOf(folder, name, own, since)
      const rival = rivals.find((r) => r.name < name || r.since < since - settleMs || waited > settleMs)
      if (rival) {
        await remove(folder, name, made)
        return { ...rival, silentMs: rival.namespace === namespace ? null : Math.max(0, since - rival.seen) }
      }
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

/** Whoever has a folder. */
export interface Rival extends Claim {
  /** Since its last sign of life; null for a process that can be looked up, and lives. */
  silentMs: number | null
}

interface Found extends Claim {
  name: string
  /** By the clock of the file system: when it was made, and its last sign of life. Milliseconds. */
  since: number
  seen: number
}

/** The other claims whose processes live, or may live; those of dead ones are removed. */
async function rivalsOf(folder: string, own: string, { namespace }: Claim, now: number): Promise<Found[]> {
  const rivals: Found[] = []
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

/**
 * It appears whole: who finds it can read it. The folder may be removed by another run's end meanwhile.
 * @returns the first folder that had to be made
 */
async function write(folder: string, name: string, claim: Claim): Promise<string> {
  let first: string | undefined
  for (let attempt = 0; ; attempt++) {
    try {
      const made = await mkdir(folder, { recursive: true }) // which fails where a folder above goes meanwhile
      first ??= made
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
