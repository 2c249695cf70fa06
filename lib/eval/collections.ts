import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { DataError } from '../errors.js'
import { writeAtomic } from '../io/atomic.js'
import { eachLine } from '../lines.js'
import { compareUtf8, type Qrels } from './metrics.js'

/** Texts and their ids, by position. */
export interface Texts {
  readonly ids: readonly string[]
  readonly texts: readonly string[]
}

/** A test collection: documents, the queries of one split and their judgments. */
export interface Collection {
  /** The folder's name. */
  readonly name: string
  readonly split: string
  readonly documents: Texts
  /** Only the judged queries, in the order of the judgments. */
  readonly queries: Texts
  readonly qrels: Qrels
  /** Judged pairs whose document is not in the corpus: nothing can retrieve them. */
  readonly missingJudged: number
}

/**
 * Loads a BEIR folder: `corpus.jsonl`, `queries.jsonl` (either may be `.gz`) and `qrels/{split}.tsv`, whose first row is
 * a header and always skipped. A document's text is its title and text joined by a space.
 * Throws `DataError` (`ERR_DATA`) naming file and line for anything missing, malformed or listed twice.
 */
export async function loadBeir(
  dir: string,
  options: { /** Default `test`. */ split?: string } = {},
): Promise<Collection> {
  const { split = 'test' } = options
  const corpusFile = findFile(dir, 'corpus.jsonl')
  const queriesFile = findFile(dir, 'queries.jsonl')
  const qrels = await readBeirQrels(await findSplit(dir, split))
  const documents = await readDocuments(corpusFile)
  const all = await readTexts(queriesFile, (row) => row.text)
  const textOf = new Map(all.ids.map((id, i) => [id, all.texts[i]]))
  const ids = [...qrels.keys()]
  const texts = ids.map((id) => {
    const text = textOf.get(id)
    if (text === undefined)
      throw new DataError('ERR_DATA', `Query "${id}" is judged in split "${split}" but missing from ${queriesFile}.`, {
        file: queriesFile,
        query: id,
      })
    return text
  })
  const corpus = new Set(documents.ids)
  let missingJudged = 0
  for (const judged of qrels.values()) for (const id of judged.keys()) if (!corpus.has(id)) missingJudged++
  return { name: basename(resolve(dir)), split, documents, queries: { ids, texts }, qrels, missingJudged }
}

/**
 * The documents of a BEIR folder, or of a file of its kind (`_id`, `title`, `text` per line).
 * Throws `DataError` (`ERR_DATA`).
 */
export async function readDocuments(path: string): Promise<Texts> {
  const file = /\.jsonl(\.gz)?$/.test(path) ? path : findFile(path, 'corpus.jsonl')
  return readTexts(file, (row) => `${row.title} ${row.text}`.trim())
}

/**
 * The BEIR folders at `dir`: itself, or, as in a NanoBEIR directory, those directly inside it, by name.
 * Throws `DataError` (`ERR_DATA`) if there are none.
 */
export async function beirFolders(dir: string): Promise<string[]> {
  if (hasCorpus(dir)) return [dir]
  const entries = existsSync(dir) ? await readdir(dir) : []
  const folders = entries
    .map((name) => join(dir, name))
    .filter(hasCorpus)
    .sort(compareUtf8)
  if (folders.length === 0)
    throw new DataError(
      'ERR_DATA',
      `${dir} holds no BEIR collection, expected corpus.jsonl, queries.jsonl and qrels/ in it or in folders inside it.`,
      { dir },
    )
  return folders
}

export interface BeirContent {
  readonly documents: Iterable<BeirDocument> | AsyncIterable<BeirDocument>
  readonly queries: Iterable<{ readonly id: string; readonly text: string }>
  /** Judgments of each split, as `{ test: … }`. */
  readonly qrels: Readonly<Record<string, Qrels>>
}
export interface BeirDocument {
  readonly id: string
  readonly title?: string
  readonly text: string
}

/**
 * Writes a BEIR folder that `loadBeir` and Python's beir read, each file whole or not at all, the judgments last.
 * Throws `DataError` (`ERR_DATA`) for ids listed twice, ids a TSV file cannot hold, judged queries that are not among
 * `queries`, and grades that are no integers.
 */
export async function writeBeir(dir: string, content: BeirContent, options: { gzip?: boolean } = {}): Promise<void> {
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

function hasCorpus(dir: string): boolean {
  return existsSync(join(dir, 'corpus.jsonl')) || existsSync(join(dir, 'corpus.jsonl.gz'))
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

async function readTexts(file: string, textOf: (row: { title: string; text: string }) => string): Promise<Texts> {
  const ids: string[] = []
  const texts: string[] = []
  const seen = new Set<string>()
  await eachLine(file, (line, number) => {
    if (line.trim() === '') return
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
    if (seen.size === seen.add(id).size) throw fail(`"_id" "${id}" occurs a second time, expected each once.`)
    ids.push(id)
    texts.push(textOf({ title, text: row.text }))
  })
  return { ids, texts }
}

async function readBeirQrels(file: string): Promise<Qrels> {
  const qrels = new Map<string, Map<string, number>>()
  await eachLine(file, (line, number) => {
    if (number === 1 || line.trim() === '') return
    const fields = line.split('\t')
    const [query, id, grade] = fields
    if (fields.length !== 3 || query === '' || id === '')
      throw new DataError(
        'ERR_DATA',
        `${file}:${number}: found ${JSON.stringify(line)}, expected query-id, corpus-id and score between tabs.`,
        { file, line: number },
      )
    addJudgment(qrels, query, id, grade, file, number)
  })
  return qrels
}

/** Adds one judgment read from a file. Throws `DataError` for a grade that is no integer and for a repeated pair. */
export function addJudgment(
  qrels: Map<string, Map<string, number>>,
  query: string,
  id: string,
  grade: string,
  file: string,
  line: number,
): void {
  const at = { file, line, query, id }
  if (!/^\s*[+-]?\d+\s*$/.test(grade))
    throw new DataError('ERR_DATA', `${file}:${line}: found the grade "${grade}", expected an integer.`, at)
  let judged = qrels.get(query)
  if (!judged) qrels.set(query, (judged = new Map()))
  if (judged.has(id))
    throw new DataError(
      'ERR_DATA',
      `${file}:${line}: query "${query}" judges document "${id}" twice, expected once.`,
      at,
    )
  judged.set(id, Number(grade))
}
