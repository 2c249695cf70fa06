/** A reranker for hybrid queries of LanceDB (package `@lancedb/lancedb`, and `apache-arrow`, which that wants beside itself). */
import type { Field, RecordBatch, Vector } from 'apache-arrow'
import { ArgumentError } from '../errors.js'
import type { Colbert } from '../models/colbert.js'
import { checkOptions, text } from '../options.js'
import { lanceDb } from './arrow.js'
import { checkModel, ranked, type ScoreOptions, scoreOptions } from './scores.js'

export type { ScoreOptions, ScoreScale } from './scores.js'

/** `Reranker` of LanceDB. */
export interface HybridReranker {
  /**
   * What the vector search and the text search found, once each and the best first, with MaxSim in `_relevance_score`.
   * @throws ArgumentError ERR_ARGUMENT where the query did not select the text column; errors as of `Colbert.rank`
   */
  rerankHybrid(query: string, vectorResults: RecordBatch, textResults: RecordBatch): Promise<RecordBatch>
}

/** Options of `hybridReranker`. */
export interface HybridRerankerOptions extends ScoreOptions {
  /** Column with the text to rank by; default `text`. */
  column?: string
}

/** What LanceDB adds to a result: the row's number, and the scores of its own searches. */
const rowId = '_rowid'
const ownScores = ['_distance', '_score']
const relevance = '_relevance_score'

/**
 * A reranker for `query().nearestTo(vector).fullTextSearch(text).rerank(reranker)`. It does not own `model`: dispose of that
 * yourself.
 * @throws ArgumentError ERR_ARGUMENT; UnsupportedError ERR_UNSUPPORTED where LanceDB is not installed
 */
export function hybridReranker(model: Colbert, options: HybridRerankerOptions = {}): HybridReranker {
  checkModel('hybridReranker', model)
  checkOptions('hybridReranker', options, { ...scoreOptions, column: text })
  const { column = 'text', scores } = options
  const { arrow } = lanceDb()
  return {
    async rerankHybrid(query, vectorResults, textResults) {
      const rows = distinctRows([vectorResults, textResults])
      const texts = rows.map(({ batch, row }) => {
        const found = batch.getChild(column)
        if (!found)
          throw new ArgumentError(
            'ERR_ARGUMENT',
            `the results have no column "${column}" to rank by: select it, or name another one (column)`,
            { column, columns: batch.schema.names },
          )
        return String(found.get(row) ?? '')
      })
      const best = await ranked(model, query, texts, { scores })
      return taken(
        arrow,
        sharedFields(vectorResults, textResults),
        best.map(({ index }) => rows[index]!),
        best.map(({ score }) => score),
      )
    },
  }
}

interface Row {
  batch: RecordBatch
  row: number
}

/** Each row of the table once, however many searches found it. */
function distinctRows(batches: readonly RecordBatch[]): Row[] {
  const rows = new Map<unknown, Row>()
  for (const batch of batches) {
    const ids = batch.getChild(rowId)
    for (let row = 0; row < batch.numRows; row++) {
      const id = ids?.get(row)
      if (!rows.has(id)) rows.set(id, { batch, row })
    }
  }
  return [...rows.values()]
}

/** The table's own columns that both results have. */
function sharedFields(a: RecordBatch, b: RecordBatch): Field[] {
  const there = new Set(b.schema.names)
  return a.schema.fields.filter(({ name }) => there.has(name) && !ownScores.includes(String(name)))
}

/** These rows in this order, with their scores. */
function taken(
  arrow: ReturnType<typeof lanceDb>['arrow'],
  fields: readonly Field[],
  rows: readonly Row[],
  scores: readonly number[],
): RecordBatch {
  const { Float32, makeBuilder, makeData, StructRow, Vector } = arrow
  // Builders take lists and structs as arrays and objects.
  const plain = (value: unknown): unknown => {
    if (value instanceof Vector) return Array.from(value, plain)
    if (value instanceof StructRow) return Object.fromEntries(Array.from(value, ([name, part]) => [name, plain(part)]))
    return value
  }
  const columns = fields.map(({ name, type }) => {
    const builder = makeBuilder({ type, nullValues: [null, undefined] })
    for (const { batch, row } of rows) builder.append(plain((batch.getChild(String(name)) as Vector).get(row)))
    return builder.finish().flush()
  })
  const schema = new arrow.Schema([...fields, new arrow.Field(relevance, new Float32(), true)])
  const last = makeData({ type: new Float32(), data: Float32Array.from(scores) })
  const children = [...columns, last]
  return new arrow.RecordBatch(
    schema,
    makeData({ type: new arrow.Struct(schema.fields), length: rows.length, children }),
  )
}
