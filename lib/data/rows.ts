/** What a row of a file says, by the names of its columns: every layout in use (docs/guides/data.md has the table). */
import { DataError, didYouMean } from '../errors.js'
import { parseList } from './lists.js'
import type { TextTable } from './tables.js'

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
  /** Negatives that are null or empty in the file, and so not among `documents`; absent where there are none. */
  missing?: number
}

/** Which columns hold what, where their names do not say it. What is left out is found by name. */
export interface ColumnMap {
  /** The query. */
  query?: string
  /** The positive; of a list, each makes a row. */
  positive?: string
  /** Negatives, in this order; each a text or a list of texts. */
  negatives?: string | readonly string[]
  /** All documents of a query in one list, the positive first. */
  documents?: string
  /** A teacher's scores: a list for all documents, or two columns, of the positives and of the negatives. */
  scores?: string | readonly [string, string]
}

/** Tables that turn ids into texts. With `queries` the query column holds ids, with `documents` those of documents. */
export interface RowTables {
  queries?: TextTable
  documents?: TextTable
}

/** Which columns of a file are read as what. */
export interface Layout {
  query: string
  positive?: string
  negatives: readonly string[]
  documents?: string
  scores?: string | readonly [string, string]
  id?: string
  unused: readonly string[]
}

/** The usual names; where a table is given, those of ids come first. */
const queryNames = ['query', 'anchor', 'question', 'query_text']
const queryIds = ['query_id', 'qid']
const positiveNames = ['positive', 'pos', 'document', 'answer', 'positive_passages']
const positiveIds = ['positive_id', 'positive_ids', 'pos_id', 'positive_document_ids']
const documentsNames = ['documents']
const documentsIds = ['document_ids', 'doc_ids', 'pids']
/** `negative`, `neg`, `HN1`, `negative_0`, `hard_negative_3`: the word, and the number where there is one. */
const numbered = /^(negative|neg|hn|hard_negative)(?:_?(\d+))?$/i
const negativeLists = ['negatives', 'hard_negatives', 'negative_passages']
/** The same of ids: `negative_id`, `negative_3_id`, `negative_ids`. */
const numberedIds = /^(negative|neg|hard_negative)(?:_?(\d+))?_id$/i
const negativeIdLists = ['negative_ids', 'neg_ids', 'negative_document_ids']
const rowNames = ['id', '_id', 'query_id', 'qid']
const scorePairs = ['pos_scores', 'neg_scores'] as const

/** Columns that are lists by their name, also where they are kept as text. Others may hold a text that looks like one. */
const listNames = new Set([...documentsNames, ...negativeLists, 'positive_passages'])

type Role = 'query' | 'positive' | 'documents'

/** Whether columns of these names are rows of training, and no table: one of them holds queries. */
export function hasQuery(names: readonly string[]): boolean {
  return names.some((name) => queryNames.includes(name))
}

/**
 * The layout of columns of these names.
 * @param where the file, for messages
 * @throws DataError ERR_DATA when they are none, or could be two
 */
export function layoutOf(names: readonly string[], where: string, map: ColumnMap = {}, tables: RowTables = {}): Layout {
  const fail = (problem: string, hint: string): DataError =>
    new DataError('ERR_DATA', `${where}: ${problem}. Its columns: ${shown(names)}. ${hint}`, {
      where,
      columns: [...names],
    })
  const mapped = new Set([map.query, map.positive, map.negatives, map.documents, map.scores].flat())
  const free = names.filter((name) => !mapped.has(name))
  const one = (role: Role, ids: readonly string[], texts: readonly string[], table: TextTable | undefined) => {
    if (map[role] !== undefined) return map[role]
    let found = table ? free.filter((name) => ids.includes(name)) : []
    if (found.length === 0) found = free.filter((name) => texts.includes(name))
    if (found.length <= 1) return found[0]
    throw fail(
      `${shown(found)} could each be the ${role}`,
      `Say which it is: columns: { ${role}: ${JSON.stringify(found[0])} }`,
    )
  }
  const chosen = map.positive !== undefined || map.negatives !== undefined
  const query = one('query', queryIds, queryNames, tables.queries)
  const documents = chosen ? map.documents : one('documents', documentsIds, documentsNames, tables.documents)
  const positive =
    map.documents === undefined ? one('positive', positiveIds, positiveNames, tables.documents) : map.positive
  const negatives =
    map.negatives !== undefined
      ? [map.negatives].flat()
      : map.documents === undefined
        ? negativesOf(free, tables.documents !== undefined, fail)
        : []
  if (query === undefined)
    throw names.some((name) => queryIds.includes(name))
      ? fail(
          'there are ids of queries and no texts',
          'Give the table that has them: queries: FILE, with the ids and texts',
        )
      : fail('no column is the query', `Say which it is: columns: { query: ${guess(names)} }`)
  if (documents !== undefined && (positive !== undefined || negatives.length > 0))
    throw fail(
      `${shown([documents])} is a list of all documents, and ${shown([...(positive ? [positive] : []), ...negatives])} ` +
        'are documents too',
      `Say which are read: columns: { documents: ${JSON.stringify(documents)} }, or columns: { positive: …, negatives: … }`,
    )
  if (documents === undefined && positive === undefined)
    throw names.some((name) => [...documentsIds, ...positiveIds].includes(name))
      ? fail(
          'there are ids of documents and no texts',
          'Give the table that has them: documents: FILE, with the ids and texts',
        )
      : fail('no column is the positive', `Say which it is: columns: { positive: ${guess(names, query)} }`)
  const scores = map.scores ?? scoresOf(free)
  const id = names.find((name) => rowNames.includes(name) && name !== query)
  const used = new Set([query, positive, documents, id, ...negatives, ...[scores].flat()])
  return {
    query,
    positive,
    negatives,
    documents,
    scores,
    id,
    unused: [...names.filter((name) => !used.has(name) && !rowNames.includes(name)), ...unusedOf(tables)],
  }
}

/** Columns of tables that nothing reads, as `documents.url`. */
const unusedOf = (tables: RowTables): string[] =>
  Object.entries(tables).flatMap(([role, table]) =>
    [...((table as TextTable | undefined)?.unused ?? [])].map((name) => `${role}.${name}`),
  )

/** Columns that a map names and a file does not have. @throws DataError ERR_DATA */
export function requireMapped(names: Iterable<string>, where: string, map: ColumnMap = {}): void {
  const known = new Set(names)
  for (const [role, value] of Object.entries(map))
    for (const name of [value].flat() as string[])
      if (!known.has(name))
        throw new DataError(
          'ERR_DATA',
          `${where} has no column "${name}" (columns.${role}); ${didYouMean(name, known)}`,
          {
            where,
            column: name,
            columns: [...known],
          },
        )
}

/** Columns of negatives in the order of their numbers; names of two kinds are two layouts. */
function negativesOf(
  names: readonly string[],
  ids: boolean,
  fail: (problem: string, hint: string) => DataError,
): string[] {
  const kinds = new Map<string, { name: string; number: number }[]>()
  const find = (pattern: RegExp, lists: readonly string[]): void => {
    for (const name of names) {
      const [, word, digits] = pattern.exec(name) ?? []
      const kind = lists.includes(name) ? name : word?.toLowerCase()
      if (kind !== undefined) kinds.set(kind, [...(kinds.get(kind) ?? []), { name, number: Number(digits ?? -1) }])
    }
  }
  if (ids) find(numberedIds, negativeIdLists)
  if (kinds.size === 0) find(numbered, negativeLists)
  const [first = [], ...others] = kinds.values()
  const sorted = first.sort((a, b) => a.number - b.number).map(({ name }) => name)
  if (others.length > 0)
    throw fail(
      `${shown([...kinds.values()].flat().map(({ name }) => name))} could each be the negatives`,
      `Say which are: columns: { negatives: [${sorted.map((name) => JSON.stringify(name)).join(', ')}] }`,
    )
  return sorted
}

function scoresOf(names: readonly string[]): Layout['scores'] {
  if (names.includes('scores')) return 'scores'
  return scorePairs.every((name) => names.includes(name)) ? scorePairs : undefined
}

const shown = (names: readonly string[]): string => names.map((name) => JSON.stringify(name)).join(', ') || 'none'

/** A column that a map could name, for a suggestion. */
const guess = (names: readonly string[], taken?: string): string =>
  JSON.stringify(names.find((name) => name !== taken && !rowNames.includes(name)) ?? 'NAME')

/** Reads the rows of files of one layout, given column by column or, as JSON lists, by position. */
export class RowReader {
  private readonly map: ColumnMap
  private readonly tables: RowTables
  private readonly onLayout: (layout: Layout) => void

  /** @param onLayout told how columns are read, of each file or set of columns */
  constructor(map: ColumnMap = {}, tables: RowTables = {}, onLayout: (layout: Layout) => void = () => {}) {
    this.map = map
    this.tables = tables
    this.onLayout = onLayout
  }

  layoutOf(names: readonly string[], where: string): Layout {
    const layout = layoutOf(names, where, this.map, this.tables)
    this.onLayout(layout)
    return layout
  }

  /**
   * The rows that one of a file makes: as many as it has positives.
   * @param where file and row, for messages
   * @throws DataError `ERR_DATA` for a missing, empty or mistyped field, an id that its table does not have
   */
  rows(values: Readonly<Record<string, unknown>>, layout: Layout, where: string): TextRow[] {
    const fields = new Fields(where, this.tables)
    const query = fields.query(layout.query, values[layout.query])
    const common = {
      ...(layout.unused.length > 0 && { unused: layout.unused }),
      ...(layout.id !== undefined && isName(values[layout.id]) && { id: String(values[layout.id]) }),
    }
    const { documents, scores } = layout
    if (documents !== undefined) {
      const texts = fields.list(documents, values[documents])
      if (texts.length === 0) throw fields.fail(`"${documents}" is empty.`)
      const given = typeof scores === 'string' ? fields.scores(scores, values[scores], texts.length) : undefined
      return [{ query, ...fields.kept(texts, given, documents), ...common }]
    }
    const positives = fields.documents(layout.positive!, values[layout.positive!], false)
    if (positives.length === 0) throw fields.fail(`"${layout.positive}" is empty.`)
    const negatives = layout.negatives.flatMap((name) =>
      name in values ? fields.documents(name, values[name], true) : [],
    )
    return positives.map((positive, i) => {
      const texts = [positive, ...negatives]
      const given = Array.isArray(scores)
        ? fields.scorePair(scores as [string, string], values, i, positives.length, negatives.length)
        : scores !== undefined
          ? fields.scores(scores as string, values[scores as string], texts.length)
          : undefined
      return { query, ...fields.kept(texts, given, layout.positive!), ...common }
    })
  }

  /**
   * A row that is a list: [query, positive, negative …], each a text or, with tables, an id; or [query, [document, score] …].
   * @throws DataError ERR_DATA
   */
  positional(values: readonly unknown[], where: string): TextRow[] {
    const fields = new Fields(where, this.tables)
    if (Object.keys(this.map).length > 0)
      throw fields.fail('the row is a list, and has no columns that could be named.')
    if (typeof values[0] === 'object' && values[0] !== null)
      throw fields.fail('the row is a list of rows; expected one row, a JSON object, on each line.')
    if (values.length < 2) throw fields.fail('a row that is a list has a query and at least one document.')
    const query = fields.query('[0]', values[0])
    const scored = Array.isArray(values[1])
    const texts: (string | null)[] = []
    const scores: number[] = []
    for (const [i, value] of values.slice(1).entries()) {
      const name = `[${i + 1}]`
      if (Array.isArray(value) !== scored || (scored && (value as unknown[]).length !== 2))
        throw fields.fail(`${name} is unlike what is before it; expected texts or ids, or pairs [document, score].`)
      const [document, score] = scored ? (value as [unknown, unknown]) : [value, undefined]
      texts.push(fields.document(name, document, i > 0))
      if (scored) scores.push(...(fields.scores(`${name}[1]`, [score], 1) as number[]))
    }
    const unused = unusedOf(this.tables)
    return [{ query, ...fields.kept(texts, scored ? scores : undefined, '[1]'), ...(unused.length > 0 && { unused }) }]
  }
}

/** JSON keeps whole numbers up to 2^53; larger ids were rounded when they were read, and two may have become one. */
export const isRounded = (value: unknown): boolean =>
  typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value)

/** What is said of one. */
export const ROUNDED = ', an id too large for a number of JSON, which was rounded. Write such ids as text.'

const isName = (value: unknown): boolean =>
  typeof value === 'string' || typeof value === 'number' || typeof value === 'bigint'

/** The fields of one row, checked. */
class Fields {
  private readonly where: string
  private readonly tables: RowTables

  constructor(where: string, tables: RowTables) {
    this.where = where
    this.tables = tables
  }

  fail(problem: string): DataError {
    return new DataError('ERR_DATA', `${this.where}: ${problem}`, { where: this.where })
  }

  query(name: string, value: unknown): string {
    return this.text(name, this.tables.queries ? this.lookUp(name, value, this.tables.queries) : value)
  }

  /** A document; null where it may be missing and is null or empty. */
  document(name: string, value: unknown, mayMiss: boolean): string | null {
    if (mayMiss && isMissing(value)) return null
    const { documents } = this.tables
    const text = documents ? this.lookUp(name, value, documents) : passage(value)
    return mayMiss && isMissing(text) ? null : this.text(name, text)
  }

  /** A document, or a list of them; of ids a list may be text. */
  documents(name: string, value: unknown, mayMiss: boolean): (string | null)[] {
    const isList = this.tables.documents !== undefined || listNames.has(name)
    const list = typeof value === 'string' && isList ? (parseList(value) ?? value) : value
    if (!Array.isArray(list)) return [this.document(name, value, mayMiss)]
    return list.map((item, i) => this.document(`${name}[${i}]`, item, mayMiss))
  }

  /** A list of documents. */
  list(name: string, value: unknown): (string | null)[] {
    if (!Array.isArray(value) && !(typeof value === 'string' && parseList(value)))
      throw this.fail(`"${name}" is ${isMissing(value) ? 'missing' : 'not an array'}.`)
    const list = typeof value === 'string' ? parseList(value) : value
    return this.documents(name, list, true)
  }

  scores(name: string, value: unknown, count: number): number[] | undefined {
    if (value === undefined || value === null) return undefined
    const list = typeof value === 'string' ? parseList(value) : value
    const numbers = Array.isArray(list)
      ? list.map((score) => (typeof score === 'bigint' ? Number(score) : score))
      : null
    if (!numbers?.every((score) => typeof score === 'number' && Number.isFinite(score)))
      throw this.fail(`"${name}" is not an array of finite numbers.`)
    if (numbers.length !== count)
      throw this.fail(`"${name}" has ${numbers.length} entries for ${count} ${count === 1 ? 'document' : 'documents'}.`)
    return numbers
  }

  /** Scores of positive `i` and of the negatives, from a column each. */
  scorePair(
    [positive, negative]: readonly [string, string],
    values: Readonly<Record<string, unknown>>,
    i: number,
    positives: number,
    negatives: number,
  ): number[] | undefined {
    const of = this.scores(positive, values[positive], positives)
    const others = this.scores(negative, values[negative], negatives)
    if (of === undefined && others === undefined) return undefined
    if (of === undefined || (others === undefined && negatives > 0))
      throw this.fail(`only one of "${positive}" and "${negative}" is there.`)
    return [of[i]!, ...(others ?? [])]
  }

  /** Texts and scores without what is missing. */
  kept(texts: readonly (string | null)[], scores: readonly number[] | undefined, name: string): Omit<TextRow, 'query'> {
    const missing = texts.filter((text) => text === null).length
    if (texts[0] === null) throw this.fail(`the first of "${name}", the positive, is null or empty.`)
    return {
      documents: texts.filter((text) => text !== null),
      ...(scores && { scores: scores.filter((_, i) => texts[i] !== null) }),
      ...(missing > 0 && { missing }),
    }
  }

  private text(name: string, value: unknown): string {
    if (typeof value !== 'string') {
      const what = value === undefined ? 'missing' : value === null ? 'null' : 'not a string'
      const hint = isName(value) ? ' If it is an id, give the tables that have its text: queries, documents.' : ''
      throw this.fail(`"${name}" is ${what}.${hint}`)
    }
    if (value.trim() === '') throw this.fail(`"${name}" is empty.`)
    return value
  }

  private lookUp(name: string, value: unknown, table: TextTable): string {
    if (!isName(value)) throw this.fail(`"${name}" is ${isMissing(value) ? 'missing' : 'no id'}.`)
    if (isRounded(value)) throw this.fail(`"${name}" is ${value}${ROUNDED}`)
    const text = table.get(String(value))
    if (text === undefined)
      throw this.fail(`"${name}" is ${JSON.stringify(String(value))}, which ${table.name} does not have.`)
    return text
  }
}

const isMissing = (value: unknown): boolean =>
  value === undefined || value === null || (typeof value === 'string' && value.trim() === '')

/** A passage {title, text} as one text; anything else as it is. */
function passage(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || !('text' in value)) return value
  const { title, text } = value as { title?: unknown; text: unknown }
  return typeof title === 'string' && title.trim() !== '' && typeof text === 'string' ? `${title} ${text}` : text
}
