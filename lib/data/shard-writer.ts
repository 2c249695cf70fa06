import { type FileHandle, open } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import { DataError } from '../errors.js'
import { flush } from '../io/atomic.js'
import type { EncodedRows } from './tokenize.js'

const HEADER_BYTES = 64
const HAS_SCORES = 1

/** A growing file, written in order. */
class Spool {
  bytes = 0
  crc = 0
  private constructor(readonly handle: FileHandle) {}

  static async create(path: string): Promise<Spool> {
    return new Spool(await open(path, 'w+'))
  }

  async append(view: ArrayBufferView): Promise<void> {
    const buffer = Buffer.from(view.buffer, view.byteOffset, view.byteLength)
    this.crc = crc32(buffer, this.crc)
    for (let done = 0; done < buffer.length; ) {
      done += (await this.handle.write(buffer, done, buffer.length - done, this.bytes + done)).bytesWritten
    }
    this.bytes += buffer.length
  }

  async pad(): Promise<void> {
    if (this.bytes % 8 !== 0) await this.append(new Uint8Array(8 - (this.bytes % 8)))
  }

  async appendAll(other: Spool): Promise<void> {
    const buffer = Buffer.alloc(1 << 20)
    for (let at = 0; at < other.bytes; ) {
      const { bytesRead } = await other.handle.read(buffer, 0, Math.min(buffer.length, other.bytes - at), at)
      await this.append(buffer.subarray(0, bytesRead))
      at += bytesRead
    }
    await this.pad()
  }
}

/**
 * Writes one shard (layout: native/data/shard.h) inside a folder of its own: token ids go to the file at once, the
 * index sections to files beside it that are appended at the end. Memory does not grow with the source.
 */
export class ShardWriter {
  private rows = 0
  private items = 0
  private tokens = 0
  private fewest = Number.POSITIVE_INFINITY
  private most = 0
  private scored: boolean | undefined
  private constructor(
    private readonly name: string,
    private readonly vocabulary: number,
    private readonly body: Spool,
    private readonly rowItems: Spool,
    private readonly offsets: Spool,
    private readonly hashes: Spool,
    private readonly scores: Spool,
  ) {}

  /** @param file where the shard is written; the index files take its name with an ending. */
  static async create(file: string, name: string, vocabulary: number): Promise<ShardWriter> {
    const spool = (ending: string): Promise<Spool> => Spool.create(file + ending)
    const [body, rows, offsets, hashes, scores] = await Promise.all(
      ['', '.rows', '.offsets', '.hashes', '.scores'].map(spool),
    )
    const writer = new ShardWriter(name, vocabulary, body!, rows!, offsets!, hashes!, scores!)
    await body!.append(new Uint8Array(HEADER_BYTES))
    body!.crc = 0 // the header is checked last, when it is known
    await rows!.append(new BigInt64Array(1))
    await offsets!.append(new BigInt64Array(1))
    return writer
  }

  /** @param scores teacher scores of the rows' documents in order, or null when the rows have none */
  async append(encoded: EncodedRows, scores: readonly number[] | null): Promise<void> {
    const { ids, lengths, hashes, documents } = encoded
    if (this.scored !== undefined && this.scored !== (scores !== null)) {
      throw new DataError('ERR_DATA', `source "${this.name}" has teacher scores in some rows only; give all or none.`, {
        source: this.name,
      })
    }
    this.scored = scores !== null
    const rowEnds = new BigInt64Array(documents.length)
    const itemEnds = new BigInt64Array(lengths.length)
    const itemScores = new Float32Array(scores === null ? 0 : lengths.length)
    let item = 0
    for (const [row, count] of documents.entries()) {
      this.fewest = Math.min(this.fewest, count)
      this.most = Math.max(this.most, count)
      if (scores !== null) itemScores.set(scores.slice(item - row, item - row + count), item + 1)
      item += count + 1
      rowEnds[row] = BigInt(this.items + item)
    }
    for (const [i, length] of lengths.entries()) itemEnds[i] = BigInt((this.tokens += length))
    this.rows += documents.length
    this.items += lengths.length
    await Promise.all([
      this.body.append(ids),
      this.rowItems.append(rowEnds),
      this.offsets.append(itemEnds),
      this.hashes.append(hashes),
      this.scores.append(itemScores),
    ])
  }

  /** Completes the file and flushes it to the disk. */
  async finish(): Promise<void> {
    const { body } = this
    await body.pad()
    for (const section of [this.rowItems, this.offsets, this.hashes]) await body.appendAll(section)
    if (this.scored) await body.appendAll(this.scores)
    const header = Buffer.alloc(HEADER_BYTES)
    header.write('LFSHARD1', 'latin1')
    for (const [i, count] of [body.bytes, this.rows, this.items, this.tokens].entries()) {
      header.writeBigUInt64LE(BigInt(count), 8 + 8 * i)
    }
    const fewest = this.rows === 0 ? 0 : this.fewest
    for (const [i, value] of [this.vocabulary, this.scored ? HAS_SCORES : 0, fewest, this.most].entries()) {
      header.writeUInt32LE(value, 40 + 4 * i)
    }
    header.writeUInt32LE(crc32(header, body.crc), 56)
    await body.handle.write(header, 0, HEADER_BYTES, 0)
    await flush(body.handle)
  }

  async close(): Promise<void> {
    const spools = [this.body, this.rowItems, this.offsets, this.hashes, this.scores]
    await Promise.all(spools.map(({ handle }) => handle.close()))
  }
}
