/** The folder of a run has one owner at a time: a process, or rank 0 of several. */
import { join } from 'node:path'
import { FileError, LockedError, typed } from '../../errors.js'
import { claimFolder, type FolderLock, type Rival, silenceMs } from '../../io/lock.js'

/**
 * Claims a run's folder.
 * @throws LockedError ERR_LOCKED that names the owner; FileError ERR_FILE when the folder cannot be written
 */
export async function lockFolder(out: string): Promise<FolderLock> {
  const folder = join(out, 'lock')
  const claimed = await claimFolder(folder).catch((error) => {
    const reason = typed(error)
    throw reason instanceof FileError
      ? new FileError('ERR_FILE', `out: ${reason.message}`, reason.details, { cause: error })
      : error
  })
  if ('release' in claimed) return claimed
  throw refused(out, folder, claimed)
}

function refused(out: string, folder: string, { host, pid, started, silentMs }: Rival): LockedError {
  const next =
    silentMs === null
      ? 'Wait until it has ended, stop it, or choose another `out`'
      : `It gave its last sign of life ${Math.round(silentMs / 1000)} s ago, and cannot be looked ` +
        `up from here. If it has ended, remove ${folder}; ${silenceMs / 60_000} minutes after its last sign it no longer counts`
  return new LockedError(
    'ERR_LOCKED',
    `${out} belongs to a run of process ${pid} on ${host}, started ${started}. ${next}`,
    { out, host, pid, started },
  )
}
