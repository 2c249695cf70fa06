/**
 * Documents that were added together: their token embeddings, offsets and ids in one file, texts and metadata in another.
 * Neither ever changes. Embeddings are mapped and not read, so that opening takes milliseconds and processes share pages.
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { type FileHandle, open, readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { FormatError, typed } from '../errors.js'
import { writeAtomic } from '../io/atomic.js'
import { SafetensorsFile, writeSafetensors } from '../io/safetensors.js'
import { object } from '../options.js'
import { type OnProgress, seldom } from '../progress.js'
import { areOffsets } from '../ragged.js'
import { DeviceEmbeddings, type EmbeddingData, type Embeddings, rowsOf } from '../retrieval/embeddings.js'
import type { Device } from '../tensor/device.js'
import { abortIf, Turns } from '../turns.js'
import type { Coded } from './coded.js'
import { Lists, writeLists } from './lists.js'
import type { Manifest, SegmentEntry, StoredFile } from './manifest.js'
import { expectTensor } from './mapped.js'
import { mapVectors, type VectorExtras, vectorsToWrite } from './vectors.js'
import { Words, writeWords } from './words.js'

/** JSON that is kept with a document. */
export type Metadata = Record<string, unknown>

/** What is kept of a document beside its vectors. */
export interface Kept {
  /** As it was given. */
  text?: string
  /** As it was given. */
  metadata?: Metadata
}

/** Token embeddings of some documents, with their ids, and what is kept beside them. */
export interface EncodedPart extends Embeddings<'document', EmbeddingData> {
  /** Of each document; none where nothing is kept. */
  readonly kept?: readonly Kept[]
}

/** Documents to write: embeddings, or residual codes that stay as they are, and for each its id and what is kept beside. */
export interface NewSegment {
  embeddings: Embeddings<'document', EmbeddingData> | Coded
  ids: readonly string[]
  kept: readonly Kept[]
}

/** What a segment has for searches beside its documents: lists from so many tokens on, and words. */
export interface SegmentExtras extends VectorExtras {
  words: boolean
}

/** Writes the files of a segment, which are there for good once this resolves. @param name of the files, without ending */
export async function writeSegment(
  device: Device,
  dir: string,
  name: string,
  segment: NewSegment,
  extras: SegmentExtras,
): Promise<SegmentEntry> {
  const { embeddings, ids, kept } = segment
  const { offsets, dim } = embeddings
  const [documents, tokens] = [ids.length, rowsOf(embeddings)]
  const { tensors, recall, lists } = await vectorsToWrite(device, embeddings, extras)
  const encoded = ids.map((id) => Buffer.from(id))
  const lines = kept.some(({ text, metadata }) => text !== undefined || metadata !== undefined)
    ? kept.map(({ text, metadata }) => Buffer.from(`${JSON.stringify({ text, metadata })}\n`))
    : null
  const ends = (parts: readonly Buffer[]) => {
    const offsets = new Float64Array(parts.length + 1)
    for (const [i, part] of parts.entries()) offsets[i + 1] = offsets[i]! + part.length
    return offsets
  }
  const file = path.join(dir, `${name}.safetensors`)
  await writeSafetensors(file, [
    { name: 'offsets', shape: [documents + 1], data: Float64Array.from(offsets) },
    { name: 'ids', shape: [encoded.reduce((sum, id) => sum + id.length, 0)], data: Buffer.concat(encoded) },
    { name: 'idOffsets', shape: [documents + 1], data: ends(encoded) },
    ...(lines ? [{ name: 'lines', shape: [documents + 1], data: ends(lines) }] : []),
    ...tensors,
  ])
  const texts = path.join(dir, `${name}.jsonl`)
  if (lines) await writeAtomic(texts, lines)
  const listsFile = path.join(dir, `${name}.lists`)
  if (lists) await writeLists(listsFile, lists, dim)
  const words = path.join(dir, `${name}.words`)
  const spoken = extras.words ? kept.flatMap(({ text }) => text ?? []) : []
  const hasWords = spoken.length > 0 && spoken.length === documents
  if (hasWords) await writeWords(words, spoken)
  return {
    ...{ vectors: await described(file), texts: lines && (await described(texts)) },
    ...{ lists: lists && (await described(listsFile)), words: hasWords ? await described(words) : null },
    ...{ documents, tokens, recall, deleted: null },
  }
}

/** Writes which documents are deleted, a bit each. */
export async function writeDeleted(dir: string, name: string, deleted: Uint8Array, count: number) {
  const file = path.join(dir, `${name}.deleted`)
  await writeAtomic(file, [deleted])
  return { ...(await described(file)), count }
}

/** @throws FormatError ERR_FORMAT where there is not a bit for each document, or not as many as the manifest says */
async function readDeleted(file: string, { documents, deleted }: SegmentEntry): Promise<Uint8Array> {
  const bits = new Uint8Array(await readFile(file))
  let count = 0
  for (let i = 0; i < documents; i++) count += (bits[i >> 3]! >> (i & 7)) & 1
  if (bits.length === Math.ceil(documents / 8) && count === deleted!.count) return bits
  throw new FormatError(
    'ERR_FORMAT',
    `${file} is damaged: it does not say which of ${documents} documents are deleted`,
    {
      file,
    },
  )
}

async function described(file: string): Promise<StoredFile> {
  return { name: path.basename(file), bytes: (await stat(file)).size, sha256: await digestOf(file) }
}

async function digestOf(file: string, passed?: (bytes: number) => void): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(file)) {
    hash.update(chunk)
    passed?.(chunk.length)
  }
  return hash.digest('hex')
}

/** Bytes of texts and metadata that are read at a time, where all are. */
const readAtOnce = 1 << 22

/** Options of `Index.verify`. */
export interface VerifyOptions {
  /** Told how many bytes are read. */
  onProgress?: OnProgress
  /** Ends it, with ERR_ABORTED. */
  signal?: AbortSignal
}

/** @throws FormatError ERR_FORMAT that names the first file that is not as it was written; AbortedError ERR_ABORTED */
export async function verifyFiles(
  dir: string,
  files: readonly StoredFile[],
  { onProgress, signal }: VerifyOptions = {},
): Promise<void> {
  const total = files.reduce((sum, { bytes }) => sum + bytes, 0)
  const tell = seldom(onProgress)
  let done = 0
  for (const { name, sha256 } of files) {
    const file = path.join(dir, name)
    const passed = (bytes: number): void => {
      abortIf(signal)
      done += bytes
      tell(() => ({ stage: 'verifying', part: name, done, total, unit: 'bytes' }))
    }
    if ((await digestOf(file, passed)) !== sha256)
      throw new FormatError('ERR_FORMAT', `${file} is not as it was written: it is damaged`, { file })
  }
}

/** An open segment. */
export class Segment {
  readonly entry: SegmentEntry
  /** Its embeddings, mapped. */
  readonly embeddings: DeviceEmbeddings<'document'>
  /** A bit for each deleted document; null: none. */
  readonly deleted: Uint8Array | null
  /** Where candidates are found; null: it is searched as a whole. */
  readonly lists: Lists | null
  private readonly idBytes: Buffer
  private readonly idOffsets: Float64Array
  private readonly lines: Float64Array | null
  private readonly texts: FileHandle | null
  private readonly wordsFile: SafetensorsFile | null
  private wordsRead: Promise<Words> | null = null
  private numbers: ReadonlyMap<string, number> | null = null
  private metadata: (Metadata | undefined)[] | null = null
  /** Snapshots that have it. */
  users = 0

  private constructor(parts: {
    entry: SegmentEntry
    embeddings: DeviceEmbeddings<'document'>
    deleted: Uint8Array | null
    lists: Lists | null
    idBytes: Buffer
    idOffsets: Float64Array
    lines: Float64Array | null
    texts: FileHandle | null
    words: SafetensorsFile | null
  }) {
    this.entry = parts.entry
    this.embeddings = parts.embeddings
    this.deleted = parts.deleted
    this.lists = parts.lists
    this.idBytes = parts.idBytes
    this.idOffsets = parts.idOffsets
    this.lines = parts.lines
    this.texts = parts.texts
    this.wordsFile = parts.words
  }

  /**
   * @throws FormatError ERR_FORMAT for files that are not as the manifest has them; an error with code ENOENT, or FileError
   *   ERR_FILE, once one is gone
   */
  static async open(
    device: Device,
    dir: string,
    entry: SegmentEntry,
    { type, dim, recipe }: Pick<Manifest, 'type' | 'dim' | 'recipe'>,
  ): Promise<Segment> {
    for (const file of [entry.vectors, entry.texts, entry.lists, entry.words, entry.deleted])
      if (file) await checkSize(path.join(dir, file.name), file)
    const name = path.join(dir, entry.vectors.name)
    const vectors = await SafetensorsFile.open(name)
    let texts: FileHandle | null = null
    let lists: Lists | null = null
    let words: SafetensorsFile | null = null
    try {
      const { documents, tokens } = entry
      const rising = async (tensor: string, last: number): Promise<Float64Array> => {
        expectTensor(vectors, tensor, 'float64', [documents + 1])
        const offsets = await vectors.numbers(tensor)
        if (areOffsets(offsets, last)) return offsets
        throw new FormatError('ERR_FORMAT', `${name}: "${tensor}" does not rise from 0 to ${last}`, { file: name })
      }
      const offsets = await rising('offsets', tokens)
      const idBytes = await vectors.bytes('ids')
      const idOffsets = await rising('idOffsets', idBytes.length)
      const lines = entry.texts && (await rising('lines', entry.texts.bytes))
      texts = entry.texts && (await open(path.join(dir, entry.texts.name), 'r'))
      const deleted = entry.deleted && (await readDeleted(path.join(dir, entry.deleted.name), entry))
      lists = entry.lists && (await Lists.open(device, dir, entry.lists.name, dim, documents))
      words = entry.words && (await SafetensorsFile.open(path.join(dir, entry.words.name)))
      const about = { dim, offsets, role: 'document' as const, ...(recipe && { recipe }) }
      const embeddings = DeviceEmbeddings.made(device, about, () =>
        mapVectors(device, vectors, { tokens, type, dim }, lists),
      )
      return new Segment({ entry, embeddings, deleted, lists, idBytes, idOffsets, lines, texts, words })
    } catch (error) {
      await texts?.close()
      await words?.close()
      lists?.dispose()
      throw error
    } finally {
      await vectors.close()
    }
  }

  get documents(): number {
    return this.entry.documents
  }

  /** What tells its ids, texts and metadata from those of every other segment. */
  get content(): string {
    const { vectors, texts } = this.entry
    return `${vectors.sha256} ${texts?.sha256}`
  }

  isDeleted(document: number): boolean {
    return this.deleted !== null && (this.deleted[document >> 3]! & (1 << (document & 7))) !== 0
  }

  id(document: number): string {
    return this.idBytes.toString('utf8', this.idOffsets[document], this.idOffsets[document + 1])
  }

  /** The numbers of the documents of these ids that are here and not deleted, in their order. All ids are read the first time. */
  async numbersOf(ids: Iterable<string>): Promise<number[]> {
    this.numbers ??= await this.readIds()
    const numbers: number[] = []
    for (const id of ids) {
      const found = this.numbers.get(id)
      if (found !== undefined && !this.isDeleted(found)) numbers.push(found)
    }
    return numbers
  }

  private async readIds(): Promise<ReadonlyMap<string, number>> {
    const numbers = new Map<string, number>()
    const turns = new Turns()
    for (let i = 0; i < this.documents; i++) {
      numbers.set(this.id(i), i)
      if (turns.due) await turns.take()
    }
    return numbers
  }

  /** Which terms its documents have, read once; null where some have no text. @throws FormatError ERR_FORMAT */
  words(): Promise<Words> | null {
    if (!this.wordsFile) return null
    this.wordsRead ??= Words.read(this.wordsFile, this.documents)
    return this.wordsRead
  }

  /** Text and metadata of a document, as they were given. */
  async kept(document: number): Promise<Kept> {
    if (!this.texts) return {}
    return this.keptIn(await this.linesOf(document, document + 1), document, document)
  }

  /** Metadata of all documents; read once. */
  async allMetadata(signal?: AbortSignal): Promise<readonly (Metadata | undefined)[]> {
    if (this.metadata) return this.metadata
    const all: (Metadata | undefined)[] = []
    const turns = new Turns()
    while (this.texts && all.length < this.documents) {
      const first = all.length
      let last = first + 1
      while (last < this.documents && this.lines![last + 1]! - this.lines![first]! <= readAtOnce) last++
      const lines = await this.linesOf(first, last)
      for (let document = first; document < last; document++) {
        all.push(this.keptIn(lines, first, document).metadata)
        if (turns.due) await turns.take()
        abortIf(signal)
      }
    }
    this.metadata = all
    return all
  }

  /** What is kept of documents [first, last), as it is in the file. */
  private async linesOf(first: number, last: number): Promise<Buffer> {
    const start = this.lines![first]!
    const bytes = Buffer.allocUnsafe(this.lines![last]! - start)
    const { bytesRead } = await this.texts!.read(bytes, 0, bytes.length, start)
    return bytes.subarray(0, bytesRead)
  }

  /** @param lines of documents from `first` on */
  private keptIn(lines: Buffer, first: number, document: number): Kept {
    const [start, end] = [this.lines![document]!, this.lines![document + 1]!]
    const from = this.lines![first]!
    try {
      const kept: unknown = JSON.parse(lines.toString('utf8', start - from, end - from))
      if (object.is(kept)) return kept as Kept
    } catch {}
    throw new FormatError('ERR_FORMAT', `${this.entry.texts!.name} is damaged at byte ${start}`, { byte: start })
  }

  async close(): Promise<void> {
    this.embeddings.dispose()
    this.lists?.dispose()
    await this.texts?.close()
    await this.wordsFile?.close()
  }
}

/** @throws FormatError ERR_FORMAT for another size; an error with code ENOENT where the file is gone */
async function checkSize(file: string, { bytes }: StoredFile): Promise<void> {
  const { size } = await stat(file).catch((error) => {
    throw (error as NodeJS.ErrnoException).code === 'ENOENT' ? error : typed(error)
  })
  if (size !== bytes)
    throw new FormatError('ERR_FORMAT', `${file} has ${size} bytes, it was written with ${bytes}: it is damaged`, {
      file,
    })
}
