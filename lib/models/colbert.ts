import type { TokenColumn } from '../data/column.js'
import { ArgumentError, ConfigError, RecipeError, typed, UnsupportedError } from '../errors.js'
import { type StepKey, sequenceSeed } from '../io/random.js'
import { type ParameterEntry, type ParameterShape, Parameters } from '../nn/index.js'
import {
  above,
  checkOptions,
  checkPath,
  either,
  func,
  type Kinds,
  numbers,
  object,
  oneOf,
  required,
  signal,
  strings,
  whole,
} from '../options.js'
import type { DeviceEmbeddings, EmbeddingData, Embeddings, EmbeddingType } from '../retrieval/embeddings.js'
import type { Hit, SearchedDocuments, SearchOptions } from '../retrieval/search.js'
import { Device } from '../tensor/device.js'
import { gatherRows, l2Normalize, poolRows, type TokenEmbeddings } from '../tensor/ops.js'
import { scope } from '../tensor/scope.js'
import { type DType, Segments, Tensor } from '../tensor/tensor.js'
import { type AlignedField, checkAccepted, type RecipeChange, recipeMismatch } from '../text/alignment.js'
import { Featurizer } from '../text/featurizer.js'
import { defaultRecipe, type Recipe, recipeHash } from '../text/recipe.js'
import type { Tokenizer } from '../text/tokenizer/tokenizer.js'
import { inTurns } from '../turns.js'
import type { CreateConfig, ModelSpec } from './create.js'
import type { EncodeOptions } from './encode.js'
import { checkChain, dense, denseInitializer, denseParameters } from './networks/dense.js'
import type { Encoder } from './networks/encoder.js'
import {
  type CreateOptions,
  createOptions,
  type LoadOptions,
  type LoadPrecision,
  loadOptions,
  type SaveOptions,
} from './options.js'
import { type ModelParameterGroup, type ParameterGroupOptions, parameterGroups } from './parameter-groups.js'

const noteToProcess = (note: string): void => process.emitWarning(note, { type: 'RecipeWarning' })
export const encodeOptions: Kinds<EncodeOptions> = { microBatchTokens: above(0), signal, onProgress: func }
/**
 * A ColBERT model (Khattab and Zaharia 2020): an encoder, a projection of its hidden states, and the recipe by which
 * text becomes tokens. It owns device memory: `dispose()` it. What one method alone needs is loaded when that is called,
 * so that importing lateforge stays cheap.
 */
export class Colbert {
  /** Where it computes. */
  readonly device: Device
  /** Its weights and their gradients, in flat buffers; for an optimiser. */
  readonly parameters: Parameters
  /** Dimension of a token embedding. */
  readonly dim: number
  private text: Featurizer
  private spec: ModelSpec
  private readonly encoder: Encoder

  private constructor(spec: ModelSpec, { device: given, precision }: Pick<LoadOptions, 'device' | 'precision'>) {
    const device = Device.of(given)
    const { architecture, config, head, tokenizer, recipe } = spec
    this.text = featurizerOf(tokenizer, recipe, config.positions)
    this.spec = { ...spec, recipe: this.text.recipe }
    this.device = device
    this.dim = head.at(-1)?.out ?? config.width
    checkChain(head, config.width, 'the head')
    const int8 = precision === 'int8'
    if (int8 && device.name.startsWith('cuda'))
      throw new UnsupportedError('ERR_UNSUPPORTED', `precision int8 is for the CPU; leave it out on "${device.name}"`)
    const type = device.typeOf(int8 ? 'float32' : precision)
    this.parameters = new Parameters(device, shapesOf(spec), type, int8 ? isProduct : undefined)
    this.parameters.owner.name = `a Colbert model (${architecture.name}, ${config.layers} layers of width ${config.width})`
    this.encoder = architecture.encoder(config, this.parameters)
  }

  /**
   * A model with random values, from (seed, parameter name) alone.
   * @throws ConfigError ERR_CONFIG for an unknown key or a bad value; RecipeError ERR_RECIPE; FormatError ERR_FORMAT for
   *   a damaged tokenizer; DeviceError ERR_DEVICE when the device is not there
   */
  static async create(config: CreateConfig, options: CreateOptions = {}): Promise<Colbert> {
    checkOptions('Colbert.create', options, createOptions)
    const { modelSpecOf } = await import('./create.js')
    const model = new Colbert(await modelSpecOf(config), options)
    return model.filled(() => model.initialize(model.parameters.entries, options.seed ?? 0))
  }

  /**
   * A model from a folder, or by its name on the Hub (`org/name`, `org/name@revision`): PyLate's layout,
   * sentence-transformers 6's, Stanford's, or a plain encoder when a fresh projection is asked for.
   * @throws FormatError ERR_FORMAT for a folder that is missing something, damaged, pickled, or of another kind;
   *   HubError ERR_HUB for a model that cannot be had from the Hub; FileError ERR_FILE when files cannot be read or
   *   written; DeviceError ERR_DEVICE when the device is not there; AbortedError ERR_ABORTED;
   *   ConfigError ERR_CONFIG for a new projection that cannot be
   */
  static async load(dir: string, options: LoadOptions = {}): Promise<Colbert> {
    checkPath('Colbert.load', dir)
    checkOptions('Colbert.load', options, loadOptions)
    checkAcceptance('Colbert.load', options.recipe ?? {}, options.acceptRecipeChange ?? [])
    const model = await Colbert.read(dir, options).catch((error) => {
      throw typed(error)
    })
    for (const note of model.recipeNotes) (options.onNote ?? noteToProcess)(`${dir}: ${note}`)
    return model
  }

  private static async read(dir: string, options: LoadOptions): Promise<Colbert> {
    const { openStoredModel } = await import('./load.js')
    const { spec, weights, fresh } = await openStoredModel(dir, options)
    try {
      const model = new Colbert(spec, options)
      return await model.filled(async () => {
        const about = { stage: 'loading', name: dir, unit: 'tensors' } as const
        await weights.read(model.parameters, (done, total) => options.onProgress?.({ ...about, done, total }))
        const projection = model.parameters.entries.filter((e) => /^\d+_Dense\./.test(e.name))
        if (fresh) await model.initialize(projection, options.seed ?? 0)
      })
    } finally {
      await weights.close()
    }
  }

  /**
   * Writes a folder, whole or not at all: in PyLate's layout, which sentence-transformers 6 loads too, or in
   * sentence-transformers 6's own where PyLate's has no words for the recipe.
   * @param options `layout`: `pylate`, `sentence-transformers` or `stanford` (docs/models.md says what each can hold);
   *   `training`: how it was trained, for its card
   * @throws FormatError ERR_FORMAT when `dir` exists and is no saved model, or the layout cannot hold this one; FileError
   *   ERR_FILE when it cannot be written
   */
  async save(dir: string, options: SaveOptions = {}): Promise<void> {
    checkPath('save', dir)
    const { saveModel, savedLayouts } = await import('./formats/save.js')
    checkOptions('save', options, { layout: oneOf(...savedLayouts), training: object })
    const trained = this.spec.learned.toFolder(this.parameters.updates)
    const { layout, training } = options
    await saveModel(dir, { ...this.spec, trained, parameters: this.parameters, training }, layout).catch((error) => {
      throw typed(error)
    })
  }

  /** What it computes with; its parameters are float32 either way. */
  get precision(): LoadPrecision {
    if (this.parameters.encodesOnly) return 'int8'
    return this.parameters.type === 'bfloat16' ? 'bfloat16' : 'float32'
  }

  /** Of token embeddings on the device: unit vectors fit float16 eight times more exactly than bfloat16. */
  get tokenType(): DType {
    return this.precision === 'bfloat16' ? 'float16' : this.device.real
  }

  /** Text to tokens, by the recipe. */
  get featurizer(): Featurizer {
    return this.text
  }

  /** How text becomes tokens: prefixes, prompts, lengths, expansion, skiplist, tokenizer. Frozen; `setRecipe` changes it. */
  get recipe(): Recipe {
    return this.text.recipe
  }

  /** How it scores: training, evaluation and search go by the recipe's rule. */
  get clampNegatives(): boolean {
    return this.recipe.clampNegatives
  }

  /** The recipe that the weights have learned; null before a training. */
  get trainedRecipe(): Recipe | null {
    return this.spec.learned.at(this.recipe, this.parameters.updates)
  }

  /** Changes of the recipe that were accepted since the weights first learned one, oldest first. */
  get recipeChanges(): readonly RecipeChange[] {
    return this.spec.learned.changes
  }

  /** Fields of the recipe of which nobody knows what the weights have learned; the first to say it is believed. */
  get unknownRecipe(): readonly AlignedField[] {
    return this.spec.learned.unknownAt(this.parameters.updates)
  }

  /** What whoever uses the model should know of its recipe: prompts that are not known, lengths beyond those of training. */
  get recipeNotes(): string[] {
    return this.spec.learned.notes(this.recipe, this.parameters.updates)
  }

  /** Of the recipe, tokenizer included. */
  get recipeHash(): string {
    return recipeHash(this.recipe)
  }

  /**
   * Changes how text becomes tokens from now on, as a training phase with other lengths or prompts does. Embeddings made
   * before no longer fit those made after. What the weights have learned, lengths apart, stays as it is unless
   * `acceptRecipeChange` names it.
   * @throws RecipeError ERR_RECIPE for a difference from what the model was trained with, a prefix that is no token, or a
   *   length beyond the model's positions
   */
  setRecipe(changes: Partial<Recipe>, options: Pick<LoadOptions, 'acceptRecipeChange'> = {}): void {
    required('setRecipe', 'changes', changes, object)
    checkOptions('setRecipe', options, { acceptRecipeChange: strings })
    const { acceptRecipeChange = [] } = options
    checkAcceptance('setRecipe', changes, acceptRecipeChange)
    const next = this.featurizerWith({ ...this.recipe, ...changes })
    this.spec.learned.change(this.recipe, changes, next.recipe, this.parameters.updates, acceptRecipeChange)
    this.text = next
    this.spec = { ...this.spec, recipe: next.recipe }
  }

  /** Goes by the recipe of another model of the same weights, and by what is known of it. Errors as `setRecipe`. */
  takeRecipe(other: Colbert): void {
    this.text = this.featurizerWith(other.recipe)
    this.spec = { ...this.spec, recipe: this.recipe, learned: other.spec.learned }
  }

  /** Text to tokens by another recipe, which the model does not take on. Errors as `setRecipe`. */
  featurizerWith(recipe: Recipe): Featurizer {
    const { tokenizer, config } = this.spec
    return featurizerOf(tokenizer, defaultRecipe(recipe), config.positions)
  }

  /** What it is made of, for what writes it in another form. @internal */
  get parts(): Pick<ModelSpec, 'architecture' | 'config' | 'head' | 'json'> {
    return this.spec
  }

  /** Longest sequence, in tokens. */
  get positions(): number {
    return this.spec.config.positions
  }

  /** The tokenizer, with the recipe's prefixes as tokens. */
  get tokenizer(): Tokenizer {
    return this.featurizer.tokenizer
  }

  /**
   * Unit-norm token embeddings [rows, dim] of sequences [first, last) of a column, skiplisted tokens removed, or one a
   * sequence where the recipe pools them; works on a tape. Dropout only with a key, drawn per sequence from (seed, step,
   * row, column): micro-batches do not matter.
   */
  embed(column: TokenColumn, first: number, last: number, key: StepKey | null): TokenEmbeddings {
    if (!(first >= 0 && first <= last && last < column.offsets.length))
      throw new ArgumentError('ERR_ARGUMENT', `sequences ${first} to ${last} of ${column.offsets.length - 1}`)
    return scope(() => {
      const { device } = this
      const [start, end] = [column.offsets[first]!, column.offsets[last]!]
      const hostIds = column.ids.subarray(start, end)
      const ids = Tensor.fromInt32(device, hostIds)
      const segments = Segments.of(
        device,
        column.offsets.subarray(first, last + 1).map((o) => o - start),
      )
      const counts = column.keyLengths.subarray(first, last)
      const partial = counts.some((count, i) => count < segments.offsets[i + 1]! - segments.offsets[i]!)
      const keyLengths = partial ? Tensor.fromInt32(device, counts) : null
      const training = key && { seeds: this.seedsOf(column, first, last, key) }
      const hidden = this.encoder.forward({ ids, hostIds, segments, keyLengths }, training)
      const { clampNegatives } = this
      const { pooling } = this.recipe
      if (pooling !== 'none')
        return {
          tokens: this.project(poolRows(hidden, segments, pooling)),
          segments: Segments.of(device, Float64Array.from(segments.offsets.keys())),
          clampNegatives,
        }
      if (!column.keep) return { tokens: this.project(hidden), segments, clampNegatives }
      const [keptStart, keptEnd] = [column.keptOffsets[first]!, column.keptOffsets[last]!]
      const keep = Tensor.fromInt32(
        device,
        column.keep.subarray(keptStart, keptEnd).map((row) => row - start),
      )
      return {
        tokens: this.project(gatherRows(hidden, keep)),
        segments: Segments.of(
          device,
          column.keptOffsets.subarray(first, last + 1).map((o) => o - keptStart),
        ),
        clampNegatives,
      }
    })
  }

  /**
   * Token embeddings of queries, on the host.
   * @throws AbortedError ERR_ABORTED
   */
  async encodeQueries(texts: readonly string[], options: EncodeOptions = {}): Promise<Embeddings<'query'>> {
    checkOptions('encodeQueries', options, encodeOptions)
    checkTexts(texts)
    const { encodeAll } = await import('./encode.js')
    return encodeAll(this, 'query', texts, options)
  }

  /**
   * Token embeddings of documents, on the host; `ids` name them in search hits. They are written once, so memory peaks at
   * their size.
   * @throws OutOfMemoryError ERR_OUT_OF_MEMORY when they do not fit into one array; AbortedError ERR_ABORTED
   */
  async encodeDocuments(
    texts: readonly string[],
    options: EncodeOptions & { ids?: readonly string[] } = {},
  ): Promise<Embeddings<'document'>> {
    checkOptions('encodeDocuments', options, { ...encodeOptions, ids: strings })
    const { ids, ...encoding } = options
    checkTexts(texts)
    if (ids && checkTexts(ids).length !== texts.length)
      throw new ArgumentError('ERR_ARGUMENT', `${ids.length} ids for ${texts.length} texts`)
    const { encodeAll } = await import('./encode.js')
    const embeddings = await encodeAll(this, 'document', texts, encoding)
    return ids ? { ...embeddings, ids } : embeddings
  }

  /** Token embeddings of a stream of documents, some at a time and in order: for corpora larger than memory. */
  streamDocuments(
    texts: Iterable<string> | AsyncIterable<string>,
    options: EncodeOptions = {},
  ): AsyncGenerator<Embeddings<'document'>> {
    checkOptions('streamDocuments', options, encodeOptions)
    return this.streamed(texts, options)
  }

  /**
   * The best documents of each query, best first: exhaustive MaxSim. Documents that are searched often are faster once
   * they are on the device (`upload`); those that do not fit into memory may be a stream (`streamDocuments`).
   * @throws ArgumentError ERR_ARGUMENT (swapped sides, topK); RecipeError ERR_RECIPE; DataError ERR_DATA (NaN); AbortedError
   */
  async search(
    queries: Embeddings<'query', EmbeddingData>,
    documents: SearchedDocuments,
    options: Omit<SearchOptions, 'dtype' | 'clampNegatives'> = {},
  ): Promise<Hit[][]> {
    // The documents' recipe is compared with the queries' where both are scored.
    const problem = queries?.recipe && recipeMismatch(this.recipe, queries.recipe, 'of the model')
    if (problem)
      throw new RecipeError(
        'ERR_RECIPE',
        `search: the queries were encoded by another recipe than the model's, which decides how they are scored:\n  ` +
          `${problem}\nEncode them again, or give the model the recipe they were made with`,
        { expected: this.recipe, found: queries.recipe },
      )
    checkOptions('search', options, { topK: either(whole(1), numbers), signal, onProgress: func })
    const { search } = await import('../retrieval/search.js')
    return search(this.device, queries, documents, {
      clampNegatives: this.clampNegatives,
      dtype: this.storedAs,
      ...options,
    })
  }

  /** Copies embeddings of documents to the model's device, where they stay until `dispose()`, for `search`. */
  async upload(
    documents: Embeddings<'document', EmbeddingData>,
    options: { signal?: AbortSignal } = {},
  ): Promise<DeviceEmbeddings<'document'>> {
    checkOptions('upload', options, { signal })
    const { DeviceEmbeddings } = await import('../retrieval/embeddings.js')
    return DeviceEmbeddings.upload(documents, { device: this.device, dtype: this.storedAs, ...options })
  }

  /** Texts in order of their score for a query, all of them unless `topK` says fewer. */
  async rank(query: string, texts: readonly string[], options: EncodeOptions & { topK?: number } = {}): Promise<Hit[]> {
    checkOptions('rank', options, { ...encodeOptions, topK: whole(1) })
    checkTexts([query])
    if (checkTexts(texts).length === 0) return []
    const { topK = texts.length, ...encoding } = options
    const queries = await this.encodeQueries([query], encoding)
    const documents = await this.encodeDocuments(texts, encoding)
    return (await this.search(queries, documents, { topK, signal: options.signal }))[0]!
  }

  /**
   * Optimiser groups: each parameter goes to the first group that matches it; those of frozen groups, and those that no
   * group matches, stay as they are and get no gradient.
   * @throws ArgumentError ERR_ARGUMENT for a bad option, and for a group that no parameter is left for
   */
  parameterGroups(options: readonly ParameterGroupOptions[]): ModelParameterGroup[] {
    if (this.parameters.encodesOnly)
      throw new UnsupportedError('ERR_UNSUPPORTED', 'a model of precision int8 cannot be trained; load it as float32')
    return parameterGroups(this.parameters, options)
  }

  /** Frees device memory; embeddings on the host stay. */
  dispose(): void {
    this.encoder.dispose()
    this.parameters.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  private async *streamed(
    texts: Iterable<string> | AsyncIterable<string>,
    options: EncodeOptions,
  ): AsyncGenerator<Embeddings<'document'>> {
    const { encodeStream } = await import('./encode.js')
    yield* encodeStream(this, 'document', texts, options)
  }

  /** What documents are stored as on the device, where that is not up to them: what its own lose nothing as. */
  get storedAs(): EmbeddingType | undefined {
    return this.tokenType === 'float16' ? 'float16' : undefined
  }

  private project(hidden: Tensor): Tensor {
    return l2Normalize(dense(this.parameters, this.spec.head, hidden))
  }

  private seedsOf(column: TokenColumn, first: number, last: number, key: StepKey): Tensor {
    const seeds = new Int32Array(2 * (last - first))
    for (let i = first; i < last; i++)
      seeds.set(sequenceSeed(key.seed, key.step, column.rows[i]!, column.column), 2 * (i - first))
    return Tensor.fromInt32(this.device, seeds, [last - first, 2])
  }

  /** Fills parameters with fresh values, without holding the event loop. */
  private async initialize(entries: readonly ParameterEntry[], seed: number): Promise<void> {
    if (!Number.isSafeInteger(seed) || seed < 0)
      throw new ConfigError('ERR_CONFIG', `seed is ${seed}, expected a whole number ≥ 0`, { seed })
    await inTurns(this.initializeInSteps(entries, seed))
  }

  private *initializeInSteps(entries: readonly ParameterEntry[], seed: number): Generator<void, void> {
    const { architecture, config, head } = this.spec
    for (const { name, size } of entries) {
      const layer = /^(\d+)_Dense\./.exec(name)
      const values = new Float32Array(size)
      const fill = layer ? denseInitializer(head[Number(layer[1]) - 1]!) : architecture.initializer(config, name)
      yield* fill(values, seed, name)
      yield* this.parameters.writeInSteps(values, name)
      yield
    }
  }

  /** This model once `fill` is through; if that fails, its memory is given back. */
  private async filled(fill: () => Promise<void>): Promise<Colbert> {
    try {
      await fill()
      await this.device.event()
      return this
    } catch (error) {
      this.dispose()
      throw error
    }
  }
}

function featurizerOf(tokenizer: Tokenizer, recipe: Recipe, positions: number): Featurizer {
  const longest = Math.max(recipe.queryLength, recipe.documentLength)
  if (longest > positions)
    throw new RecipeError(
      'ERR_RECIPE',
      `the recipe has sequences of ${longest} tokens, the model's positions end at ${positions}; ` +
        'set shorter lengths in the recipe',
      { longest, positions },
    )
  return new Featurizer(tokenizer, recipe)
}

/** @throws ArgumentError ERR_ARGUMENT for a change that is accepted and not asked for */
function checkAcceptance(what: string, changes: Partial<Recipe>, accept: readonly string[]): void {
  checkAccepted(accept)
  const idle = accept.find((field) => !(field in changes))
  if (idle !== undefined)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `${what}: acceptRecipeChange names "${idle}", which has no effect: no change of it is asked for`,
      { option: 'acceptRecipeChange', field: idle },
    )
}

/** Whether a parameter is a matrix that rows are multiplied with: neither of one dimension nor a table of embeddings. */
const isProduct = ({ name, shape }: ParameterShape): boolean => shape.length === 2 && !/embeddings\./.test(name)

function shapesOf({ architecture, config, head }: ModelSpec): ParameterShape[] {
  return [...architecture.parameters(config), ...head.flatMap((layer, i) => denseParameters(layer, i))]
}

function checkTexts(texts: readonly string[]): readonly string[] {
  const wrong = Array.isArray(texts) ? texts.findIndex((text) => typeof text !== 'string') : 0
  if (wrong >= 0)
    throw new ArgumentError('ERR_ARGUMENT', `expected an array of texts; entry ${wrong} is no string`, { wrong })
  return texts
}
