/**
 * How everything lateforge keeps gets onto the disk: whole or not at all, whenever the process or the machine dies. It is
 * written under a temporary name beside its place, flushed, and takes its name by one rename; then the folder is flushed.
 * Ours and no package: those write a string or a buffer; here are streams, folders, and one folder in another's place.
 */
import { randomUUID } from 'node:crypto'
import { fsync } from 'node:fs'
import { type FileHandle, mkdir, open, readdir, realpath, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { promisify } from 'node:util'
import { createGzip } from 'node:zlib'
import { FileError } from '../errors.js'
import { native } from '../native.js'

/** What a file is written from: text, as UTF-8, and raw memory, which is not copied. */
export type Piece = string | ArrayBufferView
type Pieces = Iterable<Piece> | AsyncIterable<Piece>

/** Texts shorter than this many characters are joined: a write costs more than a copy. */
const JOINED = 1 << 16
/** Bytes of one write: Linux takes 2 GiB at most. */
const WRITTEN = 1 << 30
/** What is unfinished and was not touched for this long belongs to nobody. */
const ABANDONED_MS = 24 * 3600 * 1000
/** Windows flushes what is open for writing, and no folders. */
const windows = process.platform === 'win32'
const flushable = windows ? 'r+' : 'r'

/**
 * Writes a file. Folders are made as needed, and names ending in `.gz` are compressed. On failure nothing is left behind
 * and an older file stays as it was.
 * @throws FileError ERR_FILE; what `pieces` throws passes through
 */
export async function writeAtomic(path: string, pieces: Pieces): Promise<void> {
  const temporary = temporaryName(path)
  try {
    await makeFolder(dirname(path))
    const file = await open(temporary, 'wx')
    try {
      const chunks = joined(pieces)
      for await (const chunk of path.endsWith('.gz') ? packed(chunks) : chunks) await writeAll(file, chunk)
      await flush(file)
    } finally {
      await file.close()
    }
    await rename(temporary, path)
    await syncPath(dirname(path))
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {}) // `error` says more
    throw failedTo(path, error)
  }
}

/**
 * Writes a folder through `fill`, which writes into the folder it is given. With `replaces`, one that is there already is
 * exchanged for it, so that at every moment the name belongs to the whole old folder or to the whole new one. Only where
 * the file system cannot exchange names (NFS) is there a moment at which the old one is called `.NAME.replaced`:
 * `recoverFolder` brings it back.
 * @throws FileError ERR_FILE, for one too that is there and not to be replaced; what `fill` throws passes through
 */
export async function writeFolder(
  path: string,
  fill: (folder: string) => Promise<void>,
  { replaces = false }: { replaces?: boolean } = {},
): Promise<void> {
  const target = await realpath(path).catch(() => resolve(path)) // a link stays a link
  const temporary = temporaryName(target)
  try {
    await makeFolder(dirname(target))
    if (replaces) await removeAbandoned(dirname(target), (name) => isTemporary(name, basename(target)))
    await mkdir(temporary)
    await fill(temporary)
    await syncAll(temporary)
    if (replaces && (await exists(target))) await replace(target, temporary)
    else await rename(temporary, target)
    await syncPath(dirname(target))
  } catch (error) {
    throw failedTo(path, error)
  } finally {
    // What is unfinished, or was there before; if it cannot go now, a later save removes it.
    await rm(temporary, { recursive: true, force: true }).catch(() => {})
  }
}

/** Exchanges two folders of one parent, so that `temporary` is the old one. */
async function replace(target: string, temporary: string): Promise<void> {
  if (native().exchangePaths(target, temporary)) return
  const old = replacedName(target)
  await rm(old, { recursive: true, force: true })
  await rename(target, old)
  try {
    await rename(temporary, target)
  } catch (error) {
    await rename(old, target)
    throw error
  }
  await rename(old, temporary).catch(() => {}) // a later save removes it
}

/** Gives a folder its name back where `writeFolder` was cut off on a file system that cannot exchange names. */
export async function recoverFolder(path: string): Promise<void> {
  // Whoever else does the same at this moment is as good.
  if (!(await exists(path))) await rename(replacedName(resolve(path)), path).catch(() => {})
}

const replacedName = (path: string): string => join(dirname(path), `.${basename(path)}.replaced`)

/** Unique among threads, processes and machines. */
function temporaryName(path: string): string {
  return join(dirname(path), `.${basename(path)}.${randomUUID()}.tmp`)
}

function isTemporary(name: string, place: string): boolean {
  return name.startsWith(`.${place}.`) && name.endsWith('.tmp')
}

/** Removes what killed processes left unfinished in `folder`: what `matches` and nothing has touched for a day. */
export async function removeAbandoned(folder: string, matches: (name: string) => boolean): Promise<void> {
  for (const name of (await readdir(folder)).filter(matches)) {
    const path = join(folder, name)
    const inside = await readdir(path).catch(() => [])
    const times = await Promise.all(['', ...inside].map((entry) => stat(join(path, entry)).catch(() => null)))
    const touched = Math.max(...times.map((found) => found?.mtimeMs ?? 0))
    if (touched > 0 && Date.now() - touched > ABANDONED_MS) await rm(path, { recursive: true, force: true })
  }
}

/**
 * Waits until what was written is on the disk. Yarn's PnP puts file handles of its own in the place of Node's, whose `sync`
 * throws an error without a code; Node's permission model, in turn, forbids to flush by descriptor.
 */
export async function flush(file: FileHandle): Promise<void> {
  try {
    await file.sync()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== undefined) throw error
    await promisify(fsync)(file.fd)
  }
}

/** Makes a file, or the names in a folder, survive a power loss. */
export async function syncPath(path: string): Promise<void> {
  if (windows && (await stat(path)).isDirectory()) return
  const handle = await open(path, flushable)
  try {
    await flush(handle)
  } catch (error) {
    // Some network file systems have no way to flush a folder; their files are flushed all the same.
    if (!((await handle.stat()).isDirectory() && /EINVAL|ENOTSUP/.test((error as NodeJS.ErrnoException).code ?? '')))
      throw error
  } finally {
    await handle.close()
  }
}

async function syncAll(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true }))
    await syncPath(join(entry.parentPath, entry.name))
  await syncPath(folder)
}

/** A folder with all above it, so that they survive a power loss. */
async function makeFolder(folder: string): Promise<void> {
  const first = await mkdir(folder, { recursive: true })
  for (let made = resolve(folder); first !== undefined; made = dirname(made)) {
    await syncPath(dirname(made))
    if (made === resolve(first)) break
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}

async function writeAll(file: FileHandle, { buffer, byteOffset, byteLength }: ArrayBufferView): Promise<void> {
  const bytes = new Uint8Array(buffer, byteOffset, byteLength)
  for (let done = 0; done < byteLength; )
    done += (await file.write(bytes, done, Math.min(byteLength - done, WRITTEN))).bytesWritten
}

async function* joined(pieces: Pieces): AsyncGenerator<ArrayBufferView> {
  let text = ''
  for await (const piece of pieces) {
    if (typeof piece === 'string') text += piece
    if (text !== '' && (text.length >= JOINED || typeof piece !== 'string')) {
      yield Buffer.from(text)
      text = ''
    }
    if (typeof piece !== 'string') yield piece
  }
  if (text !== '') yield Buffer.from(text)
}

async function* packed(chunks: AsyncIterable<ArrayBufferView>): AsyncGenerator<ArrayBufferView> {
  const gzip = createGzip()
  pipeline(chunks, gzip).catch(() => {}) // the reader of `gzip` is told
  yield* gzip
}

/** A refusal of the operating system, with the name of what was being written; other errors as they are. */
function failedTo(path: string, error: unknown): unknown {
  const refusal = error instanceof FileError ? error.cause : error // of a file in a folder: by the folder's name
  if (typeof refusal !== 'object' || refusal === null || !('syscall' in refusal)) return error
  const { code, syscall, message } = refusal as NodeJS.ErrnoException
  const next = code === 'ENOSPC' || code === 'EDQUOT' ? 'free some space' : 'nothing of it is left behind'
  const details = { code, syscall, path }
  return new FileError('ERR_FILE', `${path} was not written: ${message}; ${next}`, details, { cause: refusal })
}
