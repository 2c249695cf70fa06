/**
 * Encodes a collection to shards, one pass over it, some documents at a time. A shard is closed by the first group of documents
 * that fills it, and a group depends on its own documents alone: so whoever was cut off goes on behind the last whole shard, and
 * the bytes are those of a run that nobody has cut off.
 */
import { createHash, type Hash } from 'node:crypto'
import { readdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { ArgumentError, DataError, FormatError, RecipeError, typed } from '../errors.js'
import type { Colbert } from '../models/colbert.js'
import {
  checkOptions,
  checkPath,
  flag,
  func,
  type Kinds,
  object,
  oneOf,
  required,
  signal,
  text,
  whole,
} from '../options.js'
import type { OnProgress, Progress } from '../progress.js'
import { Device } from '../tensor/device.js'
import type { Recipe } from '../text/recipe.js'
import { abortIf, Turns } from '../turns.js'
import { Builder, segmentTokens, storedAs } from './builder.js'
import { claimWriting } from './claim.js'
import {
  type EncodedInfo,
  type EncodedManifest,
  type EncodedSettings,
  infoOf,
  isEncoded,
  readEncoded,
  writeEncoded,
} from './encoded.js'
import { encodedGroups, type Group } from './groups.js'
import { type StoredEmbeddings, storedTypes } from './manifest.js'
import { type CreateIndexOptions, checkDocument, type IndexDocument, poolingOf } from './options.js'
import { isSame, probeOf } from './probe.js'
import { writeSegment } from './segment.js'

/** Options of `encodeCorpus`. */
export interface EncodeCorpusOptions extends Pick<CreateIndexOptions, 'pooling' | 'modelName'> {
  /** Encodes. */
  model: Colbert
  /** What token vectors are stored as. Default `float16`: half of float32, off by 2^-12 of a number at most. */
  type?: StoredEmbeddings
  /** Keeps texts too, beside ids and metadata. Default false. */
  keepTexts?: boolean
  /** A shard is closed by the documents that reach so many tokens. Default: those of 128 MiB of vectors. */
  shardTokens?: number
  /** Told how far it is: first once what was there is passed, then after some documents each. */
  onProgress?: OnProgress<EncodeProgress>
  /** Ends it, with ERR_ABORTED. The shards so far stay; the same call goes on behind them. */
  signal?: AbortSignal
}

/** How far encoding is. */
export interface EncodeProgress extends Progress {
  /** What is done. */
  stage: 'encoding'
  /** Documents encoded so far, with those that were there. */
  done: number
  /** What is counted. */
  unit: 'documents'
  /** Their token vectors. */
  tokens: number
  /** Documents that were there before. */
  resumed: number
}

/** What was encoded. */
export interface EncodeResult extends EncodedInfo {
  /** Documents that were there before. */
  resumed: number
}

const options: Kinds<EncodeCorpusOptions> = {
  ...{ model: object, type: oneOf(...storedTypes), pooling: object, keepTexts: flag, shardTokens: whole(1) },
  ...{ modelName: text, onProgress: func, signal },
}

/**
 * Encodes documents into a folder that is new or empty, or goes on with what the same call has begun there, whenever that was cut
 * off: documents that are there are read and compared, not encoded again. `EncodedDocuments` reads them.
 * @throws FormatError ERR_FORMAT for a folder that holds something else; ArgumentError ERR_ARGUMENT for other settings or weights
 *   than it was begun with, a document that is none, and an id that comes twice; RecipeError ERR_RECIPE for another recipe;
 *   DataError ERR_DATA for other documents than those that are there; LockedError ERR_LOCKED; FileError ERR_FILE;
 *   AbortedError ERR_ABORTED
 */
export async function encodeCorpus(
  dir: string,
  documents: Iterable<IndexDocument> | AsyncIterable<IndexDocument>,
  given: EncodeCorpusOptions,
): Promise<EncodeResult> {
  checkPath('encodeCorpus', dir)
  checkOptions('encodeCorpus', given, options)
  required('encodeCorpus', 'model', given?.model, object)
  const { model, type = 'float16', keepTexts = false, modelName = null, onProgress, signal } = given
  const pooling = poolingOf('encodeCorpus', given.pooling)
  const { dim, recipe } = model
  const { shardTokens = segmentTokens({ type, dim }) } = given
  const settings = { dim, type, recipe, pooling, keepTexts, shardTokens }
  try {
    await refuseOthers(dir)
    const probe = await probeOf(model)
    const lock = await claimWriting(dir)
    try {
      const shards = await Shards.open(dir, { ...settings, model: modelName, probe })
      const { documents: resumed } = shards.soFar
      const tell = (): void => {
        const { documents: done, tokens } = shards.soFar
        onProgress?.({ stage: 'encoding', done, unit: 'documents', tokens, resumed })
      }
      const rest = remaining(dir, shards.manifest, documents, { passed: tell, signal })
      for await (const group of encodedGroups(model, rest, { pooling, signal })) {
        await shards.append(group)
        tell()
      }
      await shards.finish()
      return { ...infoOf(shards.manifest), resumed }
    } finally {
      await lock.release()
    }
  } catch (error) {
    throw typed(error)
  }
}

/** The shards of a folder, written one by one. */
class Shards {
  manifest: EncodedManifest
  private readonly dir: string
  private readonly builder: Builder
  /** Of the documents that wait. */
  private source = createHash('sha256')
  private truncated = 0

  private constructor(dir: string, manifest: EncodedManifest) {
    this.dir = dir
    this.manifest = manifest
    this.builder = new Builder(manifest)
  }

  /** Those that were begun, or none yet. What somebody who was killed has left is removed. */
  static async open(dir: string, now: EncodedSettings & Pick<EncodedManifest, 'model' | 'probe'>): Promise<Shards> {
    if (!isEncoded(dir)) {
      const manifest: EncodedManifest = { lateforgeEncoded: 1, complete: false, ...now, shards: [] }
      await writeEncoded(dir, manifest)
      return new Shards(dir, manifest)
    }
    const manifest = await readEncoded(dir)
    checkSame(dir, manifest, now)
    const known = new Set(manifest.shards.flatMap(({ vectors, texts }) => [vectors.name, texts?.name]))
    for (const name of await readdir(dir))
      if (!known.has(name) && /^(\d+\.(safetensors|jsonl)|\..*\.tmp)$/.test(name)) await rm(path.join(dir, name))
    return new Shards(dir, manifest)
  }

  /** What is in shards, and what waits for the next one. */
  get soFar(): { documents: number; tokens: number } {
    const { documents, tokens } = infoOf(this.manifest)
    return { documents: documents + this.builder.documents, tokens: tokens + this.builder.tokens }
  }

  async append({ documents, embeddings }: Group): Promise<void> {
    const { type, keepTexts, shardTokens } = this.manifest
    this.builder.append(
      await storedAs(embeddings, type),
      documents.map(({ id }) => id),
      keepTexts ? documents : documents.map(({ metadata }) => (metadata ? { metadata } : {})),
    )
    for (const document of documents) hashInto(this.source, document)
    this.truncated += embeddings.truncated!
    if (this.builder.tokens >= shardTokens) await this.close()
  }

  async finish(): Promise<void> {
    if (this.builder.documents > 0) await this.close()
    if (!this.manifest.complete) await this.keep({ complete: true })
  }

  private async close(): Promise<void> {
    const { shards } = this.manifest
    const name = String(shards.length + 1).padStart(6, '0')
    const extras = { listsFrom: Number.POSITIVE_INFINITY, residual: null, words: false }
    const written = await writeSegment(Device.open('cpu'), this.dir, name, this.builder.take(), extras)
    const { vectors, texts, documents, tokens } = written
    const shard = { vectors, texts, documents, tokens, truncated: this.truncated, source: this.source.digest('hex') }
    this.source = createHash('sha256')
    this.truncated = 0
    await this.keep({ shards: [...shards, shard] })
  }

  private async keep(changes: Partial<EncodedManifest>): Promise<void> {
    this.manifest = { ...this.manifest, ...changes }
    await writeEncoded(this.dir, this.manifest)
  }
}

const hashInto = (hash: Hash, { id, text, metadata }: IndexDocument): unknown =>
  hash.update(`${JSON.stringify([id, text, metadata])}\n`)

/** The documents behind those of the shards, which are compared on the way. @throws as `encodeCorpus` */
async function* remaining(
  dir: string,
  { shards, complete }: EncodedManifest,
  documents: Iterable<IndexDocument> | AsyncIterable<IndexDocument>,
  { passed, signal }: { passed: () => void; signal: AbortSignal | undefined },
): AsyncGenerator<IndexDocument> {
  const ids = new Set<string>()
  const turns = new Turns()
  const other = (what: string) =>
    new DataError('ERR_DATA', `${dir} was begun with other documents: ${what}. Encode these to another folder`, { dir })
  let [shard, first, source] = [0, 0, createHash('sha256')]
  if (shards.length === 0) passed()
  for await (const document of documents) {
    abortIf(signal)
    const { id } = checkDocument(document)
    if (ids.size === ids.add(id).size) throw new ArgumentError('ERR_ARGUMENT', `the id "${id}" comes twice`, { id })
    const known = shards[shard]
    if (!known) {
      if (complete) throw other(`it is complete with ${first}, and there are more`)
      yield document
      continue
    }
    hashInto(source, document)
    if (ids.size === first + known.documents) {
      if (source.digest('hex') !== known.source)
        throw other(`those from number ${first + 1} to ${ids.size} are not the same`)
      ;[shard, first, source] = [shard + 1, ids.size, createHash('sha256')]
      if (shard === shards.length) passed()
    }
    if (turns.due) await turns.take()
  }
  if (shard < shards.length)
    throw other(`it has ${infoOf({ shards } as EncodedManifest).documents}, and there are ${ids.size}`)
}

/** @throws FormatError ERR_FORMAT for a folder that holds something, and no encoded documents */
async function refuseOthers(dir: string): Promise<void> {
  if (isEncoded(dir)) return
  const there = await readdir(dir).catch((error) => {
    if (error.code === 'ENOENT') return []
    throw error
  })
  const other = there.find((name) => name !== 'lock' && !/^\..*\.tmp$/.test(name))
  if (other !== undefined)
    throw new FormatError('ERR_FORMAT', `${dir} holds "${other}"; encoded documents get a folder of their own`, { dir })
}

/** @throws as `encodeCorpus`, for settings or weights other than those that the folder was begun with */
function checkSame(dir: string, before: EncodedManifest, now: EncodedSettings & Pick<EncodedManifest, 'probe'>): void {
  const differing = <T extends object>(was: T, is: T, keys: readonly (keyof T)[]) =>
    keys.find((key) => JSON.stringify(was[key]) !== JSON.stringify(is[key]))
  const begun = (key: string, was: unknown, is: unknown) =>
    `${dir} was begun with ${key} ${JSON.stringify(was)}, not ${JSON.stringify(is)}; go on with the same, or encode to another folder`
  const fields = Object.keys(now.recipe) as (keyof Recipe)[]
  const field = differing(before.recipe, now.recipe, fields)
  if (field) throw new RecipeError('ERR_RECIPE', begun(field, before.recipe[field], now.recipe[field]), { dir, field })
  const option = differing(before as EncodedSettings, now, ['dim', 'type', 'pooling', 'keepTexts', 'shardTokens'])
  if (option) throw new ArgumentError('ERR_ARGUMENT', begun(option, before[option], now[option]), { dir, option })
  if (!isSame(before.probe, now.probe))
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `${dir} was begun with other weights, or in another precision (${before.model ?? 'its model has no name'}); go on with ` +
        'the same, or encode to another folder',
      { dir },
    )
}
