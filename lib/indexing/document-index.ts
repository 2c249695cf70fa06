/** An index: documents encoded once and kept in a folder, which is searched while it grows and shrinks. */
import { mkdir, readdir, stat } from 'node:fs/promises'
import { ArgumentError, FormatError, RecipeError, typed } from '../errors.js'
import type { Colbert } from '../models/colbert.js'
import type { EncodeOptions } from '../models/encode.js'
import { signal as aSignal, checkOptions, checkPath, func } from '../options.js'
import { checkEmbeddings, countOf, type EmbeddingData, type Embeddings } from '../retrieval/embeddings.js'
import { Device } from '../tensor/device.js'
import { recipeMismatch } from '../text/alignment.js'
import { abortIf } from '../turns.js'
import { chosen } from './builder.js'
import { type CheckResult, checkSnapshot } from './check.js'
import { type Filter, Selected, type Selection } from './filter.js'
import { encodedGroups } from './groups.js'
import { filesOf, indexLayout, manifestFile, writeManifest } from './manifest.js'
import {
  addOptions,
  type CheckOptions,
  type CreateIndexOptions,
  checkedOptions,
  checkId,
  compactOptions,
  createOptions,
  type IndexDocument,
  type IndexInfo,
  idList,
  type OpenIndexOptions,
  openOptions,
  poolingOf,
  searchOptions,
  verifyOptions,
} from './options.js'
import { ownQueries } from './own-queries.js'
import { isAlike, probeOf } from './probe.js'
import { type Asked, type IndexHit, type IndexSearchOptions, searchSnapshot } from './search.js'
import { type EncodedPart, type Kept, type VerifyOptions, verifyFiles } from './segment.js'
import { Snapshot } from './snapshot.js'
import { type StoredDocuments, storedDocuments } from './stored.js'
import {
  type AddOptions,
  type AddResult,
  type CompactOptions,
  type CompactResult,
  type DeleteResult,
  type Here,
  Writer,
} from './writer.js'

/**
 * Documents with their token embeddings in a folder. Any number of processes may have it open; one of them writes at a time, and holds the lock from its first change until `close`. What a call has
 * resolved for is on the disk; a process that dies leaves the state before or after, never one between.
 */
export class Index {
  /** Its folder. */
  readonly dir: string
  private readonly model: Colbert | undefined
  private readonly here: Here
  /** Of the manifest that the state was read from. */
  private seen: string
  /** Once it has begun to change something. */
  private writer: Promise<Writer> | null = null
  /** Changes are made one after the other. */
  private changes: Promise<unknown> = Promise.resolve()
  private refreshing: Promise<void> | null = null
  private closed = false

  private constructor(here: Here, model: Colbert | undefined, seen: string) {
    this.dir = here.dir
    this.here = here
    this.model = model
    this.seen = seen
  }

  /**
   * Makes an index in a folder that is new or empty.
   * @throws FormatError ERR_FORMAT for a folder that holds something; ArgumentError ERR_ARGUMENT; FileError ERR_FILE
   */
  static async create(dir: string, options: CreateIndexOptions): Promise<Index> {
    checkPath('Index.create', dir)
    checkOptions('Index.create', options, createOptions)
    const { model, type = 'int8', modelName = null, listsFrom = 1 << 17 } = options
    const pooling = poolingOf('Index.create', options.pooling)
    if (pooling && !model)
      throw new ArgumentError(
        'ERR_ARGUMENT',
        'Index.create: pooling has no effect without a model, which encodes documents',
      )
    if (!model && options.dim === undefined)
      throw new ArgumentError(
        'ERR_ARGUMENT',
        'Index.create needs a model, or the dim of the vectors that will be added',
      )
    if (options.dim !== undefined && options.dim % 8 !== 0)
      throw new ArgumentError('ERR_ARGUMENT', `Index.create: dim is ${options.dim}, expected a multiple of 8`)
    for (const key of ['dim', 'recipe'] as const)
      if (model && options[key] !== undefined)
        throw new ArgumentError('ERR_ARGUMENT', `Index.create: ${key} has no effect beside a model, which has its own`)
    const there = await readdir(dir).catch((error) => {
      if (error.code === 'ENOENT') return []
      throw typed(error)
    })
    if (there.length > 0)
      throw new FormatError('ERR_FORMAT', `${dir} holds "${there[0]}"; an index is made in a folder of its own`, {
        dir,
      })
    await mkdir(dir, { recursive: true }).catch((error) => {
      throw typed(error)
    })
    await writeManifest(dir, {
      ...{ lateforgeIndex: indexLayout, generation: 1, nextFile: 1, type, segments: [], model: modelName },
      ...{ dim: model?.dim ?? options.dim!, recipe: model?.recipe ?? options.recipe ?? null },
      ...{ listsFrom, search: null, pooling, probe: model ? await probeOf(model) : null },
    })
    return Index.open(dir, model ? { model } : {})
  }

  /**
   * Opens an index; nothing but its directory of documents is read.
   * @throws FormatError ERR_FORMAT where there is none, or a damaged one; RecipeError ERR_RECIPE for a model of another recipe;
   *   ArgumentError ERR_ARGUMENT for one of other weights, or another dimension
   */
  static async open(dir: string, options: OpenIndexOptions = {}): Promise<Index> {
    checkPath('Index.open', dir)
    checkOptions('Index.open', options, openOptions)
    const { model } = options
    const device = Device.open('cpu')
    let snapshot: Snapshot | null = null
    try {
      const seen = await stampOf(dir)
      snapshot = await Snapshot.open(dir, device)
      const { recipe, dim, model: name } = snapshot.manifest
      const madeBy = name ? ` (${name})` : ''
      const problem = model && (recipe ? recipeMismatch(recipe, model.recipe) : null)
      if (problem)
        throw new RecipeError(
          'ERR_RECIPE',
          `${dir} was made by another recipe than the model's:\n  ${problem}\nOpen it with the model it was made with` +
            `${madeBy}, or make it again`,
          { expected: recipe, found: model.recipe },
        )
      if (model && model.dim !== dim)
        throw new ArgumentError('ERR_ARGUMENT', `${dir} has vectors of ${dim} dimensions, the model makes ${model.dim}`)
      const { probe } = snapshot.manifest
      if (model && probe && !isAlike(probe, await probeOf(model)))
        throw new ArgumentError(
          'ERR_ARGUMENT',
          `${dir} was made by other weights${madeBy}, whose vectors are not to be compared with those of this model. Open it ` +
            'with the model it was made with, or make it again',
          { dir, model: snapshot.manifest.model },
        )
      return new Index({ dir, device, snapshot }, model, seen)
    } catch (error) {
      await snapshot?.release()
      throw typed(error)
    }
  }

  /** What it holds now, as far as other processes have got. */
  async info(): Promise<IndexInfo> {
    await this.refresh()
    const { manifest, counts, segments } = this.here.snapshot
    const { dim, type, model, recipe, pooling, search } = manifest
    const listed = segments.filter(({ lists }) => lists !== null).length
    const bytes = filesOf(manifest).reduce((sum, file) => sum + file.bytes, 0)
    return {
      ...{ ...counts, segments: segments.length, bytes, dim, type, codesRecall: this.here.snapshot.codesRecall },
      ...{ model, recipe, pooling, listed, search },
    }
  }

  /**
   * Encodes documents and keeps them. Of many, some thousands are kept at a time: a call that fails on the way, or is
   * aborted, has kept those before, and says how many.
   * @throws ArgumentError ERR_ARGUMENT for a document that is none, an id that comes twice, or one that is there;
   *   LockedError ERR_LOCKED; FileError ERR_FILE; AbortedError ERR_ABORTED
   */
  add(documents: Iterable<IndexDocument> | AsyncIterable<IndexDocument>, options: AddOptions = {}): Promise<AddResult> {
    checkOptions('add', options, addOptions)
    const { model } = this
    if (!model) throw new ArgumentError('ERR_ARGUMENT', `${this.dir} was opened without a model, which encodes texts`)
    return this.change(async (writer) => {
      const run = await writer.adding(options)
      const { pooling } = this.here.snapshot.manifest
      const skips = ({ id }: IndexDocument) => run.skips(id)
      for await (const group of encodedGroups(model, documents, { pooling, skips, signal: options.signal }))
        await run.take(
          group.embeddings,
          group.documents.map(({ id }) => id),
          group.documents,
        )
      return run.finish()
    })
  }

  /**
   * Keeps token embeddings, with their `ids`, of any ColBERT; `kept` has a text and metadata for each, where there are some. Of
   * a stream of them, such as those of `EncodedDocuments`, each part has its own.
   * Errors as `add`; RecipeError ERR_RECIPE for embeddings of another recipe
   */
  addEmbeddings(
    embeddings: EncodedPart | AsyncIterable<EncodedPart>,
    options: AddOptions & { kept?: readonly Kept[] } = {},
  ): Promise<AddResult> {
    const { kept, ...adding } = options
    checkOptions('addEmbeddings', adding, addOptions)
    const isStream = typeof embeddings === 'object' && embeddings !== null && Symbol.asyncIterator in embeddings
    if (isStream && kept)
      throw new ArgumentError(
        'ERR_ARGUMENT',
        'addEmbeddings: kept has no effect beside a stream, whose parts have their own',
      )
    const parts = isStream ? embeddings : [{ ...embeddings, ...(kept && { kept }) }]
    if (Array.isArray(parts)) for (const part of parts) this.checkPart(part)
    return this.change(async (writer) => {
      const run = await writer.adding(adding)
      for await (const part of parts) {
        abortIf(adding.signal)
        const { ids, kept = [] } = part
        if (isStream) this.checkPart(part)
        const left = Array.from(ids!.keys()).filter((i) => !run.skips(ids![i]!))
        await run.take(
          chosen(part, left),
          left.map((i) => ids![i]!),
          kept.length > 0 ? left.map((i) => kept[i]!) : [],
        )
      }
      return run.finish()
    })
  }

  /** Errors as `addEmbeddings`. */
  private checkPart(embeddings: EncodedPart): void {
    checkEmbeddings('embeddings', embeddings)
    const { ids, dim, recipe, kept = [] } = embeddings
    const { manifest } = this.here.snapshot
    const count = countOf(embeddings)
    const fail = (message: string) => new ArgumentError('ERR_ARGUMENT', `addEmbeddings: ${message}`)
    if (ids?.length !== count) throw fail(`${ids?.length ?? 'no'} ids for ${count} documents`)
    if (kept.length > 0 && kept.length !== count) throw fail(`${kept.length} texts for ${count} documents`)
    if (dim !== manifest.dim) throw fail(`vectors of ${dim} dimensions, the index has ${manifest.dim}`)
    const problem = recipe && manifest.recipe && recipeMismatch(manifest.recipe, recipe)
    if (problem) throw new RecipeError('ERR_RECIPE', `addEmbeddings: of another recipe than the index's:\n  ${problem}`)
    for (const id of ids) checkId(id)
  }

  /**
   * Deletes documents. Their vectors stay in the files until `compact`.
   * @returns how many were deleted, and ids that the index does not have
   * @throws LockedError ERR_LOCKED; FileError ERR_FILE
   */
  delete(ids: Iterable<string>): Promise<DeleteResult> {
    if (!idList.is(ids)) throw new ArgumentError('ERR_ARGUMENT', `delete: expected ${idList.expected}`)
    return this.change((writer) => writer.delete(ids))
  }

  /**
   * Writes segments anew: without deleted documents, and small ones together.
   * @returns bytes of all files before and after
   * @throws LockedError ERR_LOCKED; FileError ERR_FILE
   */
  compact(options: CompactOptions = {}): Promise<CompactResult> {
    checkOptions('compact', options, compactOptions)
    const size = () => filesOf(this.here.snapshot.manifest).reduce((sum, file) => sum + file.bytes, 0)
    return this.change(async (writer) => {
      const before = size()
      await writer.compact(options)
      return { before, after: size() }
    })
  }

  /**
   * Token embeddings of queries, by the index's model: for several searches, or for what else is to be known of them.
   * @throws ArgumentError ERR_ARGUMENT where it was opened without a model; AbortedError ERR_ABORTED
   */
  async encodeQueries(
    queries: readonly string[],
    options: Pick<EncodeOptions, 'signal' | 'onProgress'> = {},
  ): Promise<Embeddings<'query'>> {
    checkOptions('encodeQueries', options, { signal: aSignal, onProgress: func })
    if (!this.model)
      throw new ArgumentError('ERR_ARGUMENT', `${this.dir} was opened without a model; give queries as embeddings`)
    return this.model.encodeQueries(queries, options)
  }

  /**
   * The best documents of each query, best first, by MaxSim over the vectors as they are stored, of the state that the index has
   * when the search begins: of all documents, or in large segments of candidates (`IndexSearchOptions`). Queries are texts, or
   * embeddings.
   * @throws ArgumentError ERR_ARGUMENT; RecipeError ERR_RECIPE for queries of another recipe; AbortedError ERR_ABORTED
   */
  async search(
    queries: readonly string[] | Embeddings<'query', EmbeddingData>,
    options: IndexSearchOptions = {},
  ): Promise<IndexHit[][]> {
    checkOptions('search', options, searchOptions)
    const asked = await this.asked(queries, options)
    await this.refresh()
    const snapshot = this.here.snapshot.retain()
    try {
      return await searchSnapshot(snapshot, asked, options)
    } finally {
      await snapshot.release()
    }
  }

  /**
   * Finds out which documents pass a filter, once for any number of searches: `search(queries, { filter: await index.select({ where }) })`.
   * @throws ArgumentError ERR_ARGUMENT for a filter that filters nothing; AbortedError ERR_ABORTED
   */
  async select(filter: Filter, options: { signal?: AbortSignal } = {}): Promise<Selection> {
    checkOptions('select', options, { signal: aSignal })
    const selection = Selected.of('select', filter)
    await this.refresh()
    const snapshot = this.here.snapshot.retain()
    try {
      let documents = 0
      for (const segment of snapshot.segments)
        documents += (await selection.within(segment, options.signal))?.length ?? segment.documents
      selection.documents = documents
      return selection
    } finally {
      await snapshot.release()
    }
  }

  /**
   * Measures what a search finds of what scoring every document finds, and keeps the cheapest setting that reaches the target:
   * searches go by it from then on. None that misses it is chosen: every document is scored then. It takes as long as so many
   * exact searches, and more.
   * @throws ArgumentError ERR_ARGUMENT; LockedError ERR_LOCKED; AbortedError ERR_ABORTED
   */
  check(options: CheckOptions = {}): Promise<CheckResult> {
    checkOptions('check', options, checkedOptions)
    const { queries = 200, judgments: given, topK = 10, target = 0.98, signal, onProgress } = options
    if (given && typeof queries === 'number')
      throw new ArgumentError('ERR_ARGUMENT', 'check: judgments has no effect without the queries that they are of')
    return this.change(async (writer) => {
      const snapshot = this.here.snapshot
      const from =
        typeof queries === 'number'
          ? await ownQueries(snapshot, this.model, queries)
          : { queries, ...(given && { judgments: given }) }
      const asked = await this.asked(from.queries, { signal, onProgress })
      if (countOf(asked.embeddings) === 0)
        throw new ArgumentError('ERR_ARGUMENT', `check: ${this.dir} has no documents, or no queries were given`)
      const { result, setting } = await checkSnapshot(snapshot, asked, { ...from, topK, target, signal, onProgress })
      await writer.keepSetting(setting)
      return result
    })
  }

  /** A document as it was added, without its vectors; undefined where there is none. Reads all ids the first time. */
  async get(id: string): Promise<Kept | undefined> {
    await this.refresh()
    const snapshot = this.here.snapshot.retain()
    try {
      for (const segment of snapshot.segments) {
        const [document] = await segment.numbersOf([id])
        if (document !== undefined) return await segment.kept(document)
      }
      return undefined
    } finally {
      await snapshot.release()
    }
  }

  /**
   * All documents with their token vectors as they are stored, some thousands of vectors at a time, in the order in which they
   * were added: of the state that the index has when it begins, whatever writers do meanwhile.
   * @throws FormatError ERR_FORMAT for a damaged file; AbortedError ERR_ABORTED
   */
  async *stream(options: { signal?: AbortSignal } = {}): AsyncGenerator<StoredDocuments> {
    checkOptions('stream', options, { signal: aSignal })
    await this.refresh()
    const snapshot = this.here.snapshot.retain()
    try {
      yield* storedDocuments(snapshot, options.signal)
    } finally {
      await snapshot.release()
    }
  }

  /**
   * Reads every file and compares it with what was written.
   * @throws FormatError ERR_FORMAT that names the first file that differs
   */
  async verify(options: VerifyOptions = {}): Promise<void> {
    checkOptions('verify', options, verifyOptions)
    for (let generation = -1; ; ) {
      await this.refresh()
      const { manifest } = this.here.snapshot
      try {
        return await verifyFiles(this.dir, filesOf(manifest), options)
      } catch (error) {
        // A writer may have replaced the file meanwhile; then there is another state to look at.
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || generation === manifest.generation) throw typed(error)
        generation = manifest.generation
      }
    }
  }

  /** Waits for changes under way, gives the lock back and lets go of the files. Safe to call twice. */
  async close(): Promise<void> {
    if (this.closed) return
    this.closed = true
    await this.changes.catch(() => {})
    await (await this.writer?.catch(() => null))?.release()
    await this.here.snapshot.release()
  }

  /** As `close`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Queries as they are scored. @throws as `search` */
  private async asked(
    queries: readonly string[] | Embeddings<'query', EmbeddingData>,
    { signal, onProgress }: EncodeOptions,
  ): Promise<Asked> {
    const { recipe, dim } = this.here.snapshot.manifest
    const texts: readonly string[] | null = Array.isArray(queries) ? queries : null
    const asked = texts
      ? await this.encodeQueries(texts, { ...(signal && { signal }), ...(onProgress && { onProgress }) })
      : (queries as Embeddings<'query', EmbeddingData>)
    checkEmbeddings('queries', asked)
    if (asked.role === ('document' as string))
      throw new ArgumentError(
        'ERR_ARGUMENT',
        'search: expected queries (from encodeQueries), got embeddings of documents',
      )
    if (asked.dim !== dim)
      throw new ArgumentError('ERR_ARGUMENT', `search: queries of ${asked.dim} dimensions, the index has ${dim}`)
    const problem = recipe && asked.recipe && recipeMismatch(recipe, asked.recipe)
    if (problem)
      throw new RecipeError('ERR_RECIPE', `search: queries of another recipe than the index's:\n  ${problem}`, {
        expected: recipe,
        found: asked.recipe,
      })
    return { embeddings: asked, texts }
  }

  /** Makes `work` wait for the changes before it. */
  private change<R>(work: (writer: Writer) => Promise<R>): Promise<R> {
    this.checkOpen()
    const run = this.changes.then(async () => {
      // One look at the disk at a time: a refresh that has begun comes first, none begins once there is a writer.
      this.writer ??= Promise.resolve(this.refreshing).then(() => Writer.claim(this.here))
      try {
        return await work(
          await this.writer.catch((error) => {
            this.writer = null // another process may have ended by the next time
            throw error
          }),
        )
      } catch (error) {
        throw typed(error)
      }
    })
    this.changes = run.catch(() => {})
    return run
  }

  /** Takes up what another process has changed. Whoever writes knows of all changes. */
  private async refresh(): Promise<void> {
    this.checkOpen()
    if (this.writer) return
    this.refreshing ??= this.reopened().finally(() => {
      this.refreshing = null
    })
    await this.refreshing
  }

  private async reopened(): Promise<void> {
    try {
      const seen = await stampOf(this.dir)
      if (seen === this.seen) return
      const { device, snapshot: before } = this.here
      this.here.snapshot = await Snapshot.open(this.dir, device, before)
      this.seen = seen
      await before.release()
    } catch (error) {
      throw typed(error)
    }
  }

  private checkOpen(): void {
    if (this.closed) throw new ArgumentError('ERR_ARGUMENT', `${this.dir} is closed`)
  }
}

/** What tells two states of the manifest apart. */
async function stampOf(dir: string): Promise<string> {
  const found = await stat(manifestFile(dir), { bigint: true }).catch((error) => {
    if (error.code === 'ENOENT') return null
    throw error
  })
  return found ? `${found.ino} ${found.mtimeNs} ${found.size}` : ''
}
