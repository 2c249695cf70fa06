/** Sources of training rows: files, several of which may be one source, and rows in memory. */
import { createHash } from 'node:crypto'
import { createReadStream, statSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { ArgumentError, DataError } from '../errors.js'
import type { HubProgress } from '../hub/repository.js'
import { readError } from '../io/lines.js'
import { checkOptions, either, type Kinds, list, object, required, strings, text } from '../options.js'
import type { OnProgress } from '../progress.js'
import { defaultCacheDir } from './cache.js'
import { expandPattern } from './glob.js'
import { jsonRows } from './jsonl.js'
import { ParquetFile } from './parquet.js'
import { type ColumnMap, type Layout, RowReader, type RowTables, requireMapped, type TextRow } from './rows.js'
import type { TableFiles } from './table-files.js'
import { TextTable } from './tables.js'

export type { TextRow } from './rows.js'

/**
 * Part of every fingerprint, and of checkpoints: raised when the same file is read as other rows, or a recipe gets fields.
 * Before it was counted, columns were fewer.
 */
export const ROWS_VERSION = 2

/** Rows of text under a name. A global batch never mixes sources. Iterating twice must give the same rows. */
export interface Source extends AsyncIterable<TextRow> {
  /** Unique in a run; batches say which source they come from. */
  readonly name: string
  /** Files of a data set of the Hub that are of a kind that is not read. */
  readonly unusedFiles?: readonly string[]
  /** Sets of files of which only some parts are there, in words. */
  readonly incomplete?: readonly string[]
  /** How the columns of its files are read, each way once, as far as it was read. @internal */
  readonly layouts?: Iterable<Layout>
  /** Changes when the rows change. Without it the rows are read once more, to hash them. */
  fingerprint?(): Promise<string>
}

/** Files that are one source, and how they are read. */
export interface DataEntry {
  /** Name of the source. Default: as of its first file. */
  name?: string
  /** Files, folders and patterns, in the order of their sorted names; or `hf://datasets/…`. */
  files: string | readonly string[]
  /** Which columns hold what, where their names do not say it. */
  columns?: ColumnMap
  /** The query column holds ids, of this table: its files, or these with its columns. */
  queries?: string | readonly string[] | TableFiles
  /** The columns of documents hold ids, of this table. */
  documents?: string | readonly string[] | TableFiles
  /** Of a data set from the Hub: which of its configurations. Default its default one. */
  config?: string
  /** Of a data set from the Hub: which split. Default `train`. */
  split?: string
  /** Of a data set from the Hub: which branch, tag or commit. */
  revision?: string
}

/** How sources are opened. */
export interface SourceOptions {
  /** Where tables are laid out while they are read; default as for tokenized data. */
  cacheDir?: string
  /** Told how the download of a data set from the Hub stands. */
  onProgress?: OnProgress<HubProgress>
  /** Ends a download, with ERR_ABORTED. */
  signal?: AbortSignal
}

/** How the files of one source are read. */
export interface FileSourceOptions extends Pick<DataEntry, 'name' | 'columns'> {
  /** The query column holds ids, of this table. */
  queries?: TableFiles
  /** The columns of documents hold ids, of this table. */
  documents?: TableFiles
  /** Where tables are laid out while they are read. */
  cacheDir?: string
}

const hub = 'hf://'

/** A data set of the Hub is called as there. */
const hubName = (pattern: string): string | undefined =>
  pattern.startsWith(hub) ? pattern.slice(hub.length).replace(/^datasets\//, '') : undefined

/**
 * The sources of what a phase names as its data. A string is a file, a folder or a pattern, and each file of it a source,
 * named by its file name (with as many of its folders as tell it from the others); the parts of a set, `x-00000-of-00012`,
 * are one. An entry { files } is one source.
 * @throws DataError `ERR_DATA` when a pattern matches nothing, a file has another ending, or two would have one name
 */
export async function fileSources(
  data: string | DataEntry | readonly (string | DataEntry)[],
  options: SourceOptions = {},
): Promise<Source[]> {
  const items = Array.isArray(data) ? (data as readonly (string | DataEntry)[]) : [data as string | DataEntry]
  for (const item of items) if (typeof item !== 'string') checkEntry(item)
  const opened: { files: string[]; entry: Omit<DataEntry, 'files'>; unused: string[]; incomplete: string[] }[] = []
  const seen = new Set<string>()
  for (const item of items) {
    if (typeof item === 'string') {
      const found = await expand(item, options)
      const files = found.files.filter((file) => !seen.has(file))
      for (const file of files) seen.add(file)
      const sets = item.startsWith(hub) ? [files] : partsOf(files).map((set) => set.files)
      const { unused, incomplete } = found
      opened.push(...sets.map((set) => ({ files: set, entry: { name: hubName(item) }, unused, incomplete })))
    } else {
      const { files, ...rest } = await expandAll(item.files, options, item)
      const name = item.name ?? hubName([item.files].flat()[0]!)
      opened.push({ files, entry: { ...item, name }, ...rest })
    }
  }
  const names = namesOf(opened.map(({ files, entry }) => ({ file: files[0]!, name: entry.name })))
  return Promise.all(
    opened.map(async ({ files, entry, unused, incomplete }, i) => ({
      ...fileSource(files, {
        name: names[i],
        columns: entry.columns,
        queries: await table(entry.queries, options, entry),
        documents: await table(entry.documents, options, entry),
        cacheDir: options.cacheDir,
      }),
      ...(unused.length > 0 && { unusedFiles: unused }),
      ...(incomplete.length > 0 && { incomplete }),
    })),
  )
}

/**
 * Files of .jsonl, .jsonl.gz or .parquet as one source, in the order given. docs/guides/data.md has the layouts of their rows.
 * @throws DataError ERR_DATA for another ending; while rows are read, for what is wrong, with file and line or row
 */
export function fileSource(files: string | readonly string[], options: FileSourceOptions = {}): Source {
  const paths = [files].flat() as string[]
  if (paths.length === 0) throw new DataError('ERR_DATA', 'a source needs a file.')
  for (const file of paths) requireEnding(file)
  const { name = stem(paths[0]!), columns = {}, queries, documents, cacheDir = defaultCacheDir() } = options
  const layouts = new Map<string, Layout>()
  const openTable = async (given: TableFiles | undefined, titles: boolean): Promise<TextTable | undefined> =>
    given && TextTable.open([given.files].flat() as string[], { ...given, titles, cacheDir })
  return {
    name,
    layouts: { [Symbol.iterator]: () => layouts.values() },
    async *[Symbol.asyncIterator]() {
      const tables: RowTables = {}
      try {
        tables.queries = await openTable(queries, false)
        tables.documents = await openTable(documents, true)
        const reader = new RowReader(columns, tables, (layout) => layouts.set(JSON.stringify(layout), layout))
        const seen = new Set<string>()
        for (const file of paths)
          if (file.endsWith('.parquet')) yield* parquetRows(file, reader, columns)
          else yield* jsonRows(file, reader, seen)
        if (seen.size > 0) requireMapped(seen, `source "${name}"`, columns)
      } finally {
        await tables.queries?.close()
        await tables.documents?.close()
      }
    },
    async fingerprint() {
      const parts: unknown[] = [ROWS_VERSION, columns, await hashAll(paths)]
      for (const given of [queries, documents])
        parts.push(
          given ? [given.id ?? null, given.text ?? null, await hashAll([given.files].flat() as string[])] : null,
        )
      return createHash('sha256').update(JSON.stringify(parts)).digest('hex')
    },
  }
}

/** A source over rows in memory. */
export function memorySource(name: string, rows: readonly TextRow[]): Source {
  return {
    name,
    async *[Symbol.asyncIterator]() {
      yield* rows
    },
  }
}

/** Training rows of a Parquet file; of its columns, only those are read that hold something. */
async function* parquetRows(path: string, reader: RowReader, columns: ColumnMap): AsyncGenerator<TextRow> {
  const file = await ParquetFile.open(path)
  try {
    requireMapped(file.names, path, columns)
    const layout = reader.layoutOf(file.names, path)
    const { query, positive, documents, negatives, scores, id } = layout
    const used = [query, positive, documents, id, ...negatives, ...[scores].flat()].filter((name) => name !== undefined)
    let row = 0
    for await (const rows of file.rows([...new Set(used)]))
      for (const values of rows) yield* reader.rows(values, layout, `${path}, row ${++row}`)
  } finally {
    await file.close()
  }
}

const names = either(text, list(text))
const columnKinds: Kinds<ColumnMap> = {
  query: text,
  positive: text,
  negatives: either(text, strings),
  documents: text,
  scores: names,
}
const tableKinds: Kinds<TableFiles> = { files: names, id: text, text }
const entryKinds: Kinds<DataEntry> = {
  name: text,
  files: names,
  columns: object,
  queries: either(names, object),
  documents: either(names, object),
  config: text,
  split: text,
  revision: text,
}

/** @throws ArgumentError ERR_ARGUMENT for a key or value that an entry cannot have */
function checkEntry(entry: DataEntry): void {
  if (object.is(entry) && isSource(entry))
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `data names files, and ${entry.name} is a source: give it as sources: [SOURCE]`,
    )
  checkOptions('data', entry, entryKinds)
  required('data', 'files', entry?.files, names)
  checkOptions('data: columns', entry.columns, columnKinds)
  for (const key of ['queries', 'documents'] as const)
    if (object.is(entry[key])) checkOptions(`data: ${key}`, entry[key] as TableFiles, tableKinds)
}

function requireEnding(file: string): void {
  if (!/\.(jsonl?(\.gz)?|parquet)$/.test(file))
    throw new DataError(
      'ERR_DATA',
      `${file} is not a .jsonl, .jsonl.gz or .parquet file. Convert it to one JSON object per line.`,
      { file },
    )
}

async function table(
  given: DataEntry['queries'],
  options: SourceOptions,
  entry: Pick<DataEntry, 'revision'>,
): Promise<TableFiles | undefined> {
  if (given === undefined) return undefined
  const { files, ...columns } =
    typeof given === 'string' || Array.isArray(given) ? { files: given } : (given as TableFiles)
  // A table comes from the data set's own revision; it has one split.
  const where = [files].flat().some((name) => name.startsWith(hub)) ? { revision: entry.revision } : {}
  return { ...columns, files: (await expandAll(files, options, where)).files }
}

/** Files of a pattern, or of a data set of the Hub. Errors as `fileSources`. */
export async function expandFiles(pattern: string, options: SourceOptions): Promise<string[]> {
  return (await expand(pattern, options)).files
}

/** Files of patterns, each once, sorted within each pattern. */
async function expandAll(
  patterns: string | readonly string[],
  options: SourceOptions,
  where: Pick<DataEntry, 'config' | 'split' | 'revision'>,
): Promise<Found> {
  const names = [patterns].flat() as string[]
  for (const key of ['config', 'split', 'revision'] as const)
    if (where[key] !== undefined && !names.some((name) => name.startsWith(hub)))
      throw new DataError('ERR_DATA', `${key} has no effect on local files (${names.join(', ')}); leave it out.`, {
        key,
      })
  const found: Found = { files: [], unused: [], incomplete: [] }
  for (const pattern of names) {
    const { files, unused, incomplete } = await expand(pattern, options, where)
    found.files.push(...files)
    found.unused.push(...unused)
    found.incomplete.push(...incomplete)
  }
  return { ...found, files: [...new Set(found.files)] }
}

/** Files of a pattern, those beside them that are of a kind that is not read, and sets that are not whole. */
interface Found {
  files: string[]
  unused: string[]
  /** What is said of sets of which only some parts are there. */
  incomplete: string[]
}

async function expand(
  pattern: string,
  { onProgress, signal }: SourceOptions,
  where: Pick<DataEntry, 'config' | 'split' | 'revision'> = {},
): Promise<Found> {
  if (!pattern.startsWith(hub)) {
    const files = expandPattern(pattern)
    return { files, unused: [], incomplete: incompleteSets(files, pattern) }
  }
  const { resolveDataFiles } = await import('../hub/data-files.js')
  const { config, split, revision } = where
  return { ...(await resolveDataFiles(pattern, { config, split, revision, onProgress, signal })), incomplete: [] }
}

/** Files by the set that they are a part of, `train-00003-of-00012.parquet`; any other is a set of its own. */
function partsOf(files: readonly string[]): { files: string[]; of: number }[] {
  const sets = new Map<string, { files: string[]; of: number }>()
  for (const file of files) {
    const [, of] = /-\d+-of-(\d+)\./.exec(basename(file)) ?? []
    const key = of === undefined ? file : join(dirname(file), basename(file).replace(/-\d+-of-/, '-of-'))
    const set = sets.get(key) ?? { files: [], of: Number(of ?? 1) }
    set.files.push(file)
    sets.set(key, set)
  }
  return [...sets.values()]
}

/**
 * Sets of which a folder or a pattern has only some parts: a download may not be through. A file that is named is meant.
 * @throws DataError ERR_DATA for those of a folder
 */
function incompleteSets(files: readonly string[], pattern: string): string[] {
  const isFolder = statSync(pattern, { throwIfNoEntry: false })?.isDirectory()
  if (!isFolder && !/[*?]/.test(pattern)) return []
  const said = partsOf(files)
    .filter((set) => set.files.length !== set.of)
    .map((set) => `${pattern} has ${set.files.length} of the ${set.of} parts of ${stem(set.files[0]!)}`)
  if (isFolder && said.length > 0)
    throw new DataError('ERR_DATA', `${said[0]}. Fetch the others, or name the files that you mean.`, { pattern })
  return said
}

/** Whether it is a source already, and not files of one. */
export function isSource(item: string | DataEntry | Source): item is Source {
  return typeof item === 'object' && Symbol.asyncIterator in item
}

/** The opposite. */
export function isFiles(item: string | DataEntry | Source): item is string | DataEntry {
  return !isSource(item)
}

/** A name for each: its own, or that of its file with as many folders before it as no other one has. */
function namesOf(sources: readonly { file: string; name?: string }[]): string[] {
  const paths = sources.map(({ file }) => {
    const path = resolve(file)
    return [...dirname(path).split(/[\\/]/), stem(path)]
  })
  const suffix = (i: number, depth: number): string => paths[i]!.slice(-depth).join('/')
  return sources.map(({ name, file }, i) => {
    if (name !== undefined) return name
    const others = sources.flatMap((other, j) => (j === i || other.name !== undefined ? [] : [j]))
    for (let depth = 1; depth <= paths[i]!.length; depth++)
      if (!others.some((j) => suffix(j, depth) === suffix(i, depth))) return suffix(i, depth)
    const twin = others.find((j) => suffix(j, Number.POSITIVE_INFINITY) === suffix(i, Number.POSITIVE_INFINITY))!
    throw new DataError(
      'ERR_DATA',
      `${file} and ${sources[twin]!.file} would have one name, "${suffix(i, 1)}". Leave one out, or give names: ` +
        '{ name: NAME, files: FILE }.',
      { files: [file, sources[twin]!.file] },
    )
  })
}

/** Of a file or of the set that it is a part of. */
const stem = (file: string): string =>
  basename(file)
    .replace(/\.(jsonl?(\.gz)?|parquet)$/, '')
    .replace(/-\d+-of-\d+$/, '')

async function hashAll(files: readonly string[]): Promise<string[]> {
  const hashes: string[] = []
  for (const file of files) {
    const hash = createHash('sha256')
    try {
      for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer)
    } catch (cause) {
      throw readError(file, 1, cause)
    }
    hashes.push(hash.digest('hex'))
  }
  return hashes
}
