/** Keys and their texts in a file of the cache folder, in the order they came: what stays in memory is some 25 bytes each. */
import { closeSync, openSync, readSync, writeSync } from 'node:fs'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { DataError } from '../errors.js'
import { BUILDING } from './cache.js'

/** Bytes that are gathered before they are written. */
const PENDING = 1 << 20

export class KeyedTexts {
  private readonly folder: string
  private readonly file: number
  private pending: Buffer[] = []
  private pendingBytes = 0
  private written = 0
  private count = 0
  /** [count + 1] where each entry begins: length of its key (4 bytes), key, text. */
  private offsets = new Float64Array(1 << 12)
  /** By hash, with open addressing: number of the entry + 1, and the hash. A power of 2 of them, at most half in use. */
  private slots = new Uint32Array(1 << 12)
  private tags = new Uint32Array(1 << 12)

  private constructor(folder: string) {
    this.folder = folder
    this.file = openSync(join(folder, 'texts'), 'wx+')
  }

  /** None yet, in a folder of their own below `cacheDir`. `close` removes it. */
  static async create(cacheDir: string): Promise<KeyedTexts> {
    await mkdir(cacheDir, { recursive: true })
    return new KeyedTexts(await mkdtemp(join(cacheDir, BUILDING)))
  }

  get size(): number {
    return this.count
  }

  /** Number of the entry of a key, or -1. */
  find(key: string): number {
    const bytes = Buffer.from(key)
    return this.slots[this.slotOf(bytes, hashOf(bytes))]! - 1
  }

  /** Number of the entry of a key: the one that is there, as it is, or a new one, which is then the last. */
  add(key: string, text = ''): number {
    const bytes = Buffer.from(key)
    const hash = hashOf(bytes)
    const slot = this.slotOf(bytes, hash)
    if (this.slots[slot] !== 0) return this.slots[slot]! - 1
    const head = Buffer.alloc(4)
    head.writeUInt32LE(bytes.length)
    this.append(Buffer.concat([head, bytes, Buffer.from(text)]))
    this.slots[slot] = this.count
    this.tags[slot] = hash
    if (2 * this.count > this.slots.length) this.grow()
    return this.count - 1
  }

  keyAt(number: number): string {
    return this.entry(number).key.toString()
  }

  textAt(number: number): string {
    return this.entry(number).text.toString()
  }

  async close(): Promise<void> {
    closeSync(this.file)
    await rm(this.folder, { recursive: true, force: true })
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

  private entry(number: number): { key: Buffer; text: Buffer } {
    const from = this.offsets[number]!
    const bytes = Buffer.allocUnsafe(this.offsets[number + 1]! - from)
    if (from >= this.written) this.flush()
    for (let done = 0; done < bytes.length; ) {
      const read = readSync(this.file, bytes, done, bytes.length - done, from + done)
      if (read === 0) throw new DataError('ERR_DATA', `${this.folder} was changed while it was in use.`)
      done += read
    }
    const split = 4 + bytes.readUInt32LE(0)
    return { key: bytes.subarray(4, split), text: bytes.subarray(split) }
  }

  /** The slot that has a key, or the free one where it would be. */
  private slotOf(key: Buffer, hash: number): number {
    const mask = this.slots.length - 1
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const entry = this.slots[slot]!
      if (entry === 0 || (this.tags[slot] === hash && this.entry(entry - 1).key.equals(key))) return slot
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
