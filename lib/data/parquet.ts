/**
 * Parquet files page by page. hyparquet's own readers decode whole column chunks, which in files as pandas and polars
 * write them are hundreds of megabytes; here its decoders of a page are given one page after the other, so that memory
 * follows the size of a page and not of the file, its row groups or its columns. They are no part of hyparquet's stated
 * interface: package.json therefore names one version of it.
 */
import { type FileHandle, open } from 'node:fs/promises'
import { brotliDecompressSync, crc32, gunzipSync } from 'node:zlib'
import type { Compressors, DecodedArray, FileMetaData, PageHeader, SchemaTree } from 'hyparquet'
import type { ColumnDecoder } from 'hyparquet/src/types.js'
import { DataError, LateforgeError } from '../errors.js'
import { readError } from '../io/lines.js'

/** Rows that are given at a time, at most. */
const ROWS = 4096
/** Bytes that are read at a time: what most pages have. */
const WINDOW = 1 << 20
/** Values of the largest page that is believed; the usual writers stay below a hundredth of it. */
const MOST_VALUES = 1 << 24
/** Bytes of the largest page, unpacked. */
const MOST_BYTES = 1 << 30
const MAGIC = 'PAR1'
const ENCRYPTED = 'PARE'

/** hyparquet, loaded when the first file is. */
const load = async () => {
  const [main, column, assemble, convert, schema, { compressors }] = await Promise.all([
    import('hyparquet'),
    import('hyparquet/src/column.js'),
    import('hyparquet/src/assemble.js'),
    import('hyparquet/src/convert.js'),
    import('hyparquet/src/schema.js'),
    import('hyparquet-compressors'),
  ])
  return {
    ...main,
    ...column,
    ...assemble,
    ...convert,
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
type Hyparquet = Awaited<ReturnType<typeof load>>

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const stringFromBytes = (bytes: Uint8Array): string => bytes && utf8.decode(bytes)

/** A Parquet file, open; `close` it. */
export class ParquetFile {
  /** Names of its columns, at the top. */
  readonly names: readonly string[]
  /** Number of its rows. */
  readonly rowCount: number
  private readonly path: string
  private readonly handle: FileHandle
  private readonly size: number
  private readonly metadata: FileMetaData
  private readonly schema: SchemaTree
  private readonly lib: Hyparquet

  private constructor(path: string, handle: FileHandle, size: number, metadata: FileMetaData, lib: Hyparquet) {
    this.path = path
    this.handle = handle
    this.size = size
    this.metadata = metadata
    this.lib = lib
    this.schema = lib.parquetSchema(metadata)
    this.names = this.schema.children.map(({ element }) => element.name)
    this.rowCount = metadata.row_groups.reduce((sum, group) => sum + Number(group.num_rows), 0)
    if (this.rowCount !== Number(metadata.num_rows))
      throw new Error('its row groups have other rows than its footer says')
  }

  /** @throws DataError ERR_DATA for a file that is missing, cut, encrypted, or none of Parquet */
  static async open(path: string): Promise<ParquetFile> {
    const lib = await load()
    let handle: FileHandle | undefined
    try {
      handle = await open(path, 'r')
      const { size } = await handle.stat()
      const ends = [
        await bytesAt(handle, 0, Math.min(4, size)),
        await bytesAt(handle, Math.max(0, size - 4), Math.min(4, size)),
      ]
      const [head, tail] = ends.map((bytes) => Buffer.from(bytes).toString('latin1'))
      if (head === ENCRYPTED || tail === ENCRYPTED) throw new Error('it is encrypted, which is not supported')
      if (head !== MAGIC) throw new Error('it does not begin with PAR1')
      if (size < 12 || tail !== MAGIC) throw new Error('it does not end with PAR1: it is cut off')
      const file = handle
      const slice = async (start: number, end = size): Promise<ArrayBuffer> => bytesAt(file, start, end - start)
      const metadata = await lib.parquetMetadataAsync({ byteLength: size, slice }, { geoparquet: false })
      return new ParquetFile(path, handle, size, metadata, lib)
    } catch (error) {
      await handle?.close()
      throw damaged(path, error)
    }
  }

  async close(): Promise<void> {
    await this.handle.close()
  }

  /**
   * All rows, some at a time, with these of its columns: no other is read. Lists are arrays, structs objects, 64-bit
   * integers BigInts; what is not there is null.
   * @throws DataError ERR_DATA for what is damaged, in an unknown codec or encrypted; it names the row
   */
  async *rows(columns: readonly string[]): AsyncGenerator<Record<string, unknown>[]> {
    let done = 0
    try {
      for (const group of this.metadata.row_groups) {
        const cursors = columns.map((name) => this.column(name, group))
        const end = done + Number(group.num_rows)
        while (done < end) {
          await Promise.all(cursors.map((cursor) => cursor.fill()))
          const count = Math.min(ROWS, end - done, ...cursors.map(({ ready }) => ready))
          if (count === 0) throw new Error('a column ends before the others')
          const parts = cursors.map((cursor) => cursor.take(count))
          yield Array.from({ length: count }, (_, i) => {
            const row: Record<string, unknown> = {}
            for (const [c, name] of columns.entries()) row[name] = parts[c]![i] ?? null
            return row
          })
          done += count
        }
      }
    } catch (error) {
      throw damaged(this.path, error, done + 1)
    }
  }

  private column(name: string, group: FileMetaData['row_groups'][number]): ColumnCursor {
    const tree = this.schema.children.find(({ element }) => element.name === name)!
    const leaves = group.columns
      .filter(({ meta_data }) => {
        if (!meta_data) throw new Error('a column is encrypted, which is not supported')
        return meta_data.path_in_schema[0] === name
      })
      .map(({ meta_data, file_path }) => {
        const meta = meta_data!
        if (file_path) throw new Error(`column "${name}" is in another file, which is not supported`)
        if (meta.codec !== 'UNCOMPRESSED' && !this.lib.compressors[meta.codec])
          throw new Error(
            `column "${name}" is compressed with ${meta.codec ?? 'an unknown codec'}, which is not supported`,
          )
        const schemaPath = this.lib.getTreePath(this.schema, meta.path_in_schema)
        const decoder = {
          ...meta,
          pathInSchema: meta.path_in_schema,
          element: schemaPath.at(-1)!.element,
          schemaPath,
          compressors: this.lib.compressors,
          parsers: this.lib.parsers,
        } as ColumnDecoder
        const start = Number(meta.dictionary_page_offset || meta.data_page_offset)
        const end = start + Number(meta.total_compressed_size)
        if (!(start >= 4 && end >= start && end <= this.size))
          throw new Error(`column "${name}" lies outside of the file`)
        return new LeafCursor(this.handle, start, end, Number(meta.num_values), decoder, this.lib)
      })
    if (leaves.length === 0) throw new Error(`column "${name}" is missing in a row group`)
    return new ColumnCursor(tree, leaves, this.lib)
  }
}

/** A column at the top of the schema: one leaf, or the several of a struct, which are put together again. */
class ColumnCursor {
  private readonly tree: SchemaTree
  private readonly leaves: readonly LeafCursor[]
  private readonly lib: Hyparquet

  constructor(tree: SchemaTree, leaves: readonly LeafCursor[], lib: Hyparquet) {
    this.tree = tree
    this.leaves = leaves
    this.lib = lib
  }

  /** Rows that can be taken. */
  get ready(): number {
    return Math.min(...this.leaves.map((leaf) => leaf.ready))
  }

  async fill(): Promise<void> {
    await Promise.all(this.leaves.map((leaf) => leaf.fill()))
  }

  take(count: number): ArrayLike<unknown> {
    const parts = this.leaves.map((leaf) => leaf.take(count))
    const { children, element } = this.tree
    if (children.length === 0) return parts[0]!
    const data = new Map(this.leaves.map((leaf, i) => [leaf.path, parts[i]!]))
    this.lib.assembleNested(data, this.tree, this.lib.parsers)
    const whole = data.get(element.name)
    if (whole?.length !== count) throw new Error(`column "${element.name}" cannot be put together`)
    return whole
  }
}

/** A column chunk, read from its first page to its last. */
class LeafCursor {
  readonly path: string
  private readonly handle: FileHandle
  private readonly end: number
  private readonly decoder: ColumnDecoder
  private readonly lib: Hyparquet
  private readonly repeated: boolean
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
    this.lib = lib
    this.path = decoder.pathInSchema.join('.')
    this.repeated = lib.getMaxRepetitionLevel(decoder.schemaPath) > 0
  }

  get ready(): number {
    const open = this.repeated && this.left > 0 ? 1 : 0
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
    const values = (data_page_header ?? data_page_header_v2 ?? dictionary_page_header)?.num_values ?? 0
    const isDictionary = header.type === 'DICTIONARY_PAGE'
    if (!(values >= 0 && values <= MOST_VALUES) || (!isDictionary && values > this.left))
      throw new Error(`a page has ${values} values`)
    if (!(header.uncompressed_page_size >= 0 && header.uncompressed_page_size <= MOST_BYTES))
      throw new Error(`a page has ${header.uncompressed_page_size} bytes`)
    await this.need(size)
    const reader = { view: this.window, offset: 0 }
    const bytes = new Uint8Array(this.window.buffer, this.window.byteOffset, size)
    if (header.crc !== undefined && crc32(bytes) !== header.crc >>> 0) throw new Error('a page has another checksum')
    this.skip(size)
    if (!isDictionary && !data_page_header && !data_page_header_v2) return // an index
    if (isDictionary) {
      const { data } = lib.readPage(reader, header, decoder, undefined, undefined, 0)
      this.dictionary = data && lib.convert(data, decoder)
      return
    }
    const before = this.taken < this.rows.length ? this.rows.slice(this.taken) : []
    const { data } = lib.readPage(
      reader,
      header,
      decoder,
      this.dictionary,
      this.repeated ? (before as never) : undefined,
      0,
    )
    this.left -= values
    this.rows = data ?? []
    this.taken = 0
    if (!this.repeated && this.rows.length !== values)
      throw new Error(`a page has ${this.rows.length} of ${values} values`)
  }

  /** The header of the next page, past which the window then begins. */
  private async header(): Promise<PageHeader> {
    for (let size = 1 << 12; ; size *= 8) {
      const rest = this.end - this.at
      if (rest <= 0) throw new Error('a column ends before its last page')
      await this.need(Math.min(size, rest))
      const reader = { view: this.window, offset: 0 }
      try {
        const header = this.lib.parquetHeader(reader)
        if (!(header.compressed_page_size >= 0 && header.compressed_page_size <= rest - reader.offset))
          throw new Error(`a page has ${header.compressed_page_size} bytes, and its column ${rest}`)
        this.skip(reader.offset)
        return header
      } catch (error) {
        if (size >= rest || this.window.byteLength >= rest) throw error // else it may only have been cut by the window
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

async function bytesAt(handle: FileHandle, position: number, length: number): Promise<ArrayBuffer> {
  const bytes = new Uint8Array(length)
  for (let done = 0; done < length; ) {
    const { bytesRead } = await handle.read(bytes, done, length - done, position + done)
    if (bytesRead === 0) throw new Error('it ended while it was read')
    done += bytesRead
  }
  return bytes.buffer
}

/** What a caller is told of a file that cannot be read, at or after row `row`. */
function damaged(path: string, error: unknown, row?: number): unknown {
  const known = readError(path, row ?? 0, error)
  if (known instanceof LateforgeError) return known
  const place = row === undefined ? path : `${path}, at or after row ${row}`
  const reason = (error as Error).message.replace(/^parquet /, '')
  return new DataError(
    'ERR_DATA',
    `${place}: not an intact Parquet file that can be read: ${reason}. Fetch or write it again.`,
    {
      file: path,
      ...(row !== undefined && { row }),
    },
    { cause: error },
  )
}
