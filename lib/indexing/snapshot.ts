/** A state of an index that stays as it is while it is searched, whatever writers do meanwhile. */
import { FormatError } from '../errors.js'
import type { Device } from '../tensor/device.js'
import { type Manifest, readManifest } from './manifest.js'
import { Segment } from './segment.js'

export class Snapshot {
  readonly manifest: Manifest
  readonly segments: readonly Segment[]
  private users = 1

  constructor(manifest: Manifest, segments: readonly Segment[]) {
    this.manifest = manifest
    this.segments = segments
    for (const segment of segments) segment.users++
  }

  /** The state of `dir` now. Segments that `before` has open are shared with it. Errors as `Segment.open`, typed. */
  static async open(dir: string, device: Device, before?: Snapshot): Promise<Snapshot> {
    for (let manifest = await readManifest(dir); ; ) {
      const opened: Segment[] = []
      const segments: Segment[] = []
      try {
        for (const entry of manifest.segments) {
          const same = JSON.stringify(entry)
          const known = before?.segments.find((segment) => JSON.stringify(segment.entry) === same)
          if (!known) opened.push(await Segment.open(device, dir, entry, manifest))
          segments.push(known ?? opened.at(-1)!)
        }
        return new Snapshot(manifest, segments)
      } catch (error) {
        for (const segment of opened) await segment.close()
        // A writer may have replaced the files meanwhile, and removed them at any moment; then the manifest has others.
        const failed = JSON.stringify(manifest.segments[segments.length])
        manifest = await readManifest(dir)
        if (!manifest.segments.some((entry) => JSON.stringify(entry) === failed)) continue
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
        throw new FormatError('ERR_FORMAT', `${dir}: a file of the index is gone: ${(error as Error).message}`, { dir })
      }
    }
  }

  /** Documents that are not deleted, and their tokens with those of deleted ones. */
  get counts(): { documents: number; deleted: number; tokens: number } {
    let [documents, deleted, tokens] = [0, 0, 0]
    for (const { entry } of this.segments) {
      deleted += entry.deleted?.count ?? 0
      documents += entry.documents - (entry.deleted?.count ?? 0)
      tokens += entry.tokens
    }
    return { documents, deleted, tokens }
  }

  /** What residual codes find of the best documents by their vectors, over all segments that have some; null: none has. */
  get codesRecall(): number | null {
    let [found, documents] = [0, 0]
    for (const { entry } of this.segments) {
      if (entry.recall === null) continue
      found += entry.recall * entry.documents
      documents += entry.documents
    }
    return documents > 0 ? found / documents : null
  }

  /** Whoever searches it keeps it until `release`. */
  retain(): this {
    this.users++
    return this
  }

  /** Once nobody has it, segments that no other snapshot has are closed. */
  async release(): Promise<void> {
    if (--this.users > 0) return
    for (const segment of this.segments) if (--segment.users === 0) await segment.close()
  }
}
