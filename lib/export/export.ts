/** An index, or encoded documents, taken to another place that searches by MaxSim. */
import { stat } from 'node:fs/promises'
import { ArgumentError, DataError, didYouMean, FileError } from '../errors.js'
import { allTokens } from '../indexing/cluster.js'
import { Index } from '../indexing/document-index.js'
import { EncodedDocuments } from '../indexing/encoded.js'
import type { StoredDocuments } from '../indexing/stored.js'
import { writeFolder } from '../io/atomic.js'
import { folderBytes } from '../io/folder-bytes.js'
import {
  checkOptions,
  checkPath,
  either,
  flag,
  func,
  instance,
  type Kinds,
  kind,
  required,
  signal,
} from '../options.js'
import type { OnProgress } from '../progress.js'
import { Turns } from '../turns.js'
import { lancedb } from './lancedb.js'
import { milvus } from './milvus.js'
import { nextPlaid } from './next-plaid.js'
import { qdrant } from './qdrant.js'
import type { Outgoing, Target, Totals } from './target.js'
import { vespa } from './vespa.js'
import { weaviate } from './weaviate.js'

/** Where documents can be taken. */
export type ExportTarget = 'lancedb' | 'qdrant' | 'vespa' | 'weaviate' | 'milvus' | 'next-plaid'

const targets: Record<ExportTarget, Target> = {
  ...{ lancedb, qdrant, vespa, weaviate, milvus },
  'next-plaid': nextPlaid,
}

/** Options of `exportIndex`. */
export interface ExportOptions {
  /** Of the collection, table or schema: a letter, then letters, digits and underscores. Default `documents`. */
  name?: string
  /** Texts and metadata go along; default true. Without them a hit is an id alone. */
  texts?: boolean
  /** Told how many documents have gone out. */
  onProgress?: OnProgress
  /** Ends it, with ERR_ABORTED: nothing of it is left. */
  signal?: AbortSignal
}

/** What an export wrote. */
export interface ExportResult extends Totals {
  /** Its collection, table or schema. */
  name: string
  /** Of all files. */
  bytes: number
}

const exportOptions: Kinds<ExportOptions> = {
  name: kind('a letter, then letters, digits and underscores', (v) => /^[A-Za-z]\w*$/.test(String(v))),
  ...{ texts: flag, onProgress: func, signal },
}

/**
 * Writes an index, or encoded documents, for another search engine: documents with their token vectors as float32, the schema, and a query that finds the
 * first of them. Documents stream through memory. The folder is there as a whole or not at all.
 * @param from as `Index.open` or `EncodedDocuments.open` gives it; no model is needed
 * @param out a folder that is not there yet
 * @throws ArgumentError ERR_ARGUMENT; FileError ERR_FILE, for a folder that is there too; DataError ERR_DATA where there are no
 *   documents, and for a document that the target cannot hold; UnsupportedError ERR_UNSUPPORTED where LanceDB is not installed;
 *   AbortedError ERR_ABORTED
 */
export async function exportIndex(
  target: ExportTarget,
  from: Index | EncodedDocuments,
  out: string,
  options: ExportOptions = {},
): Promise<ExportResult> {
  if (!Object.hasOwn(targets, target))
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `exportIndex: target "${target}"; ${didYouMean(String(target), Object.keys(targets))}`,
    )
  required(
    'exportIndex',
    'an index',
    from,
    either(
      instance('an index, as Index.open gives it', () => Index),
      instance('encoded documents, as EncodedDocuments.open gives them', () => EncodedDocuments),
    ),
  )
  checkPath('exportIndex', out)
  checkOptions('exportIndex', options, exportOptions)
  const { name = 'documents' } = options
  if (await stat(out).catch(() => null))
    throw new FileError('ERR_FILE', `${out} is there already; an export makes a folder of its own`, { path: out })
  const { dim, documents, type } = from instanceof Index ? await from.info() : from.info
  if (documents === 0) throw new DataError('ERR_DATA', `${from.dir} has no documents to export`, { dir: from.dir })
  const totals: Totals = { documents: 0, tokens: 0, widened: 0, withoutText: 0, withoutVectors: 0 }
  const going = outgoing(from, { documents, isWidened: type !== 'float32' }, totals, options)
  await writeFolder(out, (folder) => targets[target].write(folder, going, { name, dim }))
  return { ...totals, name, bytes: await folderBytes(out) }
}

/** The documents, float32, counted as they pass. */
async function* outgoing(
  from: Index | EncodedDocuments,
  { documents, isWidened }: { documents: number; isWidened: boolean },
  totals: Totals,
  { texts = true, onProgress, signal }: ExportOptions,
): AsyncGenerator<Outgoing> {
  const turns = new Turns()
  for await (const { ids, kept, embeddings } of storedIn(from, { texts, signal })) {
    const { offsets, dim } = embeddings
    const all = allTokens(embeddings)
    for (const [i, id] of ids.entries()) {
      const [first, last] = [offsets[i]!, offsets[i + 1]!]
      if (first === last) {
        totals.withoutVectors++
        continue
      }
      const { text, metadata } = (texts && kept[i]) || {}
      yield { id, text: text ?? '', metadata: metadata ?? {}, vectors: all.subarray(first * dim, last * dim) }
      totals.documents++
      totals.tokens += last - first
      if (isWidened) totals.widened += last - first
      if (text === undefined) totals.withoutText++
      if (turns.due) await turns.take()
    }
    const done = totals.documents + totals.withoutVectors
    onProgress?.({ stage: 'writing', done, total: documents, unit: 'documents' })
  }
  if (totals.documents === 0)
    throw new DataError('ERR_DATA', `no document of ${from.dir} has token vectors`, { dir: from.dir })
}

/** All documents with their token vectors, some thousands of vectors at a time. */
async function* storedIn(
  from: Index | EncodedDocuments,
  { texts, signal }: Pick<ExportOptions, 'texts' | 'signal'>,
): AsyncGenerator<StoredDocuments> {
  if (from instanceof Index) yield* from.stream(signal && { signal })
  else
    for await (const { kept = [], ...embeddings } of from.parts({ withTexts: texts, signal }))
      yield { ids: embeddings.ids!, kept, embeddings } // they have theirs
}
