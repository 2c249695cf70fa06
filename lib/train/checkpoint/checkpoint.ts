import { createHash, randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { join, relative, sep } from 'node:path'
import { CheckpointError } from '../../errors.js'
import { writeAtomic, writeFolder } from '../../io/atomic.js'

/**
 * Checkpoints are folders `step-N` that appear whole or not at all (lib/io/atomic.ts); `manifest.json`, with the hash of
 * every file, is written last. Names that start with a dot are unfinished or half removed; nothing ever reads them.
 */
const MANIFEST = 'manifest.json'
const NAME = /^step-(\d+)$/

interface Manifest {
  format: 'lateforge-checkpoint'
  version: 1
  files: Record<string, { bytes: number; sha256: string }>
}

export interface CheckpointEntry {
  path: string
  step: number
}

/** Checkpoints below `root`, oldest first; whether they are intact is not looked at. */
export async function listCheckpoints(root: string): Promise<CheckpointEntry[]> {
  const names = await readdir(root).catch(() => [])
  return names
    .flatMap((name) => {
      const match = NAME.exec(name)
      return match ? [{ path: join(root, name), step: Number(match[1]) }] : []
    })
    .sort((a, b) => a.step - b.step)
}

/**
 * Writes `root/step-N` through `fill`, which writes files into the folder it is given.
 * @throws CheckpointError ERR_CHECKPOINT when it exists: a checkpoint is never overwritten
 */
export async function writeCheckpoint(
  root: string,
  step: number,
  fill: (folder: string) => Promise<void>,
): Promise<string> {
  const path = join(root, `step-${step}`)
  if (await stat(path).catch(() => null))
    throw new CheckpointError('ERR_CHECKPOINT', `${path} exists already. Resume from it, or use another folder`, {
      path,
    })
  await writeFolder(path, async (unfinished) => {
    await fill(unfinished)
    const files: Manifest['files'] = {}
    for (const file of await filesIn(unfinished))
      files[relative(unfinished, file).split(sep).join('/')] = await digest(file)
    const manifest: Manifest = { format: 'lateforge-checkpoint', version: 1, files }
    await writeAtomic(join(unfinished, MANIFEST), [`${JSON.stringify(manifest, null, 1)}\n`])
  })
  return path
}

/** @throws CheckpointError ERR_CHECKPOINT that names the first file that is missing, changed or not listed */
export async function verifyCheckpoint(path: string): Promise<void> {
  const fail = (problem: string, file?: string, cause?: unknown): CheckpointError =>
    new CheckpointError(
      'ERR_CHECKPOINT',
      `${path} is no intact checkpoint: ${problem}. Resume from an earlier one, or with resume: 'auto', which does that`,
      { path, file },
      { cause },
    )
  let files: Manifest['files']
  try {
    const manifest = JSON.parse(await readFile(join(path, MANIFEST), 'utf8')) as Partial<Manifest>
    if (manifest.format !== 'lateforge-checkpoint' || manifest.version !== 1 || typeof manifest.files !== 'object')
      throw new Error(`it says ${manifest.format} version ${manifest.version}, this lateforge reads version 1`)
    files = manifest.files
  } catch (cause) {
    throw fail(`${MANIFEST} cannot be read (${(cause as Error).message})`, MANIFEST, cause)
  }
  for (const [name, expected] of Object.entries(files)) {
    const found = await digest(join(path, name)).catch((cause) => {
      throw fail(`${name} cannot be read (${cause.message})`, name, cause)
    })
    if (found.bytes !== expected.bytes)
      throw fail(`${name} has ${found.bytes} bytes instead of ${expected.bytes}`, name)
    if (found.sha256 !== expected.sha256) throw fail(`the contents of ${name} changed`, name)
  }
  for (const file of await filesIn(path)) {
    const name = relative(path, file).split(sep).join('/')
    if (name !== MANIFEST && !files[name]) throw fail(`${name} is not in ${MANIFEST}`, name)
  }
}

/**
 * The newest intact checkpoint below `root`, or null. Damaged newer ones are handed to `skipped`; without it the first
 * of them throws.
 */
export async function latestCheckpoint(
  root: string,
  skipped?: (path: string, error: CheckpointError) => void,
): Promise<CheckpointEntry | null> {
  for (const entry of (await listCheckpoints(root)).reverse()) {
    try {
      await verifyCheckpoint(entry.path)
      return entry
    } catch (error) {
      if (!skipped || !(error instanceof CheckpointError)) throw error
      skipped(entry.path, error)
    }
  }
  return null
}

/** Removes a checkpoint; it stops being one at once. */
export async function removeCheckpoint(path: string): Promise<void> {
  const doomed = join(path, '..', `.removed.${randomBytes(6).toString('hex')}`)
  await rename(path, doomed)
  await rm(doomed, { recursive: true, force: true })
}

/** Clears what killed processes left unfinished below `root`. Only for who owns the run. */
export async function clearUnfinished(root: string): Promise<void> {
  for (const name of await readdir(root).catch(() => []))
    if (/^\.(step-\d+|removed)\./.test(name)) await rm(join(root, name), { recursive: true, force: true })
}

async function digest(file: string): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash('sha256')
  let bytes = 0
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) {
    hash.update(chunk as Buffer)
    bytes += (chunk as Buffer).length
  }
  return { bytes, sha256: hash.digest('hex') }
}

async function filesIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true })
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()
}
