/** One file from the Hub into `blobs/`: by whom it is fetched, from where it goes on, and whether it is the right one. */
import { createHash, type Hash } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, mkdir, open, rename, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { FileError, LateforgeError } from '../errors.js'
import { flush, syncPath } from '../io/atomic.js'
import { claimFolder, type FolderLock } from '../io/lock.js'
import type { HubFile } from './cache.js'
import { backoff, type Connection, client, reasonOf } from './connection.js'

/** How often a file is asked for again that was cut off without a new byte. */
const TRIES = 5
/** Between two looks at what another process is fetching, ms. */
const LONGEST_LOOK_MS = 2000

export interface BlobJob {
  connection: Connection
  file: HubFile & { checksum: string }
  /** Where the file is at the Hub. */
  url: string
  /** Where it goes. What is there of it before it is whole is beside it, and named after it. */
  target: string
  /** Folder for the claims of processes that want it. */
  lock: string
  onBytes: (bytes: number) => void
  onWait: (reason: string) => void
}

/**
 * Fetches a file, unless it is there. Another process that is at it is waited for. A file that was begun, by whatever end
 * of whatever process, is gone on with; it gets its name when its size and checksum are those that the Hub has told.
 * @throws HubError ERR_HUB; FileError ERR_FILE; AbortedError ERR_ABORTED
 */
export async function fetchBlob(job: BlobJob): Promise<void> {
  const { file, target } = job
  const isThere = (): Promise<boolean> =>
    stat(target).then(
      ({ size }) => size === file.size,
      () => false,
    )
  await mkdir(dirname(target), { recursive: true })
  for (let wait = 50; !(await isThere()); wait = Math.min(LONGEST_LOOK_MS, 2 * wait)) {
    const claim = await claimFolder(job.lock)
    if ('release' in claim) return holding(claim, async () => (await isThere()) || fetchWhole(job))
    if (job.connection.aborted) throw job.connection.abortion()
    job.onWait(`process ${claim.pid} on ${claim.host} is fetching it`)
    await sleep(wait)
  }
}

async function holding(lock: FolderLock, work: () => Promise<unknown>): Promise<void> {
  try {
    await work()
  } finally {
    await lock.release()
  }
}

async function fetchWhole(job: BlobJob): Promise<void> {
  const { file, target, connection } = job
  const part = `${target}.lateforge.incomplete`
  const there = await sizeOf(part)
  // Once more from nothing, where what was begun is damaged, as by a power loss.
  for (const begun of there > 0 && there <= file.size ? [there, 0] : [0]) {
    if (begun === 0) await rm(part, { force: true })
    const handle = await open(part, constants.O_RDWR | constants.O_CREAT)
    let right: boolean
    try {
      right = (await receive(job, handle, begun)) === file.checksum
      if (right) await flush(handle)
    } catch (error) {
      throw withAdvice(error, target)
    } finally {
      await handle.close()
    }
    if (right) {
      await rename(part, target)
      return syncPath(dirname(target))
    }
  }
  await rm(part, { force: true })
  throw connection.error(
    'checksum',
    `${file.path} did not arrive as it is at the Hub: its checksum is not ${file.checksum}. A proxy or a mirror may have ` +
      'changed it; nothing of it is kept',
    { file: file.path, expected: file.checksum },
  )
}

const sizeOf = (path: string): Promise<number> =>
  stat(path).then(
    ({ size }) => size,
    () => 0,
  )

/** Git's checksum of a small file is that of its content after a header; a large one has its plain SHA-256. */
function hashFor({ checksum, size }: BlobJob['file']): Hash {
  return checksum.length === 64 ? createHash('sha256') : createHash('sha1').update(`blob ${size}\0`)
}

/** Fills the file from `begun` on. @returns the checksum of all that is in it then */
async function receive(
  { connection, file, url, onBytes }: BlobJob,
  handle: FileHandle,
  begun: number,
): Promise<string> {
  const hash = hashFor(file)
  const buffer = Buffer.allocUnsafe(1 << 20)
  for (let read = 0; read < begun; ) {
    const { bytesRead } = await handle.read(buffer, 0, Math.min(buffer.length, begun - read), read)
    if (bytesRead === 0) return '' // it has become shorter
    hash.update(buffer.subarray(0, bytesRead))
    read += bytesRead
  }
  let position = begun
  onBytes(position)
  for (let cut = 0; position < file.size; ) {
    const before = position
    let refusal: unknown
    let surplus = 0
    try {
      const blob = await client().downloadFile({
        ...connection.params,
        repo: connection.repository,
        path: file.path,
        downloadInfo: { url, size: file.size, etag: file.checksum },
        xet: false,
        // The client's stream keeps nothing of an error but its message.
        async fetch(input, init) {
          try {
            const response = await connection.fetch(input, init)
            if (response.status !== 206) surplus = position // no ranges here: it begins at the beginning
            return response
          } catch (error) {
            refusal = error
            throw error
          }
        },
      })
      for await (const chunk of blob!.slice(position).stream() as AsyncIterable<Uint8Array>) {
        const bytes = chunk.subarray(Math.min(surplus, chunk.length))
        surplus -= chunk.length - bytes.length
        if (position + bytes.length > file.size) return '' // more than there should be is wrong as well
        // By position: should two processes be here after all, they write the same.
        for (let written = 0; written < bytes.length; )
          written += (await handle.write(bytes, written, bytes.length - written, position + written)).bytesWritten
        hash.update(bytes)
        position += bytes.length
        onBytes(position)
      }
      if (position < file.size) throw new Error(`cut off after ${position} of ${file.size} bytes`)
    } catch (error) {
      if (refusal !== undefined) throw refusal
      if (connection.aborted) throw connection.abortion()
      if (error instanceof LateforgeError || (error as NodeJS.ErrnoException).syscall === 'write') throw error
      cut = position > before ? 1 : cut + 1
      if (cut >= TRIES) throw connection.unreachable(new URL(url), error)
      await connection.pause(backoff(connection.settings, cut), `${file.path}: ${reasonOf(error)}`)
    }
  }
  return hash.digest('hex')
}

/** A full disk is named with what to do. */
function withAdvice(error: unknown, target: string): unknown {
  const { code, syscall, message } = error as NodeJS.ErrnoException
  if (code !== 'ENOSPC' && code !== 'EDQUOT') return error
  return new FileError(
    'ERR_FILE',
    `${target} was not written: ${message}; free some space, or let HF_HUB_CACHE name a folder on another disk. What is ` +
      'there of it is gone on with',
    { code, syscall, path: target },
    { cause: error },
  )
}
