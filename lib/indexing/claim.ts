/** Who writes to a folder: one process at a time. */
import path from 'node:path'
import { LockedError } from '../errors.js'
import { claimFolder, type FolderLock, type Rival, silenceMs } from '../io/lock.js'

/** @throws LockedError ERR_LOCKED while another process writes to `dir` */
export async function claimWriting(dir: string): Promise<FolderLock> {
  const claim = await claimFolder(path.join(dir, 'lock'))
  if ('release' in claim) return claim
  throw refused(dir, claim)
}

function refused(dir: string, { host, pid, started, silentMs }: Rival): LockedError {
  const next =
    silentMs === null
      ? 'Wait until it has ended or closed the index'
      : `It gave its last sign of life ${Math.round(silentMs / 1000)} s ago and cannot be looked up from here; ` +
        `${silenceMs / 60_000} minutes after that it no longer counts`
  const text = `${dir} is being written by process ${pid} on ${host}, since ${started}. ${next}`
  return new LockedError('ERR_LOCKED', text, { dir, host, pid, started })
}
