// @ts-check
/** LanceDB: npm install lateforge @lancedb/lancedb apache-arrow */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as lancedb from '@lancedb/lancedb'
import { Colbert } from 'lateforge'
import { hybridReranker } from 'lateforge/lancedb'
import { documents, folder, query } from './shared.js'

const model = await Colbert.load(folder)
const place = await mkdtemp(join(tmpdir(), 'lancedb-'))
const db = await lancedb.connect(place)
// The vector of the first stage is any other model's; here two numbers that say little.
const vectorOf = (/** @type {string} */ text) => [text.length, text.split(' ').length]
const table = await db.createTable(
  'documents',
  documents.map((text) => ({ text, vector: vectorOf(text) })),
)
await table.createIndex('text', { config: lancedb.Index.fts() })
// `limit` is what each search hands to the reranker, too.
const found = await table
  .query()
  .nearestTo(vectorOf(query))
  .fullTextSearch(query)
  .select(['text'])
  .rerank(hybridReranker(model))
  .limit(documents.length)
  .toArray()
for (const { _relevance_score, text } of found.slice(0, 2)) console.log(_relevance_score.toFixed(3), text)
db.close()
model.dispose()
await rm(place, { recursive: true })
