/** Files of ids and texts: what the rows of a table are. */
import { DataError } from '../errors.js'
import { lineBatches } from '../io/lines.js'
import { jsonLines } from './jsonl.js'
import { ParquetFile } from './parquet.js'
import { isRounded, ROUNDED } from './rows.js'

/** Which files a table is, and where their names do not say it, which columns. */
export interface TableFiles {
  /** Files of the table. */
  files: string | readonly string[]
  /** Column of the ids. Default: `query_id`, `document_id`, `_id` and their like. */
  id?: string
  /** Column of the texts. Default: `text`, else the only one left. */
  text?: string
}

/** A row of a table, and where it is. */
export interface TableEntry {
  id: string
  text: string
  where: string
}

const idNames = ['query_id', 'document_id', 'doc_id', 'docid', 'qid', 'pid', '_id', 'id']
const textNames = ['text', 'query', 'document', 'passage', 'contents']

/**
 * The rows of a file of .jsonl, .jsonl.gz or .parquet, or of .tsv or .tsv.gz, with a header that names its columns or without
 * one: id, text and, with `titles`, perhaps a title. Titles come before their texts: with a blank, of a .tsv without a header
 * with " | " as ColBERT's loader joins them.
 * @param unused gets the names of columns that nothing reads
 * @throws DataError ERR_DATA with file and line or row
 */
export async function* tableEntries(
  file: string,
  options: Omit<TableFiles, 'files'> & { titles: boolean },
  unused: Set<string>,
): AsyncGenerator<TableEntry> {
  if (/\.tsv(\.gz)?$/.test(file)) yield* tsvEntries(file, options, unused)
  else if (file.endsWith('.parquet')) yield* parquetEntries(file, options, unused)
  else yield* jsonEntries(file, options, unused)
}

async function* tsvEntries(
  file: string,
  options: Omit<TableFiles, 'files'> & { titles: boolean },
  unused: Set<string>,
): AsyncGenerator<TableEntry> {
  let number = 0
  let header: { names: string[]; columns: Columns } | undefined
  for await (const lines of lineBatches(file))
    for (const line of lines) {
      const where = `${file}:${++number}`
      if (line === '') continue
      const cells = line.split('\t')
      if (number === 1 && isHeader(cells, options)) {
        header = { names: cells, columns: columnsOf(cells, where, options, unused) }
        continue
      }
      if (header) {
        const named = Object.fromEntries(header.names.map((name, i) => [name, cells[i]]))
        yield entryOf(named, header.columns, where)
        continue
      }
      const [id, text, title] = cells
      if (id === undefined || text === undefined)
        throw new DataError('ERR_DATA', `${where}: expected an id, a tab and a text.`, { where })
      yield { id: id.trim(), text: options.titles && title ? `${title} | ${text}` : text, where }
    }
}

/** Names of an id and of a text, which no row would have. */
const isHeader = (cells: readonly string[], { id, text }: Omit<TableFiles, 'files'>): boolean =>
  cells.some((cell) => cell === id || idNames.includes(cell)) &&
  cells.some((cell) => cell === text || textNames.includes(cell))

async function* parquetEntries(
  file: string,
  options: Omit<TableFiles, 'files'>,
  unused: Set<string>,
): AsyncGenerator<TableEntry> {
  const parquet = await ParquetFile.open(file)
  try {
    const columns = columnsOf(parquet.names, file, options, unused)
    let row = 0
    for await (const rows of parquet.rows([columns.id, columns.text, ...columns.title]))
      for (const values of rows) yield entryOf(values, columns, `${file}, row ${++row}`)
  } finally {
    await parquet.close()
  }
}

async function* jsonEntries(
  file: string,
  options: Omit<TableFiles, 'files'>,
  unused: Set<string>,
): AsyncGenerator<TableEntry> {
  let columns: Columns | undefined
  for await (const { value, where } of jsonLines(file)) {
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw new DataError('ERR_DATA', `${where}: expected a JSON object with an id and a text.`, { where })
    columns ??= columnsOf(Object.keys(value), where, options, unused)
    yield entryOf(value as Record<string, unknown>, columns, where)
  }
}

interface Columns {
  id: string
  text: string
  /** One or none. */
  title: string[]
}

function columnsOf(
  names: readonly string[],
  where: string,
  { id, text }: Omit<TableFiles, 'files'>,
  unused: Set<string>,
): Columns {
  const shown = names.map((name) => JSON.stringify(name)).join(', ')
  const fail = (problem: string, hint: string): DataError =>
    new DataError('ERR_DATA', `${where}: ${problem}. Its columns: ${shown}. ${hint}`, { where, columns: [...names] })
  for (const name of [id, text])
    if (name !== undefined && !names.includes(name))
      throw fail(`there is no column "${name}"`, 'Name one that is there')
  const ids = id === undefined ? names.filter((name) => idNames.includes(name) && name !== text) : [id]
  if (ids.length !== 1) throw fail('no column, or more than one, is the id', 'Say which it is: { files, id: NAME }')
  const left = names.filter((name) => name !== ids[0] && name !== 'title')
  const found = text ?? (left.length === 1 ? left[0] : textNames.find((name) => left.includes(name)))
  if (found === undefined) throw fail('no column is the text', 'Say which it is: { files, text: NAME }')
  for (const name of left) if (name !== found) unused.add(name)
  return { id: ids[0]!, text: found, title: names.includes('title') && found !== 'title' ? ['title'] : [] }
}

function entryOf(values: Readonly<Record<string, unknown>>, { id, text, title }: Columns, where: string): TableEntry {
  const key = values[id]
  if (isRounded(key)) throw new DataError('ERR_DATA', `${where}: "${id}" is ${key}${ROUNDED}`, { where })
  const body = values[text]
  const head = title.map((name) => values[name]).find((value) => typeof value === 'string' && value.trim() !== '')
  if (typeof key !== 'string' && typeof key !== 'number' && typeof key !== 'bigint')
    throw new DataError('ERR_DATA', `${where}: "${id}" is no id.`, { where })
  if (typeof body !== 'string') throw new DataError('ERR_DATA', `${where}: "${text}" is not a string.`, { where })
  return { id: String(key), text: head === undefined ? body : `${head as string} ${body}`, where }
}
