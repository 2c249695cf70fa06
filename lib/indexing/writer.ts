/** What changes an index: one process at a time, from its first change on. */
import { readdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { ArgumentError } from '../errors.js'
import type { FolderLock } from '../io/lock.js'
import { type OnProgress, type Progress, seldom } from '../progress.js'
import type { Range } from '../ragged.js'
import { type EmbeddingData, type Embeddings, slice } from '../retrieval/embeddings.js'
import type { Device } from '../tensor/device.js'
import { abortIf, Turns } from '../turns.js'
import { Builder, segmentTokens, storedAs } from './builder.js'
import { claimWriting } from './claim.js'
import { type Coded, joinedCoded, readCoded } from './coded.js'
import type { Clustering } from './lists.js'
import { filesOf, type Manifest, rowsOfType, type SearchSetting, type SegmentEntry, writeManifest } from './manifest.js'
import { isResidual, type ResidualType } from './residual.js'
import { type Kept, type NewSegment, type Segment, writeDeleted, writeSegment } from './segment.js'
import { Snapshot } from './snapshot.js'

/** Options of `Index.add` and `addEmbeddings`. */
export interface AddOptions {
  /**
   * What happens to an id that the index has: it is an error; the new document takes its place; or the old one stays, so that
   * what was interrupted goes on. Default `refuse`.
   */
  existing?: 'refuse' | 'replace' | 'skip'
  /** Told how many documents are encoded, and how many of them are kept; and of large segments how far their lists are. */
  onProgress?: OnProgress<AddProgress>
  /** Ends it, with ERR_ABORTED. What is kept so far stays. */
  signal?: AbortSignal
}

/** How adding is. */
export interface AddProgress extends Progress {
  /** `indexing`: documents encoded so far, or skipped; `clustering`: token vectors of a segment whose lists are made. */
  stage: 'indexing' | 'clustering'
  /** Documents that stay, whatever happens. */
  kept: number
  /** Their token vectors. */
  tokens: number
}

/** Options of `Index.compact`. */
export interface CompactOptions {
  /** Told how many documents are written anew; and of large segments how far their lists are. */
  onProgress?: OnProgress
  /** Ends it between two segments, with ERR_ABORTED; those that are written anew stay so. */
  signal?: AbortSignal
}

/** What was added. */
export interface AddResult {
  /** That are kept now. */
  documents: number
  /** Their token vectors. */
  tokens: number
  /** Of them, those that took the place of another. */
  replaced: number
  /** Left out, because their ids were there. */
  skipped: number
  /** Texts that were longer than the recipe takes; their ends were cut off. */
  truncated: number
  /** What the index's residual codes find now, as of `IndexInfo`; null where there are none. */
  codesRecall: number | null
}

/** What was deleted. */
export interface DeleteResult {
  /** How many. */
  deleted: number
  /** Ids that the index does not have. */
  missing: string[]
}

/** Bytes of all files. */
export interface CompactResult {
  /** Before. */
  before: number
  /** Now. */
  after: number
}

/** An open index, as its writer needs it. */
export interface Here {
  dir: string
  device: Device
  /** Its state; the writer puts the next one in its place. */
  snapshot: Snapshot
}

/** Where a document lies: in the segment of this file. */
interface Place {
  file: string
  document: number
}

/** Segments that are small and lie together become one when there are more. */
const mostSmall = 8

export class Writer {
  private readonly here: Here
  private readonly lock: FolderLock
  /** Where each document that is not deleted lies. */
  private places: Map<string, Place> | null = null

  private constructor(here: Here, lock: FolderLock) {
    this.here = here
    this.lock = lock
  }

  /** Takes the lock, and the state of the index then. What a writer that was killed has left is removed. @throws LockedError ERR_LOCKED */
  static async claim(here: Here): Promise<Writer> {
    const { dir, device, snapshot: before } = here
    const claim = await claimWriting(dir)
    try {
      here.snapshot = await Snapshot.open(dir, device, before)
      await before.release()
      const writer = new Writer(here, claim)
      await writer.removeLeftovers()
      return writer
    } catch (error) {
      await claim.release()
      throw error
    }
  }

  release(): Promise<void> {
    return this.lock.release()
  }

  /** Errors as `Index.delete`. */
  async delete(ids: Iterable<string>): Promise<DeleteResult> {
    const places = await this.placesNow()
    const known: string[] = []
    const missing: string[] = []
    for (const id of new Set(ids)) (places.has(id) ? known : missing).push(id)
    if (known.length > 0) await this.commit(await this.without(known, this.here.snapshot.manifest))
    for (const id of known) places.delete(id)
    return { deleted: known.length, missing }
  }

  /** Writes segments anew: without deleted documents, and small ones together. */
  async compact(options: CompactOptions): Promise<void> {
    const { segments, manifest } = this.here.snapshot
    const worthIt = (group: readonly Segment[]) => group.length > 1 || group[0]!.deleted !== null
    await this.merge(groupsOf(segments, segmentTokens(manifest)).filter(worthIt), options)
  }

  /** What adds documents: parts that are worth a segment are kept one by one. */
  async adding({ existing = 'refuse', onProgress }: AddOptions): Promise<Adding> {
    await this.placesNow()
    const { type } = this.here.snapshot.manifest
    const builder = new Builder(this.here.snapshot.manifest)
    const result: AddResult = { documents: 0, tokens: 0, replaced: 0, skipped: 0, truncated: 0, codesRecall: null }
    const waiting = new Set<string>()
    const tell = (progress: Omit<Progress, 'stage'> & Pick<AddProgress, 'stage'>) =>
      onProgress?.({ ...progress, kept: result.documents, tokens: result.tokens })
    const flush = async () => {
      if (builder.documents === 0) return
      const places = await this.placesNow()
      const { documents, tokens } = builder
      const before = this.here.snapshot.manifest
      const segment = builder.take()
      const replaced = segment.ids.filter((id) => places.has(id))
      const entry = await this.write(before, segment, tell)
      const added = { ...before, nextFile: before.nextFile + 1 }
      const next =
        replaced.length > 0 ? await this.without(replaced, added) : { ...added, generation: added.generation + 1 }
      await this.commit({ ...next, segments: [...next.segments, entry] })
      for (const [document, id] of segment.ids.entries()) {
        places.set(id, { file: entry.vectors.name, document })
        waiting.delete(id)
      }
      result.documents += documents
      result.tokens += tokens
      result.replaced += replaced.length
      tell({ stage: 'indexing', done: result.documents + result.skipped, unit: 'documents' })
    }
    const take = async (
      embeddings: Embeddings<'document', EmbeddingData>,
      ids: readonly string[],
      kept: readonly Kept[],
    ) => {
      const places = await this.placesNow()
      for (const id of ids) {
        if (waiting.has(id))
          throw new ArgumentError('ERR_ARGUMENT', `the id "${id}" comes twice${keptSoFar(result)}`, { id })
        if (existing === 'refuse' && places.has(id))
          throw new ArgumentError(
            'ERR_ARGUMENT',
            `${this.here.dir} has a document "${id}"; { existing: 'replace' } puts the new one in its place${keptSoFar(result)}`,
            { id },
          )
        waiting.add(id)
      }
      const stored = await storedAs(embeddings, rowsOfType(type))
      result.truncated += embeddings.truncated ?? 0
      for (const range of builder.ranges(stored)) {
        builder.append(partOf(stored, range), ids.slice(range.first, range.last), kept.slice(range.first, range.last))
        if (builder.isFull) await flush()
      }
      const done = result.documents + result.skipped + builder.documents
      tell({ stage: 'indexing', done, unit: 'documents' })
    }
    const skips = (id: string) => {
      const there = existing === 'skip' && this.places!.has(id)
      if (there) result.skipped++
      return there
    }
    const finish = async () => {
      await flush()
      await this.mergeSmall(tell)
      result.codesRecall = this.here.snapshot.codesRecall
      return result
    }
    return { take, skips, finish }
  }

  private write(
    { nextFile, listsFrom, type }: Manifest,
    segment: NewSegment,
    onProgress: Clustering | undefined,
  ): Promise<SegmentEntry> {
    const extras = { listsFrom, residual: isResidual(type) ? type : null, words: true, onProgress }
    return writeSegment(this.here.device, this.here.dir, nameOf(nextFile), segment, extras)
  }

  /** Keeps how the index is searched. */
  async keepSetting(search: SearchSetting): Promise<void> {
    const { manifest } = this.here.snapshot
    await this.commit({ ...manifest, generation: manifest.generation + 1, search })
  }

  private async placesNow(): Promise<Map<string, Place>> {
    if (this.places) return this.places
    const places = new Map<string, Place>()
    const turns = new Turns()
    for (const segment of this.here.snapshot.segments)
      for (let document = 0; document < segment.documents; document++) {
        if (!segment.isDeleted(document))
          places.set(segment.id(document), { file: segment.entry.vectors.name, document })
        if (turns.due) await turns.take()
      }
    this.places = places
    return places
  }

  private async removeLeftovers(): Promise<void> {
    const known = new Set(['index.json', 'lock', ...filesOf(this.here.snapshot.manifest).map(({ name }) => name)])
    for (const name of await readdir(this.here.dir))
      if (!known.has(name) && /^(s\d+\.(safetensors|jsonl|lists|words|deleted)|\..*\.tmp)$/.test(name))
        await rm(path.join(this.here.dir, name), { force: true })
  }

  /** Makes a state the index's, and forgets the files that only the one before had. */
  private async commit(manifest: Manifest): Promise<void> {
    const before = this.here.snapshot
    await writeManifest(this.here.dir, manifest)
    this.here.snapshot = await Snapshot.open(this.here.dir, this.here.device, before)
    const kept = new Set(filesOf(manifest).map(({ name }) => name))
    // Windows keeps what a reader has open; the next writer removes it.
    for (const { name } of filesOf(before.manifest))
      if (!kept.has(name)) await rm(path.join(this.here.dir, name), { force: true }).catch(() => {})
    await before.release()
  }

  /** The manifest without some documents, whose files are written. */
  private async without(ids: readonly string[], manifest: Manifest): Promise<Manifest> {
    const places = await this.placesNow()
    const documents = new Map<string, number[]>()
    for (const id of ids) {
      const { file, document } = places.get(id)!
      const list = documents.get(file)
      if (list) list.push(document)
      else documents.set(file, [document])
    }
    let { nextFile } = manifest
    const segments: SegmentEntry[] = []
    for (const [at, entry] of manifest.segments.entries()) {
      const gone = documents.get(entry.vectors.name)
      if (!gone) {
        segments.push(entry)
        continue
      }
      const count = gone.length + (entry.deleted?.count ?? 0)
      if (count === entry.documents) continue
      const before = this.here.snapshot.segments[at]!.deleted
      const bits = before ? Uint8Array.from(before) : new Uint8Array(Math.ceil(entry.documents / 8))
      for (const document of gone) bits[document >> 3]! |= 1 << (document & 7)
      segments.push({ ...entry, deleted: await writeDeleted(this.here.dir, nameOf(nextFile++), bits, count) })
    }
    return { ...manifest, generation: manifest.generation + 1, nextFile, segments }
  }

  /** Keeps the number of small segments low, so that searches do not pay for many additions. */
  private async mergeSmall(onProgress: Clustering): Promise<void> {
    const { segments, manifest } = this.here.snapshot
    const small = segmentTokens(manifest) / mostSmall
    let first = segments.length
    while (first > 0 && segments[first - 1]!.entry.tokens < small) first--
    if (segments.length - first <= mostSmall) return
    const groups = groupsOf(segments.slice(first), segmentTokens(manifest)).filter(({ length }) => length > 1)
    await this.merge(groups, { lists: onProgress })
  }

  /** Each group of neighbouring segments becomes one. */
  private async merge(
    groups: readonly (readonly Segment[])[],
    { onProgress, lists = onProgress, signal }: CompactOptions & { lists?: Clustering },
  ): Promise<void> {
    const total = groups.flat().reduce((sum, { documents }) => sum + documents, 0)
    const tell = seldom(onProgress)
    let done = 0
    for (const group of groups) {
      abortIf(signal)
      const { manifest } = this.here.snapshot
      const told = () => {
        done++
        tell(() => ({ stage: 'merging', done, total, unit: 'documents' }))
      }
      const left = isCoded(group[0]!) ? await this.joined(group, told) : await this.collected(group, told)
      const at = manifest.segments.findIndex((entry) => entry.vectors.name === group[0]!.entry.vectors.name)
      const merged = left.ids.length > 0 ? [await this.write(manifest, left, lists)] : []
      await this.commit({
        ...{ ...manifest, generation: manifest.generation + 1, nextFile: manifest.nextFile + 1 },
        segments: manifest.segments.toSpliced(at, group.length, ...merged),
      })
      this.places = null // found again when they are asked for
    }
  }

  /** The documents of some segments that are not deleted. */
  private async collected(group: readonly Segment[], told: () => void): Promise<NewSegment> {
    const builder = new Builder(this.here.snapshot.manifest)
    for (const segment of group) {
      const values = await segment.embeddings.download()
      for (let document = 0; document < segment.documents; document++) {
        told()
        if (segment.isDeleted(document)) continue
        const part = partOf(values, { first: document, last: document + 1 })
        builder.append(part, [segment.id(document)], [await segment.kept(document)])
      }
    }
    return builder.take()
  }

  /** The same of segments of residual codes, which stay as they are: made anew of what they stand for they would lose more. */
  private async joined(group: readonly Segment[], told: () => void): Promise<NewSegment> {
    const { dim, type } = this.here.snapshot.manifest
    const ids: string[] = []
    const kept: Kept[] = []
    const parts: { coded: Coded; documents: number[] }[] = []
    for (const segment of group) {
      const documents: number[] = []
      for (let document = 0; document < segment.documents; document++) {
        told()
        if (segment.isDeleted(document)) continue
        documents.push(document)
        ids.push(segment.id(document))
        kept.push(await segment.kept(document))
      }
      const coded = await readCoded(this.here.dir, segment.entry, { type: type as ResidualType, dim })
      parts.push({ coded, documents })
    }
    return { embeddings: joinedCoded(parts), ids, kept }
  }
}

/** What adds documents. */
export interface Adding {
  /** Whether a document is to be left out; it is counted then. */
  skips(id: string): boolean
  take(embeddings: Embeddings<'document', EmbeddingData>, ids: readonly string[], kept: readonly Kept[]): Promise<void>
  finish(): Promise<AddResult>
}

const partOf = (
  embeddings: Embeddings<'document', EmbeddingData>,
  range: Range,
): Embeddings<'document', EmbeddingData> => ({
  ...slice(embeddings, range),
  role: 'document',
})

/** Whether its vectors are residual codes. */
const isCoded = ({ entry }: Segment): boolean => entry.recall !== null

/** Neighbouring segments that fit into one together, without what is deleted: of residual codes, or of none. */
function groupsOf(segments: readonly Segment[], most: number): Segment[][] {
  const groups: Segment[][] = []
  let tokens = Number.POSITIVE_INFINITY
  for (const segment of segments) {
    const own = segment.entry.tokens
    if (tokens + own > most || isCoded(groups.at(-1)![0]!) !== isCoded(segment)) {
      groups.push([])
      tokens = 0
    }
    groups.at(-1)!.push(segment)
    tokens += own
  }
  return groups
}

const nameOf = (number: number): string => `s${String(number).padStart(6, '0')}`

const keptSoFar = ({ documents }: AddResult): string =>
  documents > 0 ? `; the ${documents} documents before are kept` : ''
