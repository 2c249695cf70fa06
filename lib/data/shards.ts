import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { AbortedError, ArgumentError, DataError, FileError, FormatError, typed } from '../errors.js'
import type { HubProgress } from '../hub/repository.js'
import { removeAbandoned, syncPath } from '../io/atomic.js'
import { native } from '../native.js'
import type { OnProgress } from '../progress.js'
import type { Featurizer } from '../text/featurizer.js'
import { recipeHash } from '../text/recipe.js'
import { BUILDING, defaultCacheDir } from './cache.js'
import type { TextRow } from './rows.js'
import { ShardWriter } from './shard-writer.js'
import type { Source } from './sources.js'
import type { EncodedRows, RowTexts } from './tokenize.js'
import { RowEncoder } from './tokenizer-pool.js'

/** Part of every cache key: raised when the layout or the meaning of a shard changes. */
const FORMAT_VERSION = 1
const BATCH_ROWS = 256

/** Where and how texts are tokenized. */
export interface PrepareOptions {
  /** Where shards are kept; default `$LATEFORGE_CACHE`, else `lateforge/shards` in the user's cache folder. */
  cacheDir?: string
  /** Threads that tokenize; 0 does all of it on the calling thread. Default: as many as compute, at most 8. */
  workers?: number
  /** Ends the preparation, with ERR_ABORTED. */
  signal?: AbortSignal
  /** Called while texts are tokenized, and once more when the shard of a source is ready. */
  onProgress?: OnProgress<PrepareProgress>
}

/** How the opening of data stands: its download, then the `tokenizing` of each source by rows; `total` is known once it is through. */
export interface PrepareProgress extends HubProgress {
  /** Of a source that is tokenized: whether an earlier shard was used. */
  cached?: boolean
}

/** A source as a memory-mapped shard of tokens. */
export interface ShardSource {
  /** Name of the source. */
  readonly name: string
  /** Number of rows. */
  readonly rows: number
  /** Tokens of all its texts. */
  readonly tokens: number
  /** Fewest and most documents of a row. */
  readonly minDocuments: number
  /** Most documents of a row. */
  readonly maxDocuments: number
  /** Whether its rows have teacher scores. */
  readonly scores: boolean
  /** Handle for the addon's shard functions. */
  readonly shard: number
}

export interface ShardSet {
  readonly sources: readonly ShardSource[]
  /** Changes with the content, order or names of the sources, the recipe or the tokenizer. */
  readonly fingerprint: string
  close(): void
}

/**
 * Tokenizes sources into memory-mapped shards, one each, or reuses those of an earlier run with the same content,
 * recipe and tokenizer. A shard appears under its name only when complete: an interruption leaves nothing to reuse.
 * @throws DataError `ERR_DATA` for bad or empty sources; AbortedError `ERR_ABORTED`; FileError `ERR_FILE`.
 */
export async function prepareShards(
  sources: readonly Source[],
  featurizer: Featurizer,
  options: PrepareOptions = {},
): Promise<ShardSet> {
  const { cacheDir = defaultCacheDir(), signal, onProgress } = options
  const { workers = Math.min(8, native().cpuInfo().threads) } = options
  if (!Number.isInteger(workers) || workers < 0) {
    throw new ArgumentError('ERR_ARGUMENT', `workers is ${workers}; expected a whole number of threads, 0 for none.`)
  }
  requireDistinctNames(sources)
  await inCache(cacheDir, async () => {
    await mkdir(cacheDir, { recursive: true })
    await removeAbandoned(cacheDir, (name) => name.startsWith(BUILDING))
  })
  const encoder = new RowEncoder(featurizer, workers)
  const opened: ShardSource[] = []
  const total = createHash('sha256')
  try {
    for (const source of sources) {
      throwIfAborted(signal)
      const key = await cacheKey(source, featurizer, signal)
      total.update(JSON.stringify([source.name, key]))
      const file = join(cacheDir, `${source.name.replace(/[^\w.-]+/g, '_').slice(0, 80)}-${key.slice(0, 32)}.shard`)
      let shard = existsSync(file) ? await openIfSound(file) : undefined
      const cached = shard !== undefined
      if (shard === undefined) {
        await build(source, featurizer, encoder, cacheDir, file, options)
        shard = await native().shardOpen(file, true)
      }
      const info = native().shardInfo(shard)
      opened.push({ name: source.name, ...info, shard })
      onProgress?.({ ...about(source), done: info.rows, total: info.rows, cached })
      if (info.rows === 0) {
        throw new DataError('ERR_DATA', `source "${source.name}" has no rows.`, { source: source.name })
      }
    }
  } catch (error) {
    for (const { shard } of opened) native().shardClose(shard)
    throw typed(error)
  } finally {
    await encoder.close()
  }
  return {
    sources: opened,
    fingerprint: total.digest('hex'),
    close() {
      for (const { shard } of opened) native().shardClose(shard)
    },
  }
}

/** Where the operating system refuses the cache folder, the error says how to choose another one. */
async function inCache<T>(cacheDir: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    const refusal = typed(error)
    if (!(refusal instanceof FileError)) throw error
    const message =
      `tokenized data cannot be kept in ${cacheDir}: ${refusal.message}. Choose another folder with cacheDir, or with the ` +
      'environment variable LATEFORGE_CACHE'
    throw new FileError('ERR_FILE', message, { ...refusal.details, cacheDir }, { cause: error })
  }
}

async function build(
  source: Source,
  featurizer: Featurizer,
  encoder: RowEncoder,
  cacheDir: string,
  file: string,
  { signal, onProgress }: PrepareOptions,
): Promise<void> {
  const folder = await inCache(cacheDir, () => mkdtemp(join(cacheDir, BUILDING)))
  try {
    const unfinished = join(folder, 'shard')
    const writer = await ShardWriter.create(unfinished, source.name, featurizer.tokenizer.vocabSize)
    try {
      const underWay: { encoded: Promise<EncodedRows>; scores: number[] | null }[] = []
      let rows = 0
      const writeOne = async (): Promise<void> => {
        const { encoded, scores } = underWay.shift()!
        const done = await encoded
        await inCache(cacheDir, () => writer.append(done, scores))
        onProgress?.({ ...about(source), done: (rows += done.documents.length), cached: false })
      }
      for await (const batch of batches(source)) {
        throwIfAborted(signal)
        const texts: RowTexts[] = batch.map(({ query, documents }) => [query, ...documents])
        const encoded = encoder.encode(texts)
        encoded.catch(() => {}) // reported when its turn comes
        underWay.push({ encoded, scores: batchScores(batch, source.name) })
        if (underWay.length >= encoder.depth) await writeOne()
      }
      while (underWay.length > 0) await writeOne()
      throwIfAborted(signal)
      await inCache(cacheDir, () => writer.finish())
    } finally {
      await writer.close()
    }
    await rename(unfinished, file)
    await syncPath(cacheDir)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

const about = ({ name }: Source) => ({ stage: 'tokenizing', name, unit: 'rows' }) as const

async function* batches(source: Source): AsyncGenerator<TextRow[]> {
  let batch: TextRow[] = []
  let row = 0
  for await (const value of source) {
    batch.push(checkedRow(value, source.name, ++row))
    if (batch.length === BATCH_ROWS) {
      yield batch
      batch = []
    }
  }
  if (batch.length > 0) yield batch
}

/** A row of a source, which may be anyone's. */
export function checkedRow(value: TextRow, source: string, row: number): TextRow {
  const isText = (text: unknown): boolean => typeof text === 'string'
  const { query, documents, scores } = value ?? {}
  if (!isText(query) || !Array.isArray(documents) || documents.length === 0 || !documents.every(isText))
    throw new DataError('ERR_DATA', `source "${source}", row ${row}: expected { query, documents: [positive, …] }.`, {
      source,
      row,
    })
  if (scores !== undefined && !(Array.isArray(scores) && scores.every(Number.isFinite)))
    throw new DataError('ERR_DATA', `source "${source}", row ${row}: scores is not an array of finite numbers.`, {
      source,
      row,
    })
  return value
}

function batchScores(batch: readonly TextRow[], source: string): number[] | null {
  const scored = batch.filter(({ scores }) => scores !== undefined).length
  if (scored === 0) return null
  if (scored < batch.length || batch.some(({ scores, documents }) => scores!.length !== documents.length)) {
    throw new DataError(
      'ERR_DATA',
      `source "${source}": every row needs one teacher score per document, or none has any.`,
      {
        source,
      },
    )
  }
  return batch.flatMap(({ scores }) => scores!)
}

async function cacheKey(source: Source, featurizer: Featurizer, signal: AbortSignal | undefined): Promise<string> {
  const content = (await source.fingerprint?.()) ?? (await hashRows(source, signal))
  return createHash('sha256')
    .update(JSON.stringify([FORMAT_VERSION, content, recipeHash(featurizer.recipe), featurizer.tokenizer.hash]))
    .digest('hex')
}

async function hashRows(source: Source, signal: AbortSignal | undefined): Promise<string> {
  const hash = createHash('sha256')
  let row = 0
  for await (const value of source) {
    throwIfAborted(signal)
    const { query, documents, scores } = checkedRow(value, source.name, ++row)
    hash.update(`${JSON.stringify([query, documents, scores])}\n`)
  }
  return hash.digest('hex')
}

/** An existing shard, or undefined where it is damaged and has to be built again. */
async function openIfSound(file: string): Promise<number | undefined> {
  try {
    return await native().shardOpen(file, true)
  } catch (error) {
    if (error instanceof FormatError) return undefined
    throw error
  }
}

export function requireDistinctNames(sources: readonly Source[]): void {
  if (sources.length === 0) throw new DataError('ERR_DATA', 'there is no source to read.')
  const seen = new Set<string>()
  for (const { name } of sources) {
    if (seen.has(name))
      throw new DataError('ERR_DATA', `two sources are named "${name}"; give each its own name.`, { name })
    seen.add(name)
  }
}

export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) {
    throw new AbortedError(
      'ERR_ABORTED',
      'preparing the data was aborted; finished shards are kept.',
      {},
      { cause: signal.reason },
    )
  }
}
