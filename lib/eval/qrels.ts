import { DataError } from '../errors.js'
import { eachLine } from '../io/lines.js'
import type { Qrels } from '../retrieval/metrics.js'

/**
 * Reads judgments in either of the layouts there are, `.gz` allowed:
 * - BEIR: query-id, corpus-id and score between tabs; ids may hold blanks;
 * - TREC: query, iteration, document and grade between blanks or tabs; lines that start with `#` and are no such row
 *   are comments.
 *
 * The first row decides on the layout. It is a header when its grade is no number.
 * Throws `DataError` (`ERR_DATA`) with file and line for a row of another layout, a grade that is no integer, and a pair
 * that is judged twice.
 */
export async function readQrels(file: string): Promise<Qrels> {
  return (await readJudgments(file)).qrels
}

/** The judgments, and the first two ids of the header, if there is one. */
export async function readJudgments(file: string): Promise<{ qrels: Qrels; header?: readonly [string, string] }> {
  const qrels = new Map<string, Map<string, number>>()
  let header: readonly [string, string] | undefined
  let width = 0
  await eachLine(file, (text, line) => {
    if (text.trim() === '') return
    const fields = fieldsOf(text)
    if (fields === undefined && text.startsWith('#')) return
    const at = { file, line }
    if (fields === undefined || (width !== 0 && fields.length !== width))
      throw new DataError(
        'ERR_DATA',
        `${file}:${line}: found ${JSON.stringify(shortened(text))}, expected ${
          width === 4 ? 'query, 0, document and grade' : 'query-id, corpus-id and score between tabs'
        }${width === 0 ? ', or the four columns of TREC: query, 0, document and grade' : ', as in the rows before it'}.`,
        at,
      )
    const [query, id, grade] = fields.length === 3 ? fields : [fields[0]!, fields[2]!, fields[3]!]
    const isFirst = width === 0
    width = fields.length
    if (isFirst && grade!.trim() !== '' && Number.isNaN(Number(grade))) {
      header = [query!, id!]
      return
    }
    addJudgment(qrels, query!, id!, grade!, at)
  })
  return header ? { qrels, header } : { qrels }
}

/** Three fields between tabs or four of TREC, or undefined for anything else. */
function fieldsOf(line: string): string[] | undefined {
  const cells = line.split('\t')
  const words = cells.length === 4 ? cells : line.trim().split(/\s+/)
  if (cells.length === 3 && cells[0] !== '' && cells[1] !== '') return cells
  // A file of TREC's has a number, or Q0, in its second column; without that it is a BEIR file with one column too many.
  return words.length === 4 && words[0] !== '' && words[2] !== '' && isIteration(words[1]!, words[3]!)
    ? words
    : undefined
}

function isIteration(word: string, grade: string): boolean {
  return /^\s*Q?\d+\s*$/.test(word) || Number.isNaN(Number(grade)) // the names of a header
}

function addJudgment(
  qrels: Map<string, Map<string, number>>,
  query: string,
  id: string,
  grade: string,
  at: { file: string; line: number },
): void {
  const fail = (found: string) => new DataError('ERR_DATA', `${at.file}:${at.line}: ${found}`, { ...at, query, id })
  if (!/^\s*[+-]?\d+\s*$/.test(grade) || !Number.isSafeInteger(Number(grade)))
    throw fail(`found the grade "${shortened(grade)}", expected an integer.`)
  let judged = qrels.get(query)
  if (!judged) qrels.set(query, (judged = new Map()))
  if (judged.has(id)) throw fail(`query "${query}" judges document "${id}" twice, expected once.`)
  judged.set(id, Number(grade))
}

function shortened(text: string): string {
  return text.length > 120 ? `${text.slice(0, 119)}…` : text
}
