/**
 * Tables of ids and texts, which rows of ids refer to: MS MARCO's collection has 8.8 million passages. Texts go to a file in
 * the cache folder and are read from there; what stays in memory is some 25 bytes for each of them.
 */
import { closeSync, openSync, readSync, writeSync } from 'node:fs'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { DataError } from '../errors.js'
import { BUILDING } from './cache.js'
import { type TableFiles, tableEntries } from './table-files.js'

/** Bytes that are gathered before they are written. */
const PENDING = 1 << 20

export class TextTable {
  /** Of its first file, for messages. */
  readonly name: string
  /** Columns of its files that nothing reads. */
  readonly unused = new Set<string>()
  private readonly folder: string
  private readonly file: number
  private pending: Buffer[] = []
  private pendingBytes = 0
  private written = 0
  private count = 0
  /** [count + 1] where each entry begins: length of its id (4 bytes), id, text. */
  private offsets = new Float64Array(1 << 12)
  /** By hash, with open addressing: number of the entry + 1, and the hash. A power of 2 of them, at most half in use. */
  private slots = new Uint32Array(1 << 12)
  private tags = new Uint32Array(1 << 12)

  private constructor(name: string, folder: string) {
    this.name = name
    this.folder = folder
    this.file = openSync(join(folder, 'texts'), 'wx+')
  }

  /**
   * Reads a table from .jsonl, .jsonl.gz, .parquet files, or .tsv and .tsv.gz without a header: id, text and, with `titles`,
   * perhaps a title. Titles come before their texts: with a blank, of a .tsv with " | " as in ColBERT's loader. `close` it.
   * @throws DataError ERR_DATA for other files or columns, or two texts of one id
   */
  static async open(
    files: readonly string[],
    options: Omit<TableFiles, 'files'> & { titles: boolean; cacheDir: string },
  ): Promise<TextTable> {
    const { cacheDir } = options
    await mkdir(cacheDir, { recursive: true })
    const table = new TextTable(basename(files[0]!), await mkdtemp(join(cacheDir, BUILDING)))
    try {
      for (const file of files)
        for await (const entry of tableEntries(file, options, table.unused))
          table.add(entry.id, entry.text, entry.where)
      table.flush()
      return table
    } catch (error) {
      await table.close()
      throw error
    }
  }

  /** Number of its texts. */
  get size(): number {
    return this.count
  }

  /** The text of an id. */
  get(id: string): string | undefined {
    const key = Buffer.from(id)
    const entry = this.slots[this.slotOf(key, hashOf(key))]!
    return entry === 0 ? undefined : this.entry(entry - 1).text
  }

  async close(): Promise<void> {
    closeSync(this.file)
    await rm(this.folder, { recursive: true, force: true })
  }

  private add(id: string, text: string, where: string): void {
    const key = Buffer.from(id)
    const hash = hashOf(key)
    const slot = this.slotOf(key, hash)
    if (this.slots[slot] !== 0) {
      if (this.entry(this.slots[slot]! - 1).text === text) return
      throw new DataError('ERR_DATA', `${where}: the id ${JSON.stringify(id)} has had another text before.`, {
        where,
        id,
      })
    }
    const head = Buffer.alloc(4)
    head.writeUInt32LE(key.length)
    this.append(Buffer.concat([head, key, Buffer.from(text)]))
    this.slots[slot] = this.count
    this.tags[slot] = hash
    if (2 * this.count > this.slots.length) this.grow()
  }

  private append(bytes: Buffer): void {
    if (this.count + 2 > this.offsets.length) {
      const longer = new Float64Array(2 * this.offsets.length)
      longer.set(this.offsets)
      this.offsets = longer
    }
    this.pending.push(bytes)
    this.pendingBytes += bytes.length
    this.count++
    this.offsets[this.count] = this.offsets[this.count - 1]! + bytes.length
    if (this.pendingBytes >= PENDING) this.flush()
  }

  private flush(): void {
    const bytes = Buffer.concat(this.pending)
    for (let done = 0; done < bytes.length; )
      done += writeSync(this.file, bytes, done, bytes.length - done, this.written + done)
    this.written += bytes.length
    this.pending = []
    this.pendingBytes = 0
  }

  private entry(number: number): { id: Buffer; text: string } {
    const from = this.offsets[number]!
    const bytes = Buffer.allocUnsafe(this.offsets[number + 1]! - from)
    if (from >= this.written) this.flush()
    for (let done = 0; done < bytes.length; ) {
      const read = readSync(this.file, bytes, done, bytes.length - done, from + done)
      if (read === 0) throw new DataError('ERR_DATA', `${this.folder} was changed while it was in use.`)
      done += read
    }
    const split = 4 + bytes.readUInt32LE(0)
    return { id: bytes.subarray(4, split), text: bytes.toString('utf8', split) }
  }

  /** The slot that has an id, or the free one where it would be. */
  private slotOf(id: Buffer, hash: number): number {
    const mask = this.slots.length - 1
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const entry = this.slots[slot]!
      if (entry === 0 || (this.tags[slot] === hash && this.entry(entry - 1).id.equals(id))) return slot
    }
  }

  private grow(): void {
    const { slots, tags } = this
    this.slots = new Uint32Array(2 * slots.length)
    this.tags = new Uint32Array(2 * slots.length)
    const mask = this.slots.length - 1
    for (const [i, entry] of slots.entries()) {
      if (entry === 0) continue
      let slot = tags[i]! & mask
      while (this.slots[slot] !== 0) slot = (slot + 1) & mask
      this.slots[slot] = entry
      this.tags[slot] = tags[i]!
    }
  }
}

/** FNV-1a, with its bits mixed: the low ones choose a slot. */
function hashOf(bytes: Buffer): number {
  let hash = 0x811c9dc5
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  return (hash ^ (hash >>> 13)) >>> 0
}
