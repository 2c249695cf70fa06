/**
 * The cache that Python's huggingface_hub and this library share, per repository: `blobs/` by checksum, `snapshots/COMMIT/`
 * with links to them, `refs/` from branches and tags to commits, and since its version 2 `trees/COMMIT.json`, the list of
 * all files of a commit, from which an offline reader knows what is missing.
 */
import { randomUUID } from 'node:crypto'
import { copyFile, mkdir, readdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { writeAtomic } from '../io/atomic.js'
import type { RepositoryName } from './name.js'
import type { HubSettings } from './settings.js'

/** A file of a repository at a commit. */
export interface HubFile {
  /** Within the repository, with slashes. */
  readonly path: string
  readonly size: number
  /** Git's SHA-1 of the file, or, for one in LFS, its SHA-256. Undefined where only the cache's own copy is known. */
  readonly checksum?: string
}

/** `trees/COMMIT.json`, as huggingface_hub 2 writes it. */
interface StoredTree {
  format_version: number
  files: Record<string, { size: number; blob_id: string; lfs_sha256?: string; lfs_size?: number; xet_hash?: string }>
}

export class RepositoryCache {
  readonly folder: string
  private readonly settings: HubSettings

  constructor(settings: HubSettings, { type, name }: RepositoryName) {
    this.settings = settings
    this.folder = join(settings.cache, this.repository({ type, name }))
  }

  private repository({ type, name }: RepositoryName): string {
    return [`${type}s`, ...name.split('/')].join('--')
  }

  /** The commit that a branch or tag was at when the Hub was last asked. */
  async commitOf(revision: string): Promise<string | undefined> {
    const text = await readFile(join(this.folder, 'refs', revision), 'utf8').catch(() => '')
    return text.trim() || undefined
  }

  async rememberCommit(revision: string, commit: string): Promise<void> {
    if ((await this.commitOf(revision)) !== commit) await this.remember(join(this.folder, 'refs', revision), commit)
  }

  /** All files of a commit, or undefined where nobody has listed them yet. */
  async tree(commit: string): Promise<HubFile[] | undefined> {
    const text = await readFile(this.treeFile(commit), 'utf8').catch(() => '')
    if (text === '') return undefined
    try {
      const { format_version, files } = JSON.parse(text) as StoredTree
      if (format_version !== 1) return undefined
      return Object.entries(files).map(([path, { size, blob_id, lfs_sha256, lfs_size }]) => ({
        path,
        size: lfs_size ?? size,
        checksum: lfs_sha256 ?? blob_id,
      }))
    } catch {
      return undefined // the Hub is asked again
    }
  }

  async rememberTree(commit: string, files: StoredTree['files']): Promise<void> {
    const tree: StoredTree = { format_version: 1, files }
    await this.remember(this.treeFile(commit), JSON.stringify(tree, null, 1))
  }

  /** In a cache that others keep and this user may only read, the Hub is asked again the next time. */
  private async remember(file: string, text: string): Promise<void> {
    await writeAtomic(file, [text]).catch((error) => {
      if (!/^(EROFS|EACCES|EPERM)$/.test(error.details?.code)) throw error
    })
  }

  private treeFile(commit: string): string {
    return join(this.folder, 'trees', `${commit}.json`)
  }

  snapshot(commit: string): string {
    return join(this.folder, 'snapshots', commit)
  }

  blob(checksum: string): string {
    return join(this.folder, 'blobs', checksum)
  }

  /** A folder for the claims of those who write a blob. */
  lockOf(repository: RepositoryName, checksum: string): string {
    return join(this.settings.cache, '.locks', this.repository(repository), `${checksum}.lateforge`)
  }

  /** Files of a snapshot that are in the cache, whoever put them there. */
  async filesIn(commit: string): Promise<HubFile[]> {
    const root = this.snapshot(commit)
    const entries = await readdir(root, { recursive: true, withFileTypes: true }).catch(() => [])
    const files = await Promise.all(
      entries.map(async (entry) => {
        const file = join(entry.parentPath, entry.name)
        const found = await stat(file).catch(() => undefined) // a link to nothing
        return found?.isFile() && !entry.name.endsWith('.incomplete')
          ? [{ path: relative(root, file).replaceAll('\\', '/'), size: found.size }]
          : []
      }),
    )
    return files.flat()
  }

  async has(commit: string, { path, size }: HubFile): Promise<boolean> {
    const found = await stat(join(this.snapshot(commit), path)).catch(() => undefined)
    return found?.size === size
  }

  /** Gives a blob its name in a snapshot: a link, or a copy where there are none (Windows without the right to make some). */
  async link(commit: string, { path }: HubFile, blob: string): Promise<void> {
    const place = join(this.snapshot(commit), path)
    await mkdir(dirname(place), { recursive: true })
    await rm(place, { force: true }) // of another size, or a link to nothing
    if (this.settings.symlinks)
      try {
        return await symlink(relative(dirname(place), blob), place)
      } catch (error) {
        const { code = '' } = error as NodeJS.ErrnoException
        if (code === 'EEXIST') return // somebody else was faster
        if (!/^(EPERM|ENOTSUP|EOPNOTSUPP|ENOSYS)$/.test(code)) throw error
      }
    const copy = `${place}.${randomUUID()}.incomplete`
    await copyFile(blob, copy)
    await rename(copy, place)
  }
}
