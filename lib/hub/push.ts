/** A folder's files to the Hub, as one commit. */
import { pathToFileURL } from 'node:url'
import { ArgumentError, HubError, typed } from '../errors.js'
import { packageVersion } from '../packages.js'
import { Connection, client } from './connection.js'
import { described, type RepositoryName, sitePath } from './name.js'
import { type HubProgress, transfer } from './repository.js'
import { type HubSettings, hubSettings } from './settings.js'

/** Options of `pushFolder`. */
export interface PushOptions {
  /** Whether a repository that is made for it can be seen by its owners alone. Default: as its owner has set it. */
  private?: boolean
  /** The branch; it is made from `main` if it is not there. Default `main`. */
  revision?: string
  /** Title of the commit. */
  message?: string
  /** One that may write. Default: that of the environment (HF_TOKEN, or where `hf auth login` put it). */
  token?: string
  /** Sends nothing; says what would be sent. */
  dryRun?: boolean
  /** Told how the upload stands. */
  onProgress?: (progress: HubProgress) => void
  /** Ends it; what is sent by then is not sent again the next time. */
  signal?: AbortSignal
}

/** A file on its way: its path in the repository, the local one, and its size. */
export interface FileToPush {
  path: string
  local: string
  size: number
}

/** What `pushFolder` has sent, or would. */
export interface PushResult {
  /** Where the repository is. */
  url: string
  /** The commit that was made; null in a dry run. */
  commit: string | null
  /** Whether the repository was made for it. */
  created: boolean
  /** The files. */
  files: {
    /** In the repository. */
    path: string
    /** Bytes. */
    size: number
  }[]
  /** Other files of the folder, which are no part of the model and were not sent. */
  leftOut: string[]
}

/**
 * Sends files to a model's repository, which is made if it is not there.
 * @throws HubError ERR_HUB: no token, not allowed, no such branch, unreachable; ArgumentError ERR_ARGUMENT for a
 *   repository that is there and not as `private` has it; AbortedError ERR_ABORTED
 */
export async function pushFiles(
  name: RepositoryName,
  files: readonly FileToPush[],
  { private: isPrivate, revision: branch = 'main', message, token, dryRun = false, onProgress, signal }: PushOptions,
  given: HubSettings = hubSettings(),
): Promise<Pick<PushResult, 'url' | 'commit' | 'created'>> {
  const settings = token === undefined ? given : { ...given, token, tokenFrom: 'the option `token`' }
  const connection = new Connection(settings, name, { signal })
  const url = `${settings.endpoint}/${sitePath(name)}`
  if (dryRun) return { url, commit: null, created: false }
  if (settings.offline) throw connection.error('offline', 'HF_HUB_OFFLINE is set, so nothing can be sent. Unset it')
  if (settings.token === undefined)
    throw connection.error(
      'unauthorized',
      `a token that may write is needed: set HF_TOKEN (${settings.endpoint}/settings/tokens)`,
    )
  const { params } = connection
  const repo = { type: name.type, name: name.name }
  const created = await makeRepository(connection, name, isPrivate)
  if (branch !== 'main' && !(await isThere(connection, name, branch)))
    await client().createBranch({ ...params, repo, branch })
  const total = files.reduce((sum, { size }) => sum + size, 0)
  const sent = new Map(files.map(({ path }) => [path, 0]))
  const sizes = new Map(files.map(({ path, size }) => [path, size]))
  try {
    const commits = client().commitIter({
      ...params,
      repo,
      branch,
      title: message ?? `Upload a ColBERT model with lateforge ${packageVersion()}`,
      operations: files.map(({ path, local }) => ({ operation: 'addOrUpdate', path, content: pathToFileURL(local) })),
      useXet: false,
      ...(signal && { abortSignal: signal }),
    })
    for (;;) {
      const { done, value } = await commits.next()
      if (done) return { url, commit: value!.commit.oid, created }
      if (value.event !== 'fileProgress' || value.state !== 'uploading') continue
      const size = sizes.get(value.path)!
      sent.set(value.path, value.progress * size)
      const filesDone = [...sent].filter(([path, bytes]) => bytes === sizes.get(path)).length
      onProgress?.({
        ...transfer('sending', name, { file: value.path, files: files.length, filesDone }),
        done: [...sent.values()].reduce((sum, n) => sum + n, 0),
        total,
        bytes: value.progress * size,
        totalBytes: size,
        whole: value.progress === 1,
      })
    }
  } catch (error) {
    throw connection.aborted ? connection.abortion() : typed(error)
  }
}

/** Makes the repository, unless it is there. @returns whether it was made */
async function makeRepository(
  connection: Connection,
  name: RepositoryName,
  isPrivate: boolean | undefined,
): Promise<boolean> {
  const found = await client()
    .modelInfo({ ...connection.params, name: name.name, revision: 'main' })
    .catch((error) => {
      if (error instanceof HubError && error.details.reason === 'repository') return null
      throw error
    })
  if (found === null) {
    const { fetch, hubUrl } = connection.params
    const repo = { type: name.type, name: name.name }
    // The client asks for a token here; the one that is sent is the connection's.
    await client().createRepo({
      fetch,
      hubUrl,
      repo,
      accessToken: 'hf_',
      ...(isPrivate !== undefined && { private: isPrivate }),
    })
    return true
  }
  if (isPrivate !== undefined && found.private !== isPrivate)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `${described(name)} is there, and ${found.private ? 'private' : 'public'}; private: ${isPrivate} has no effect on it. ` +
        'Change it on its settings page, or leave the option out',
      { private: isPrivate },
    )
  return false
}

function isThere(connection: Connection, name: RepositoryName, revision: string): Promise<boolean> {
  return client()
    .modelInfo({ ...connection.params, name: name.name, revision })
    .then(() => true)
    .catch((error) => {
      if (error instanceof HubError && error.details.reason === 'revision') return false
      throw error
    })
}
