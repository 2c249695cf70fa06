import { readFile, statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { FileError, HubError, typed } from '../errors.js'
import type { OnProgress, Progress } from '../progress.js'
import { fetchBlob } from './blob.js'
import { type HubFile, RepositoryCache } from './cache.js'
import { Connection, client } from './connection.js'
import { described, type RepositoryName, sitePath } from './name.js'
import { type HubSettings, readSettings } from './settings.js'

/**
 * How a download, or an upload, stands: `name` is the repository, as `org/name` or `datasets/org/name`, and `done` and `total`
 * are bytes of all files that go over together, with those that were there. What the same function is told of other work, such
 * as the loading behind a download, has none of the fields that are optional here.
 */
export interface HubProgress extends Progress {
  /** How many files go over together. */
  files?: number
  /** Those of them that are whole. */
  filesDone?: number
  /** The file that has come on. */
  file?: string
  /** Bytes of it that are over. */
  bytes?: number
  /** All of its bytes. */
  totalBytes?: number
  /** Whether it is whole, and checked. */
  whole?: boolean
}

/** Options of everything that reads from the Hub. */
export interface HubOptions {
  /** Ends it, with ERR_ABORTED. */
  signal?: AbortSignal | undefined
  /** Told how downloads stand, a few times a second. */
  onProgress?: OnProgress<HubProgress> | undefined
  /** @internal Default: those of the environment. */
  settings?: HubSettings | undefined
}

/** Files fetched at a time. */
const AT_ONCE = 4
const PROGRESS_MS = 250
const commitName = /^[0-9a-f]{40}$/
const checksumName = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/

/**
 * A repository at one commit. All its files are known; those that are asked for are fetched into the cache. With
 * HF_HUB_OFFLINE, or where the Hub does not answer, it is what the cache has of it.
 */
export class Repository {
  /** What it was asked for by, and what that is now. */
  readonly name: RepositoryName
  readonly commit: string
  /** By path, in its order. */
  readonly files: ReadonlyMap<string, HubFile>
  /** False where nobody has listed the files of this commit: they are those that happen to be in the cache. */
  readonly listed: boolean
  private readonly cache: RepositoryCache
  /** Whether the Hub answers. */
  private readonly online: boolean
  private readonly options: HubOptions
  private readonly settings: HubSettings

  private constructor(
    found: { name: RepositoryName; commit: string; files: readonly HubFile[]; listed: boolean },
    parts: { cache: RepositoryCache; online: boolean; options: HubOptions; settings: HubSettings },
  ) {
    this.name = found.name
    this.commit = found.commit
    this.listed = found.listed
    this.files = new Map([...found.files].sort(byPath).map((file) => [file.path, file]))
    this.cache = parts.cache
    this.online = parts.online
    this.options = parts.options
    this.settings = parts.settings
  }

  /**
   * Looks up the commit of a branch or tag, and its files. A commit that the cache knows needs no request.
   * @throws HubError ERR_HUB for a name or revision that is not there, or may not be read; a Hub that does not answer;
   *   offline, for what the cache does not have. AbortedError ERR_ABORTED
   */
  static async open(name: RepositoryName, options: HubOptions = {}): Promise<Repository> {
    const settings = options.settings ?? readSettings()
    const cache = new RepositoryCache(settings, name)
    const revision = name.revision ?? 'main'
    const known = commitName.test(revision) ? revision : await cache.commitOf(revision)
    const cached = known !== undefined && (await filesOf(cache, known))
    if (settings.offline) {
      if (cached) return new Repository({ name, ...cached }, { cache, online: false, options, settings })
      throw notCached(settings, name, known)
    }
    // A Hub that does not answer is given up sooner where there is something else to go by.
    const asking = new Connection(settings, name, { ...waiting(name, options), ...(cached && { tries: 2 }) })
    let commit = revision
    try {
      if (!commitName.test(revision)) {
        commit = await commitAt(asking, name, revision)
        await cache.rememberCommit(revision, commit)
      }
      const files = (await cache.tree(commit)) ?? (await listFiles(asking, name, commit, cache))
      return new Repository({ name, commit, files, listed: true }, { cache, online: true, options, settings })
    } catch (error) {
      const silent = error instanceof HubError && /^(unreachable|server)$/.test(String(error.details.reason))
      if (!silent || !cached) throw typed(error)
      process.emitWarning(`${(error as Error).message}. What is in the cache is used, commit ${known}`, {
        code: 'LATEFORGE_HUB',
      })
      return new Repository({ name, ...cached }, { cache, online: false, options, settings })
    }
  }

  /** Where its files are, those that were fetched. */
  get folder(): string {
    return this.cache.snapshot(this.commit)
  }

  /**
   * Fetches files, or finds that they are there. None is in the folder before it is whole.
   * @returns the folder
   * @throws HubError ERR_HUB; FileError ERR_FILE when there is no room for them; AbortedError ERR_ABORTED
   */
  async fetch(paths: Iterable<string>): Promise<string> {
    const wanted = [...new Set(paths)].map((path) => this.file(path))
    const missing: HubFile[] = []
    for (const file of wanted) if (!(await this.cache.has(this.commit, file))) missing.push(file)
    if (missing.length === 0) return this.folder
    if (!this.online) throw notCached(this.settings, this.name, this.commit, missing)
    await this.checkRoom(missing)
    const report = reporter(this.name, wanted, missing, this.options.onProgress)
    const queue = missing.values()
    const failed = new AbortController()
    const signal = AbortSignal.any([failed.signal, ...(this.options.signal ? [this.options.signal] : [])])
    let failure: unknown
    const worker = async (): Promise<void> => {
      for (const file of queue)
        try {
          await this.fetchFile(file, report, signal)
        } catch (error) {
          failure ??= error
          failed.abort() // the others, whose own errors are of that
          return
        }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, worker))
    if (failure !== undefined) throw typed(failure)
    return this.folder
  }

  /** A small text file of it, or undefined where it has none of this name. */
  async text(path: string): Promise<string | undefined> {
    if (!this.files.has(path)) return undefined
    return readFile(`${await this.fetch([path])}/${path}`, 'utf8')
  }

  private file(path: string): HubFile {
    const file = this.files.get(path)
    if (file) return file
    if (!this.listed) throw notCached(this.settings, this.name, this.commit, [{ path, size: 0 }])
    throw new HubError('ERR_HUB', `${described(this.name)}: it has no file ${path}`, { reason: 'file', file: path })
  }

  private async fetchFile(file: HubFile, report: Report, signal: AbortSignal): Promise<void> {
    const { settings, name, commit, cache } = this
    const checksum = file.checksum! // a list has them all
    const target = cache.blob(checksum)
    const onWait = (reason: string): void => report(file, { waiting: reason })
    await fetchBlob({
      connection: new Connection(settings, name, {
        signal,
        streams: true,
        onWait,
      }),
      file: { ...file, checksum },
      url: `${settings.endpoint}/${sitePath(name)}/resolve/${commit}/${file.path.split('/').map(encodeURIComponent).join('/')}`,
      target,
      lock: cache.lockOf(name, checksum),
      onBytes: (bytes) => report(file, { bytes }),
      onWait,
    })
    await cache.link(commit, file, target)
    report(file, { bytes: file.size, done: true })
  }

  /** Before the first byte, rather than after hours. */
  private async checkRoom(missing: readonly HubFile[]): Promise<void> {
    const bytes = missing.reduce((sum, { size }) => sum + size, 0)
    const folder = this.settings.cache
    let at = folder
    for (;;) {
      const free = await statfs(at).then(
        ({ bavail, bsize }) => bavail * bsize,
        () => null,
      )
      if (free === null && at !== dirname(at))
        at = dirname(at) // it is not made yet
      else if (free === null || free >= bytes) return
      else {
        const gib = (n: number) => (n / 2 ** 30).toFixed(1)
        throw new FileError(
          'ERR_FILE',
          `${described(this.name)}: ${missing.length} files of ${gib(bytes)} GiB do not fit into ${folder}, which has ` +
            `${gib(free)} GiB free; free some space, or let HF_HUB_CACHE name a folder on another disk`,
          { code: 'ENOSPC', path: folder, bytes, free },
        )
      }
    }
  }
}

/** Parts of a path that would lead out of its folder. */
const outside = process.platform === 'win32' ? /^\.{0,2}$|[\\:\0]/ : /^\.{0,2}$|\0/

const byPath = (a: HubFile, b: HubFile): number => (a.path < b.path ? -1 : 1)

const waiting = (name: RepositoryName, { signal, onProgress }: HubOptions) => ({
  signal,
  onWait: (reason: string) =>
    onProgress?.({
      ...{ stage: 'downloading', name: sitePath(name), done: 0, unit: 'bytes', waiting: reason },
    }),
})

/** What the cache knows of a commit, or false. */
async function filesOf(
  cache: RepositoryCache,
  commit: string,
): Promise<{ commit: string; files: HubFile[]; listed: boolean } | false> {
  const tree = await cache.tree(commit)
  const here = await cache.filesIn(commit)
  return here.length > 0 && { commit, files: tree ?? here, listed: tree !== undefined }
}

async function commitAt(connection: Connection, { type, name }: RepositoryName, revision: string): Promise<string> {
  const asked = { ...connection.params, name, revision }
  const { sha } =
    type === 'model'
      ? await client().modelInfo({ ...asked, additionalFields: ['sha'] })
      : await client().datasetInfo({ ...asked, additionalFields: ['sha'] })
  if (commitName.test(sha)) return sha
  throw connection.error(
    'response',
    `the Hub says that ${revision} is the commit ${JSON.stringify(sha)}, which is none`,
  )
}

/** All files at the Hub. Their names and checksums become names in the cache, so none may lead out of it. */
async function listFiles(
  connection: Connection,
  { type, name }: RepositoryName,
  commit: string,
  cache: RepositoryCache,
): Promise<HubFile[]> {
  const files: HubFile[] = []
  const stored: Parameters<RepositoryCache['rememberTree']>[1] = {}
  for await (const { type: kind, path, size, oid, lfs, xetHash } of client().listFiles({
    ...connection.params,
    repo: { type, name },
    revision: commit,
    recursive: true,
  })) {
    if (kind !== 'file') continue
    const checksum = lfs?.oid ?? oid
    const inside = path.split('/').every((part) => !outside.test(part))
    if (!inside || !checksumName.test(checksum ?? '') || !Number.isSafeInteger(size) || size < 0)
      throw connection.error(
        'response',
        `the Hub lists a file ${JSON.stringify(path)} of ${size} bytes, checksum ${checksum}`,
      )
    files.push({ path, size: lfs?.size ?? size, checksum: checksum! })
    stored[path] = {
      size,
      blob_id: oid!,
      ...(lfs && { lfs_sha256: lfs.oid, lfs_size: lfs.size }),
      ...(xetHash !== undefined && { xet_hash: xetHash }),
    }
  }
  await cache.rememberTree(commit, stored)
  return files
}

function notCached(
  { cache, offline, endpoint }: HubSettings,
  name: RepositoryName,
  commit: string | undefined,
  missing: readonly HubFile[] = [],
): HubError {
  const names = missing.map(({ path }) => path)
  const what =
    names.length === 0
      ? `nothing of it is in ${cache}`
      : `${cache} lacks ${names.slice(0, 5).join(', ')}${names.length > 5 ? ` and ${names.length - 5} more of its files` : ''}`
  const why = offline ? 'HF_HUB_OFFLINE is set' : `${new URL(endpoint).host} cannot be reached`
  return new HubError('ERR_HUB', `${described(name)}: ${why}, and ${what}. Fetch it once where there is a network`, {
    reason: 'offline',
    type: name.type,
    name: name.name,
    ...(commit !== undefined && { commit }),
    missing: names,
  })
}

type Report = (file: HubFile, change: { bytes?: number; done?: true; waiting?: string }) => void

/** What of a transfer its bytes do not say. */
export function transfer(
  stage: 'downloading' | 'sending',
  name: RepositoryName,
  { file, files, filesDone }: { file: string; files: number; filesDone: number },
): Omit<HubProgress, 'done'> {
  const part = `${Math.min(filesDone + 1, files)}/${files} ${file}`
  return { stage, name: sitePath(name), part, unit: 'bytes', file, files, filesDone }
}

/** Adds up what is here, and tells it often enough. */
function reporter(
  name: RepositoryName,
  wanted: readonly HubFile[],
  missing: readonly HubFile[],
  onProgress: HubOptions['onProgress'],
): Report {
  const sum = (files: readonly HubFile[]): number => files.reduce((bytes, { size }) => bytes + size, 0)
  const total = sum(wanted)
  const before = total - sum(missing)
  const here = new Map<HubFile, number>()
  let filesDone = wanted.length - missing.length
  let told = Number.NEGATIVE_INFINITY
  return (file, { bytes, done = false, waiting }) => {
    if (bytes !== undefined) here.set(file, bytes)
    if (done) filesDone++
    const now = performance.now()
    if (!done && waiting === undefined && now - told < PROGRESS_MS) return
    told = now
    onProgress?.({
      ...transfer('downloading', name, { file: file.path, files: wanted.length, filesDone }),
      done: [...here.values()].reduce((all, n) => all + n, before),
      total,
      bytes: here.get(file) ?? 0,
      totalBytes: file.size,
      whole: done,
      ...(waiting !== undefined && { waiting }),
    })
  }
}
