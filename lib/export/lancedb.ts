import path from 'node:path'
import type { Table } from 'apache-arrow'
import { lanceDb } from '../integrations/arrow.js'
import { writeAtomic } from '../io/atomic.js'
import { vectorsJson } from './numbers.js'
import { type Example, exampleOf, type Outgoing, type Target } from './target.js'

/**
 * Token vectors that are added at a time: 64 MiB at 128 dimensions. Each addition leaves a file of its own: to join them,
 * `table.optimize()`, takes memory that grows with the table, so it is left to whoever wants it.
 */
const added = 1 << 17

/** LanceDB: a database folder with a table whose column `vector` holds a list of vectors, which LanceDB scores by MaxSim. */
export const lancedb: Target = {
  async write(folder, documents, { name, dim }) {
    const { lancedb, arrow } = lanceDb()
    const { schema, tableOf } = columns(arrow, dim)
    const db = await lancedb.connect(path.join(folder, 'db'))
    const table = await db.createEmptyTable(name, schema)
    let example: Example | undefined
    let [waiting, tokens]: [Outgoing[], number] = [[], 0]
    const add = async () => {
      if (waiting.length > 0) await table.add(tableOf(waiting))
      ;[waiting, tokens] = [[], 0]
    }
    for await (const document of documents) {
      example ??= exampleOf(document, dim)
      const length = document.vectors.length / dim
      if (tokens + length > added) await add()
      waiting.push(document)
      tokens += length
    }
    await add()
    table.close()
    db.close()
    await writeAtomic(path.join(folder, 'query.json'), [`${vectorsJson(example!.vectors, dim)}\n`])
    await writeAtomic(path.join(folder, 'query.mjs'), [program(name, example!)])
  },
}

/** The table's schema, and documents as a table of it. */
function columns(arrow: ReturnType<typeof lanceDb>['arrow'], dim: number) {
  const { Field, FixedSizeList, Float32, List, makeData, RecordBatch, Schema, Struct, Utf8, vectorFromArray } = arrow
  const one = new FixedSizeList(dim, new Field('item', new Float32(), true))
  const many = new List(new Field('item', one, true))
  const texts = ['id', 'text', 'metadata'].map((name) => new Field(name, new Utf8(), true))
  const schema = new Schema([...texts, new Field('vector', many, true)])
  const tableOf = (documents: readonly Outgoing[]): Table => {
    const valueOffsets = new Int32Array(documents.length + 1)
    for (const [i, { vectors }] of documents.entries()) valueOffsets[i + 1] = valueOffsets[i]! + vectors.length / dim
    const tokens = valueOffsets.at(-1)!
    const values = new Float32Array(tokens * dim)
    for (const [i, { vectors }] of documents.entries()) values.set(vectors, valueOffsets[i]! * dim)
    const rows = makeData({ type: one, length: tokens, child: makeData({ type: new Float32(), data: values }) })
    const lists = makeData({ type: many, length: documents.length, valueOffsets, child: rows })
    const text = (of: (document: Outgoing) => string) => vectorFromArray(documents.map(of), new Utf8()).data[0]!
    const children = [
      text(({ id }) => id),
      text((d) => d.text),
      text(({ metadata }) => JSON.stringify(metadata)),
      lists,
    ]
    const type = new Struct(schema.fields)
    return new arrow.Table([new RecordBatch(schema, makeData({ type, length: documents.length, children }))])
  }
  return { schema, tableOf }
}

/** A program that searches what was written. */
const program = (
  name: string,
  { id }: Example,
): string => `// Written by lateforge. npm install @lancedb/lancedb apache-arrow; node query.mjs
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import * as lancedb from '@lancedb/lancedb'

const db = await lancedb.connect(fileURLToPath(new URL('db', import.meta.url)))
const table = await db.openTable(${JSON.stringify(name)})
// Without an index every document is scored. With one:
// await table.createIndex('vector', { config: lancedb.Index.ivfPq({ distanceType: 'cosine' }) })
const vectors = JSON.parse(readFileSync(new URL('query.json', import.meta.url), 'utf8'))
const found = await table.vectorSearch(vectors).distanceType('cosine').select(['id', 'text', '_distance']).limit(10).toArray()
console.error('the first is to be document', ${JSON.stringify(id)})
for (const { id, text, _distance } of found) console.log(JSON.stringify({ id, text, distance: _distance }))
`
