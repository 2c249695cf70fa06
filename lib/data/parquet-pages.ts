/** Pages of a column chunk of a Parquet file, one after the other. */
import type { FileHandle } from 'node:fs/promises'
import { brotliDecompressSync, crc32, gunzipSync } from 'node:zlib'
import type { Compressors, DataReader, DecodedArray, PageHeader } from 'hyparquet'
import type { ColumnDecoder } from 'hyparquet/src/types.js'
import { unloadable } from '../packages.js'
import { checkPage } from './parquet-check.js'

/** Bytes that are read at a time: what most pages have. */
const WINDOW = 1 << 20
/** Bytes of the largest header of a page. */
const MOST_HEADER = 1 << 18
/** Values of the largest page that is believed; the usual writers stay below a hundredth of it. */
const MOST_VALUES = 1 << 24
/** Bytes of the largest page, unpacked. */
const MOST_BYTES = 1 << 30

/** hyparquet, loaded when the first file is. @throws NativeError ERR_NATIVE when it is not there */
export const load = async () => {
  const [main, column, assemble, convert, datapage, schema, { compressors }] = await Promise.all([
    import('hyparquet'),
    import('hyparquet/src/column.js'),
    import('hyparquet/src/assemble.js'),
    import('hyparquet/src/convert.js'),
    import('hyparquet/src/datapage.js'),
    import('hyparquet/src/schema.js'),
    import('hyparquet-compressors'),
  ]).catch((cause) => {
    throw unloadable('hyparquet', cause)
  })
  return {
    ...main,
    ...column,
    ...assemble,
    ...convert,
    ...datapage,
    ...schema,
    // Node's own where it has them: faster, and never beyond the size that the header says.
    compressors: {
      ...compressors,
      GZIP: (packed: Uint8Array, size: number) => gunzipSync(packed, { maxOutputLength: Math.max(1, size) }),
      BROTLI: (packed: Uint8Array, size: number) =>
        brotliDecompressSync(packed, { maxOutputLength: Math.max(1, size) }),
    } as Compressors,
    parsers: { ...convert.DEFAULT_PARSERS, stringFromBytes },
  }
}
export type Hyparquet = Awaited<ReturnType<typeof load>>

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const stringFromBytes = (bytes: Uint8Array): string => bytes && utf8.decode(bytes)

/** A column chunk, read from its first page to its last. */
export class LeafCursor {
  readonly path: string
  private readonly handle: FileHandle
  private readonly end: number
  private readonly decoder: ColumnDecoder
  /** For pages that are unpacked already. */
  private readonly plain: ColumnDecoder
  private readonly lib: Hyparquet
  private readonly maxRepetition: number
  /** Values that are still to come. */
  private left: number
  /** Where the next byte is in the file, and what was read from there on. */
  private at: number
  private window = new DataView(new ArrayBuffer(0))
  private dictionary: DecodedArray | undefined
  /** Rows that were decoded and not taken; where rows go over pages, the last may not be whole yet. */
  private rows: DecodedArray = []
  private taken = 0

  constructor(handle: FileHandle, start: number, end: number, values: number, decoder: ColumnDecoder, lib: Hyparquet) {
    this.handle = handle
    this.at = start
    this.end = end
    this.left = values
    this.decoder = decoder
    this.plain = { ...decoder, codec: 'UNCOMPRESSED' }
    this.lib = lib
    this.path = decoder.pathInSchema.join('.')
    this.maxRepetition = lib.getMaxRepetitionLevel(decoder.schemaPath)
  }

  get ready(): number {
    const open = this.maxRepetition > 0 && this.left > 0 ? 1 : 0
    return Math.max(0, this.rows.length - this.taken - open)
  }

  /** Decodes pages until there is a row to take, or none is left. */
  async fill(): Promise<void> {
    while (this.ready === 0 && this.left > 0) await this.page()
  }

  take(count: number): DecodedArray {
    const rows = this.rows.slice(this.taken, this.taken + count)
    this.taken += count
    return rows
  }

  private async page(): Promise<void> {
    const { decoder, lib } = this
    const header = await this.header()
    const { compressed_page_size: size, data_page_header, data_page_header_v2, dictionary_page_header } = header
    const of = data_page_header ?? data_page_header_v2 ?? dictionary_page_header
    await this.need(size)
    const bytes = new Uint8Array(this.window.buffer, this.window.byteOffset, size)
    this.skip(size)
    if (of === undefined || of.num_values === 0) return // an index, or nothing
    const values = of.num_values
    if (!(values >= 0 && values <= MOST_VALUES) || (of !== dictionary_page_header && values > this.left))
      throw new Error(`a page has ${values} values`)
    if (header.crc !== undefined && crc32(bytes) !== header.crc >>> 0) throw new Error('a page has another checksum')
    const { page, reader } = this.unpacked(header, bytes)
    if (of === dictionary_page_header) {
      const { data } = lib.readPage(reader, page, this.plain, undefined, undefined, 0)
      this.dictionary = data && lib.convert(data, decoder)
      return
    }
    checkPage({
      view: reader.view,
      values,
      repetitionBytes: data_page_header_v2?.repetition_levels_byte_length,
      definitionBytes: data_page_header_v2?.definition_levels_byte_length,
      maxRepetition: this.maxRepetition,
      maxDefinition: lib.getMaxDefinitionLevel(decoder.schemaPath),
      encoding: (data_page_header ?? data_page_header_v2)!.encoding,
      boolean: decoder.type === 'BOOLEAN',
    })
    const before = this.maxRepetition > 0 ? (this.rows.slice(this.taken) as never) : undefined
    const { data } = lib.readPage(reader, page, this.plain, this.dictionary, before, 0)
    this.left -= values
    this.rows = data ?? []
    this.taken = 0
    if (this.maxRepetition === 0 && this.rows.length !== values)
      throw new Error(`a page has ${this.rows.length} of ${values} values`)
  }

  /** A page as one that was never packed. Of version 2 its levels never are. */
  private unpacked(header: PageHeader, bytes: Uint8Array): { page: PageHeader; reader: DataReader } {
    const { uncompressed_page_size: size, data_page_header_v2: v2 } = header
    if (!(size >= 0 && size <= MOST_BYTES)) throw new Error(`a page has ${size} bytes`)
    const levels = v2 ? v2.repetition_levels_byte_length + v2.definition_levels_byte_length : 0
    if (!(levels >= 0 && levels <= Math.min(size, bytes.length))) throw new Error('levels of a page go beyond its end')
    let whole = bytes
    if (this.decoder.codec !== 'UNCOMPRESSED' && (v2 === undefined || (v2.is_compressed && size > levels))) {
      const { codec, compressors } = this.decoder
      const values = this.lib.decompressPage(bytes.subarray(levels), size - levels, codec, compressors)
      whole = values
      if (levels > 0) {
        whole = new Uint8Array(size)
        whole.set(bytes.subarray(0, levels))
        whole.set(values, levels)
      }
    }
    if (whole.length !== size) throw new Error(`a page has ${whole.length} bytes for ${size}`)
    return {
      page: {
        ...header,
        compressed_page_size: size,
        ...(v2 && { data_page_header_v2: { ...v2, is_compressed: false } }),
      },
      reader: { view: new DataView(whole.buffer, whole.byteOffset, size), offset: 0 },
    }
  }

  /** The header of the next page, past which the window then begins. */
  private async header(): Promise<PageHeader> {
    for (let size = 1 << 12; ; size *= 8) {
      const rest = this.end - this.at
      if (rest <= 0) throw new Error('a column ends before its last page')
      await this.need(Math.min(size, rest))
      const { buffer, byteOffset, byteLength } = this.window
      const reader = { view: new DataView(buffer, byteOffset, Math.min(size, byteLength)), offset: 0 }
      try {
        const header = this.lib.parquetHeader(reader)
        if (!(header.compressed_page_size >= 0 && header.compressed_page_size <= rest - reader.offset))
          throw new Error(`a page has ${header.compressed_page_size} bytes, and its column ${rest}`)
        this.skip(reader.offset)
        return header
      } catch (error) {
        if (size >= Math.min(rest, MOST_HEADER)) throw error // else it may only have been cut
      }
    }
  }

  private async need(bytes: number): Promise<void> {
    if (this.window.byteLength >= bytes) return
    if (bytes > this.end - this.at) throw new Error('a column ends within a page')
    this.window = new DataView(
      await bytesAt(this.handle, this.at, Math.max(bytes, Math.min(WINDOW, this.end - this.at))),
    )
  }

  private skip(bytes: number): void {
    const { buffer, byteOffset, byteLength } = this.window
    this.at += bytes
    this.window = new DataView(buffer, byteOffset + bytes, byteLength - bytes)
  }
}

export async function bytesAt(handle: FileHandle, position: number, length: number): Promise<ArrayBuffer> {
  const bytes = new Uint8Array(length)
  for (let done = 0; done < length; ) {
    const { bytesRead } = await handle.read(bytes, done, length - done, position + done)
    if (bytesRead === 0) throw new Error('it ended while it was read')
    done += bytesRead
  }
  return bytes.buffer
}
