import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { expandPattern } from '../data/glob.js'
import { DataError, didYouMean } from '../errors.js'
import { writeAtomic } from '../io/atomic.js'
import { eachLine, lineBatches } from '../io/lines.js'
import { checkOptions, flag, func, text } from '../options.js'
import { type OnProgress, seldom } from '../progress.js'
import { compareUtf8, type Qrels } from '../retrieval/metrics.js'
import { readJudgments } from './qrels.js'

/** Texts and their ids, by position. */
export interface Texts {
  /** Ids, unique. */
  readonly ids: readonly string[]
  /** Texts, as many as ids. */
  readonly texts: readonly string[]
}

/** The same, where texts may be read anew each time they are iterated instead of being held. */
export interface Corpus {
  /** Ids, unique. */
  readonly ids: readonly string[]
  /** Texts, as many as ids, in their order. */
  readonly texts: Iterable<string> | AsyncIterable<string>
}

/** A test collection: documents, the queries of one split and their judgments. */
export interface Collection<D extends Corpus = Corpus> {
  /** The folder's name. */
  readonly name: string
  /** Name of the split, as `test`. */
  readonly split: string
  /** All documents. */
  readonly documents: D
  /** Only the judged queries, in the order of the judgments. */
  readonly queries: Texts
  /** The judgments of the split. */
  readonly qrels: Qrels
  /** What it holds, and what of it is not used. */
  readonly counts: CollectionCounts
}

/** What a collection holds, and what of it is not used. */
export interface CollectionCounts {
  /** Number of documents. */
  readonly documents: number
  /** Documents and judged queries without text. */
  readonly emptyDocuments: number
  /** As `emptyDocuments`, of judged queries. */
  readonly emptyQueries: number
  /** Queries that this split does not judge: they are not searched. */
  readonly unjudgedQueries: number
  /** Judged pairs whose document is not in the corpus: nothing can retrieve them. */
  readonly missingJudged: number
  /** Names of fields, beside BEIR's `metadata`, that no text comes from. */
  readonly unusedFields: readonly string[]
}

/** What of a collection is not used, in words: nothing, or a line or two. */
export function collectionNotes(counts: Partial<CollectionCounts>): string[] {
  const unused = counts.unusedFields?.length
    ? [`fields that no text comes from: ${counts.unusedFields.join(', ')}`]
    : []
  return [
    ...listed([
      ['documents without text', counts.emptyDocuments],
      ['judged queries without text', counts.emptyQueries],
      ['queries that this split does not judge (not searched)', counts.unjudgedQueries],
      ['judged documents that are not in the corpus (never found)', counts.missingJudged],
    ]),
    ...unused,
  ]
}

/** One line that lists what there is any of, or none. */
export function listed(counts: readonly (readonly [what: string, count: number | undefined])[]): string[] {
  const found = counts.filter(([, count]) => count)
  return found.length > 0 ? [found.map(([what, count]) => `${what}: ${count}`).join('; ')] : []
}

/** Options of `loadBeir`. */
export interface LoadBeirOptions {
  /** Of the judgments. Default `test`. */
  split?: string
  /** Reads the texts of documents again each time they are iterated: only their ids are held. Default false. */
  stream?: boolean
  /** Told how many documents are read. */
  onProgress?: OnProgress | undefined
}

/**
 * Loads a BEIR folder: `corpus.jsonl`, `queries.jsonl` (either may be `.gz`) and `qrels/{split}.tsv`, with or without a
 * header, or in TREC's four columns. A document's text is its title and text joined by a space. With `stream` the texts
 * of documents are read again each time they are iterated: only their ids are held.
 * Throws `DataError` (`ERR_DATA`) naming file and line for anything missing, malformed or listed twice.
 */
export function loadBeir(dir: string, options?: LoadBeirOptions & { stream?: false }): Promise<Collection<Texts>>
export function loadBeir(dir: string, options: LoadBeirOptions): Promise<Collection>
export async function loadBeir(dir: string, options: LoadBeirOptions = {}): Promise<Collection> {
  checkOptions('loadBeir', options, { split: text, stream: flag, onProgress: func })
  const { split = 'test', stream = false, onProgress } = options
  const corpusFile = findFile(dir, 'corpus.jsonl')
  const queriesFile = findFile(dir, 'queries.jsonl')
  const qrelsFile = await findSplit(dir, split)
  const { qrels, header } = await readJudgments(qrelsFile)
  if (qrels.size === 0)
    throw new DataError('ERR_DATA', `${qrelsFile} holds no judgment, so there is nothing to score.`, {
      file: qrelsFile,
    })
  const corpus = await readTexts(corpusFile, documentFields, { stream, onProgress })
  const asked = await readTexts(queriesFile, queryFields, {})
  const all = asked.documents as Texts
  const ids = [...qrels.keys()]
  const missing = ids.filter((id) => !asked.positions.has(id))
  if (missing.length > 0)
    throw new DataError(
      'ERR_DATA',
      `Query "${missing[0]}"${missing.length > 1 ? ` and ${missing.length - 1} more are` : ' is'} judged in split ` +
        `"${split}" but missing from ${queriesFile}.`,
      { file: queriesFile, query: missing[0], missing: missing.length },
    )
  if (header && asked.positions.has(header[0]) && corpus.positions.has(header[1]))
    throw new DataError(
      'ERR_DATA',
      `${qrelsFile}:1: query "${header[0]}" and document "${header[1]}" exist, so this is no header; expected an integer ` +
        'grade beside them.',
      { file: qrelsFile, line: 1 },
    )
  const texts = ids.map((id) => all.texts[asked.positions.get(id)!]!)
  let [judgedPairs, missingJudged] = [0, 0]
  for (const judged of qrels.values())
    for (const id of judged.keys()) {
      judgedPairs++
      if (!corpus.positions.has(id)) missingJudged++
    }
  if (missingJudged === judgedPairs)
    throw new DataError(
      'ERR_DATA',
      `None of the ${judgedPairs} documents judged in ${qrelsFile} is in ${corpusFile}. Do they belong together?`,
      { file: qrelsFile, corpus: corpusFile },
    )
  const counts = {
    documents: corpus.documents.ids.length,
    emptyDocuments: corpus.empty,
    emptyQueries: texts.filter((text) => text.trim() === '').length,
    unjudgedQueries: all.ids.length - ids.length,
    missingJudged,
    unusedFields: [...new Set([...unusedOf(corpus.fields, documentFields), ...unusedOf(asked.fields, queryFields)])],
  }
  return { name: basename(resolve(dir)), split, documents: corpus.documents, queries: { ids, texts }, qrels, counts }
}

/** A document of a corpus, with what is kept beside its text. */
export interface CorpusDocument {
  /** Its `_id`. */
  readonly id: string
  /** Title and text. */
  readonly text: string
  /** What there is. */
  readonly metadata?: Record<string, unknown>
}

/** Documents of a file: their texts, or all of them; each is read anew each time it is iterated. */
export interface OpenDocuments extends Pick<CollectionCounts, 'emptyDocuments' | 'unusedFields'> {
  documents: Corpus
  rows: AsyncIterable<CorpusDocument>
}

/**
 * The documents of a BEIR folder, or of a file of its kind (`_id`, `title`, `text` per line). Throws `DataError` (`ERR_DATA`).
 * @param options.metadata fields that become a row's metadata, beside what its `metadata` has, which is checked then. Default none
 */
export async function openDocuments(
  path: string,
  { onProgress, metadata }: Pick<LoadBeirOptions, 'onProgress'> & { metadata?: readonly string[] } = {},
): Promise<OpenDocuments> {
  const file = /\.jsonl(\.gz)?$/.test(path) ? path : findFile(path, 'corpus.jsonl')
  const keptOf = (row: Row, number: number) => metadataOf(file, row, number, metadata ?? [])
  const seen = metadata && keptOf
  const { documents, empty, fields } = await readTexts(file, documentFields, { stream: true, onProgress, seen })
  for (const field of metadata ?? [])
    if (!fields.has(field))
      throw new DataError('ERR_DATA', `${file}: no document has a field "${field}", ${didYouMean(field, fields)}`, {
        field,
      })
  const read = (line: string, number: number): CorpusDocument | undefined => {
    const row = parseRow(file, line, number)
    const kept = row && keptOf(row, number)
    return row && { id: row.id, text: documentFields.textOf(row), ...(kept && { metadata: kept }) }
  }
  return {
    ...{ documents, rows: valuesOfFile(file, read, documents.ids.length), emptyDocuments: empty },
    unusedFields: unusedOf(fields, documentFields).filter((field) => !metadata?.includes(field)),
  }
}

/** What is kept of a row beside its text; undefined: nothing. Throws `DataError` (`ERR_DATA`). */
function metadataOf(file: string, { id, fields }: Row, number: number, names: readonly string[]) {
  const { metadata = null } = fields
  if (typeof metadata !== 'object' || Array.isArray(metadata))
    throw new DataError('ERR_DATA', `${file}:${number}: "metadata" of "${id}" is no object`, { file, line: number })
  const named = names.flatMap((name) => (Object.hasOwn(fields, name) ? [[name, fields[name]]] : []))
  const all = { ...metadata, ...Object.fromEntries(named) }
  return Object.keys(all).length > 0 ? all : undefined
}

/**
 * What the lines of a file hold, read anew each time it is iterated.
 * @param read that of a line, or undefined where there is none
 * @param count texts there are; another number means that the file has changed, a DataError
 */
export function valuesOfFile<T>(
  file: string,
  read: (line: string, number: number) => T | undefined,
  count: number,
): AsyncIterable<T> {
  return {
    async *[Symbol.asyncIterator]() {
      let [found, number] = [0, 0]
      for await (const lines of lineBatches(file))
        for (const line of lines) {
          const value = read(line, ++number)
          if (value === undefined) continue
          found++
          yield value
        }
      if (found !== count)
        throw new DataError('ERR_DATA', `${file} has changed: ${found} texts, it had ${count}.`, { file, found, count })
    },
  }
}

/** The texts of these documents, by number. */
export async function textsAt({ texts }: Corpus, wanted: ReadonlySet<number>): Promise<Map<number, string>> {
  const found = new Map<number, string>()
  let index = 0
  for await (const text of texts) {
    if (found.size === wanted.size) break
    if (wanted.has(index)) found.set(index, text)
    index++
  }
  return found
}

/**
 * The BEIR folders at `dir`, by name: itself, or those inside it, as in a NanoBEIR directory, and inside these, as the
 * forums of BEIR's cqadupstack. `dir` may be a pattern of folders with `*`, `?` and `**`; folders below count then too.
 * Throws `DataError` (`ERR_DATA`) if there are none, and for one that lacks its corpus.
 */
export async function beirFolders(dir: string): Promise<string[]> {
  if (isBeirFolder(dir)) return [dir]
  const found =
    /[*?]/.test(dir) && !existsSync(dir)
      ? expandPattern(`${dir}/**/corpus.jsonl*`).map((file) => dirname(file))
      : await foldersInside(dir, 2)
  const folders = [...new Set(found)].filter(isBeirFolder).sort(compareUtf8)
  if (folders.length === 0)
    throw new DataError(
      'ERR_DATA',
      `${dir} holds no BEIR collection, expected corpus.jsonl, queries.jsonl and qrels/ in it or in folders inside it.`,
      { dir },
    )
  return folders
}

/** So many levels down, but not inside those that are collections. */
async function foldersInside(dir: string, levels: number): Promise<string[]> {
  const entries = existsSync(dir) ? await readdir(dir, { withFileTypes: true }) : []
  const found: string[] = []
  for (const entry of entries) {
    const folder = join(dir, entry.name)
    if (has(folder, 'queries.jsonl')) findFile(folder, 'corpus.jsonl')
    if (isBeirFolder(folder)) found.push(folder)
    else if (levels > 1 && entry.isDirectory()) found.push(...(await foldersInside(folder, levels - 1)))
  }
  return found
}

/** What `writeBeir` writes. */
export interface BeirContent {
  /** All documents. */
  readonly documents: Iterable<BeirDocument> | AsyncIterable<BeirDocument>
  /** All queries. */
  readonly queries: Iterable<{ readonly id: string; readonly text: string }>
  /** Judgments of each split, as `{ test: … }`. */
  readonly qrels: Readonly<Record<string, Qrels>>
}
/** A document of a BEIR folder. */
export interface BeirDocument {
  /** Its `_id`. */
  readonly id: string
  /** Default none. */
  readonly title?: string
  /** Its text, without the title. */
  readonly text: string
}

/**
 * Writes a BEIR folder that `loadBeir` and Python's beir read, each file whole or not at all, the judgments last.
 * Throws `DataError` (`ERR_DATA`) for ids listed twice, ids a TSV file cannot hold, judged queries that are not among
 * `queries`, and grades that are no integers.
 */
export async function writeBeir(dir: string, content: BeirContent, options: { gzip?: boolean } = {}): Promise<void> {
  checkOptions('writeBeir', options, { gzip: flag })
  const suffix = options.gzip ? '.jsonl.gz' : '.jsonl'
  const queries = [...content.queries]
  const known = new Set(queries.map((query) => query.id))
  const tables = Object.entries(content.qrels).map(([split, qrels]) => ({
    split,
    rows: qrelsRows(qrels, known, split),
  }))
  await writeAtomic(
    join(dir, `corpus${suffix}`),
    jsonLines(content.documents, ({ id, title = '', text }) => ({ _id: id, title, text })),
  )
  await writeAtomic(
    join(dir, `queries${suffix}`),
    jsonLines(queries, ({ id, text }) => ({ _id: id, text })),
  )
  for (const { split, rows } of tables) await writeAtomic(join(dir, 'qrels', `${split}.tsv`), rows)
}

async function* jsonLines<T extends { readonly id: string }>(
  rows: Iterable<T> | AsyncIterable<T>,
  shape: (row: T) => object,
): AsyncGenerator<string> {
  const seen = new Set<string>()
  for await (const row of rows) {
    if (seen.size === seen.add(row.id).size)
      throw new DataError('ERR_DATA', `The id "${row.id}" occurs twice, expected once.`, { id: row.id })
    yield `${JSON.stringify(shape(row))}\n`
  }
}

function qrelsRows(qrels: Qrels, known: ReadonlySet<string>, split: string): string[] {
  const rows = ['query-id\tcorpus-id\tscore\n']
  for (const [query, judged] of qrels) {
    if (!known.has(query))
      throw new DataError('ERR_DATA', `Split "${split}" judges query "${query}", which is not among the queries.`, {
        split,
        query,
      })
    for (const [id, grade] of judged) {
      if (/[\t\r\n]/.test(query + id) || !Number.isInteger(grade))
        throw new DataError(
          'ERR_DATA',
          `Split "${split}": query ${JSON.stringify(query)}, document ${JSON.stringify(id)}, grade ${grade}; ` +
            'expected ids without tabs or line ends and an integer grade.',
          { split, query, id, grade },
        )
      rows.push(`${query}\t${id}\t${grade}\n`)
    }
  }
  return rows
}

/** Whether a folder holds a BEIR collection. */
export function isBeirFolder(dir: string): boolean {
  return has(dir, 'corpus.jsonl')
}

function has(dir: string, name: string): boolean {
  return existsSync(join(dir, name)) || existsSync(join(dir, `${name}.gz`))
}

function findFile(dir: string, name: string): string {
  const found = [join(dir, name), join(dir, `${name}.gz`)].find(existsSync)
  if (found) return found
  throw new DataError('ERR_DATA', `${dir} has neither ${name} nor ${name}.gz, expected a BEIR folder.`, { dir, name })
}

async function findSplit(dir: string, split: string): Promise<string> {
  const folder = join(dir, 'qrels')
  const path = join(folder, `${split}.tsv`)
  if (existsSync(path)) return path
  const names = existsSync(folder) ? await readdir(folder) : []
  const splits = names.filter((name) => name.endsWith('.tsv')).map((name) => name.slice(0, -4))
  throw new DataError('ERR_DATA', `${path} does not exist. Splits found: ${splits.sort().join(', ') || 'none'}.`, {
    file: path,
    splits,
  })
}

interface Row {
  id: string
  title: string
  text: string
  /** All that it has. */
  fields: Readonly<Record<string, unknown>>
}

/** Which fields of a row are read, and the text that they make. */
interface JsonReader {
  readonly known: ReadonlySet<string>
  textOf(row: Row): string
}

const documentFields: JsonReader = {
  known: new Set(['_id', 'title', 'text', 'metadata']),
  textOf: (row) => `${row.title} ${row.text}`.trim(),
}
const queryFields: JsonReader = { known: new Set(['_id', 'text', 'metadata']), textOf: (row) => row.text }

/** Names of fields that no text comes from. */
const unusedOf = (fields: ReadonlySet<string>, { known }: JsonReader): string[] =>
  [...fields].filter((field) => !known.has(field))

/** Texts of a file, held or not, where each id stands, and all fields that rows have. */
async function readTexts(
  file: string,
  { textOf }: JsonReader,
  {
    stream = false,
    onProgress,
    seen,
  }: Pick<LoadBeirOptions, 'stream' | 'onProgress'> & { seen?: ((row: Row, number: number) => void) | undefined },
): Promise<{ documents: Corpus; positions: ReadonlyMap<string, number>; empty: number; fields: ReadonlySet<string> }> {
  const ids: string[] = []
  const texts: string[] = []
  const positions = new Map<string, number>()
  const fields = new Set<string>()
  const tell = seldom(onProgress)
  let empty = 0
  await eachLine(file, (line, number) => {
    const row = parseRow(file, line, number)
    if (!row) return
    if (positions.has(row.id))
      throw new DataError(
        'ERR_DATA',
        `${file}:${number}: "_id" "${row.id}" occurs a second time, expected each once.`,
        {
          file,
          line: number,
        },
      )
    positions.set(row.id, ids.length)
    ids.push(row.id)
    for (const field of Object.keys(row.fields)) fields.add(field)
    seen?.(row, number)
    const text = textOf(row)
    if (text.trim() === '') empty++
    if (!stream) texts.push(text)
    tell(() => ({ stage: 'reading', name: file, done: ids.length, unit: 'documents' }))
  })
  const textOfLine = (line: string, number: number): string | undefined => {
    const row = parseRow(file, line, number)
    return row && textOf(row)
  }
  const documents = { ids, texts: stream ? valuesOfFile(file, textOfLine, ids.length) : texts }
  return { documents, positions, empty, fields }
}

/** One line of a corpus or of queries, or undefined for a blank one. Throws `DataError` (`ERR_DATA`). */
function parseRow(file: string, line: string, number: number): Row | undefined {
  if (line.trim() === '') return undefined
  const fail = (found: string) => new DataError('ERR_DATA', `${file}:${number}: ${found}`, { file, line: number })
  let row: { _id?: unknown; title?: unknown; text?: unknown }
  try {
    row = JSON.parse(line)
  } catch (error) {
    throw fail(`not a JSON object (${(error as Error).message}), expected one object per line.`)
  }
  const id = Number.isSafeInteger(row?._id) ? String(row._id) : row?._id
  const title = row?.title ?? ''
  if (typeof id !== 'string' || id === '') throw fail('no "_id", expected a string that names the text.')
  if (typeof row.text !== 'string' || typeof title !== 'string')
    throw fail(`"${id}" has a "text" or "title" that is no string.`)
  return { id, title, text: row.text, fields: row as Record<string, unknown> }
}
