import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { basename, dirname } from 'node:path'
import { DataError } from '../errors.js'
import { lineBatches, readError } from '../io/lines.js'
import { expandPattern } from './glob.js'

/** A training row: a query and its documents, the positive first; `scores` are a teacher's, one per document. */
export interface TextRow {
  /** The query's text. */
  query: string
  /** Texts of its documents, the positive first. */
  documents: string[]
  /** A teacher's scores, one per document. */
  scores?: number[]
  /** The row's name, if it has one. */
  id?: string
  /** Columns of the file that nothing reads; absent where there are none. */
  unused?: readonly string[]
}

/** Rows of text under a name. A global batch never mixes sources. Iterating twice must give the same rows. */
export interface Source extends AsyncIterable<TextRow> {
  /** Unique in a run; batches say which source they come from. */
  readonly name: string
  /** Changes when the rows change. Without it the rows are read once more, to hash them. */
  fingerprint?(): Promise<string>
}

/**
 * One source per file of .jsonl or .jsonl.gz, named by its file name (with its folder where two names are equal).
 * @throws DataError `ERR_DATA` when a pattern matches nothing or a file has another ending.
 */
export function fileSources(patterns: string | readonly string[]): Source[] {
  const list = typeof patterns === 'string' ? [patterns] : patterns
  const files = [...new Set(list.flatMap(expandPattern))]
  const names = files.map(sourceName)
  return files.map((file, i) => {
    const unique = names.filter((name) => name === names[i]).length === 1
    return fileSource(file, unique ? names[i]! : `${basename(dirname(file))}/${names[i]}`)
  })
}

/**
 * A .jsonl or .jsonl.gz file: pairs {query, document}; hard negatives {query, positive, negative, negative_1 …, or
 * negatives: []}; teacher scores {query, documents: [], scores: []}.
 * @throws DataError ERR_DATA for another ending; while rows are read, for a bad line, with file and line
 */
export function fileSource(file: string, name = sourceName(file)): Source {
  if (!/\.jsonl(\.gz)?$/.test(file)) {
    throw new DataError(
      'ERR_DATA',
      `${file} is not a .jsonl or .jsonl.gz file. Convert it to one JSON object per line.`,
      {
        file,
      },
    )
  }
  return {
    name,
    async *[Symbol.asyncIterator]() {
      let number = 0
      for await (const lines of lineBatches(file))
        for (const line of lines) {
          number++
          if (line.trim() !== '') yield parseLine(line, file, number)
        }
    },
    async fingerprint() {
      const hash = createHash('sha256')
      try {
        for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer)
      } catch (cause) {
        throw readError(file, 1, cause)
      }
      return hash.digest('hex')
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

/**
 * A row from one of the usual layouts: pairs {query, document}; triplets {query, positive (or document), negative,
 * negative_1 … negative_n or negatives: []}; distillation {query, documents: [], scores: []}.
 * @param where file and line, for the message
 * @throws DataError `ERR_DATA` for a missing, empty or mistyped field.
 */
export function parseRow(value: unknown, where: string): TextRow {
  const fail = (problem: string): DataError => new DataError('ERR_DATA', `${where}: ${problem}`, { where })
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw fail('expected a JSON object with "query" and "document", "positive" or "documents".')
  }
  const row = value as Record<string, unknown>
  const text = (field: string, content: unknown): string => {
    if (typeof content !== 'string') {
      throw fail(content === undefined ? `"${field}" is missing.` : `"${field}" is not a string.`)
    }
    if (content.trim() === '') throw fail(`"${field}" is empty.`)
    return content
  }
  const texts = (field: string): string[] => {
    const list = row[field]
    if (!Array.isArray(list)) throw fail(`"${field}" is not an array of strings.`)
    return list.map((content, i) => text(`${field}[${i}]`, content))
  }
  const query = text('query', row.query)
  const columns = documentColumns(row)
  const documents = columns.flatMap((name) => (lists.has(name) ? texts(name) : [text(name, row[name])]))
  if (documents.length === 0) throw fail('"documents" is empty.')
  const parsed: TextRow = { query, documents }
  if (row.scores !== undefined) {
    const { scores } = row
    if (!Array.isArray(scores) || scores.some((score) => typeof score !== 'number' || !Number.isFinite(score))) {
      throw fail('"scores" is not an array of finite numbers.')
    }
    if (scores.length !== documents.length) {
      throw fail(`"scores" has ${scores.length} entries for ${documents.length} documents.`)
    }
    parsed.scores = scores
  }
  if (typeof row.id === 'string' || typeof row.id === 'number') parsed.id = String(row.id)
  const unused = Object.keys(row).filter((name) => !['query', 'scores', 'id', ...columns].includes(name))
  if (unused.length > 0) parsed.unused = unused
  return parsed
}

const lists: ReadonlySet<string> = new Set(['documents', 'negatives'])

/** The columns that hold a row's documents, the positive's first. */
function documentColumns(row: Readonly<Record<string, unknown>>): string[] {
  if (row.documents !== undefined) return ['documents']
  const columns = [row.positive !== undefined ? 'positive' : 'document']
  if (row.negative !== undefined) columns.push('negative')
  for (let i = 1; row[`negative_${i}`] !== undefined; i++) columns.push(`negative_${i}`)
  if (row.negatives !== undefined) columns.push('negatives')
  return columns
}

function parseLine(text: string, file: string, line: number): TextRow {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new DataError(
      'ERR_DATA',
      `${file}:${line}: not valid JSON: ${(cause as Error).message}`,
      { file, line },
      { cause },
    )
  }
  return parseRow(value, `${file}:${line}`)
}

function sourceName(file: string): string {
  return basename(file).replace(/\.jsonl(\.gz)?$/, '')
}
