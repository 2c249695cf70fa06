/**
 * Parquet files page by page. hyparquet's own readers decode whole column chunks, which in files as pandas and polars
 * write them are hundreds of megabytes; here its decoders of a page are given one page after the other, so that memory
 * follows the size of a page and not of the file, its row groups or its columns. They are no part of hyparquet's stated
 * interface: package.json therefore names one version of it.
 */
import { type FileHandle, open } from 'node:fs/promises'
import type { FileMetaData, SchemaTree } from 'hyparquet'
import type { ColumnDecoder } from 'hyparquet/src/types.js'
import { DataError, LateforgeError } from '../errors.js'
import { lfsHint } from '../io/lfs.js'
import { readError } from '../io/lines.js'
import { bytesAt, type Hyparquet, LeafCursor, load } from './parquet-pages.js'

/** Rows that are given at a time, at most. */
const ROWS = 4096
const MAGIC = 'PAR1'
const ENCRYPTED = 'PARE'

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
    for (const { num_rows } of metadata.row_groups)
      if (num_rows < 0) throw new Error('a row group has no number of rows')
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
      if (head !== MAGIC) throw new Error(lfsHint(await textAt(handle, size)) || 'it does not begin with PAR1')
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

const textAt = async (handle: FileHandle, size: number): Promise<string> =>
  Buffer.from(await bytesAt(handle, 0, Math.min(64, size))).toString('latin1')

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
