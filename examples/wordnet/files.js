// @ts-check
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'

/** @typedef {import('./dataset.js').Collection} Collection */

/**
 * Writes rows as jsonl.gz, whole or not at all. A file that already holds exactly these rows is left untouched, so that
 * what was built from it (shards) stays valid; a `.sha256` beside it says what it holds.
 * @param {string} path
 * @param {readonly object[]} rows
 * @returns {string} the path
 */
export function writeRows(path, rows) {
  return writeOnce(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
}

/**
 * Writes a collection as a BEIR folder: corpus.jsonl.gz, queries.jsonl.gz, qrels/test.tsv.
 * @param {string} folder
 * @param {Collection} collection
 * @returns {string} the folder
 */
export function writeBeir(folder, { documents, queries }) {
  writeRows(
    join(folder, 'corpus.jsonl.gz'),
    documents.map(({ id, text }) => ({ _id: id, title: '', text })),
  )
  writeRows(
    join(folder, 'queries.jsonl.gz'),
    queries.map(({ id, text }) => ({ _id: id, text })),
  )
  const judged = queries.flatMap(({ id, relevant }) => relevant.map((d) => `${id}\t${documents[d].id}\t1\n`))
  writeOnce(join(folder, 'qrels', 'test.tsv'), `query-id\tcorpus-id\tscore\n${judged.join('')}`)
  return folder
}

/** @param {string} path @param {string} text */
function writeOnce(path, text) {
  const digest = createHash('sha256').update(text).digest('hex')
  const note = `${path}.sha256`
  if (existsSync(path) && existsSync(note) && readFileSync(note, 'utf8') === digest) return path
  mkdirSync(dirname(path), { recursive: true })
  replace(path, path.endsWith('.gz') ? gzipSync(text, { level: 1 }) : text)
  replace(note, digest)
  return path
}

/** @param {string} path @param {string | Uint8Array} content */
function replace(path, content) {
  const temporary = `${path}.${process.pid}.tmp`
  writeFileSync(temporary, content)
  renameSync(temporary, path)
}
