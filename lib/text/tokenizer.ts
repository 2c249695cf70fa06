import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Tokenizer as Engine } from '@huggingface/tokenizers'
import { FormatError, LateforgeError } from '../errors.js'
import { writeAtomicSync } from '../io/atomic.js'
import { lfsHint } from '../io/lfs.js'
import { loadPackage } from '../packages.js'
import { type AddedTokenRecord, AddedTokens } from './added.js'
import { bertTokenizerJson } from './bert.js'
import { bertNormalizer, bertWords, byteLevelWords, toByteLevel } from './pretokenize.js'

type Json = Record<string, unknown>
type SpecialName = 'cls' | 'sep' | 'mask' | 'pad' | 'unk' | 'eos' | 'bos'
const CONVENTIONAL: Readonly<Record<SpecialName, readonly string[]>> = {
  cls: ['[CLS]', '<s>'],
  sep: ['[SEP]', '</s>'],
  mask: ['[MASK]', '<mask>'],
  pad: ['[PAD]', '<pad>'],
  unk: ['[UNK]', '<unk>'],
  eos: ['</s>', '<|endoftext|>'],
  bos: ['<s>'],
}
const SPECIAL_NAMES = Object.keys(CONVENTIONAL) as SpecialName[]
/** Words kept in the cache before it is emptied; a word's ids do not depend on its neighbours, so caching is exact. */
const CACHE_WORDS = 1 << 17
const CACHE_WORD_LENGTH = 64

/**
 * A Hugging Face tokenizer (`tokenizer.json`) reduced to what retrieval needs: text to ids, without offsets.
 * BERT's and GPT-2's pipelines run on our own splitters (`pretokenize.ts`), every other one on
 * `@huggingface/tokenizers`, which also runs the model (WordPiece, BPE, Unigram) of each word once.
 */
export class Tokenizer {
  /** Ids the post-processor puts before and after a text, e.g. [CLS] and [SEP]. */
  readonly leading: readonly number[]
  readonly trailing: readonly number[]
  private readonly json: Json
  private readonly config: Json
  private engine!: Engine
  private added!: AddedTokens
  private normalize!: (text: string) => string
  /** Words of a normalised section, and the form of a word that the model reads. */
  private words!: (text: string, section: number) => string[]
  private modelWord!: (word: string) => string
  private readonly cache = new Map<string, number[]>()
  private hashText: string | undefined

  private constructor(json: Json, config: Json, source: string) {
    this.json = json
    this.config = config
    try {
      this.compile()
      const template = templateTokens((json.post_processor ?? null) as PostProcessor | null)
      this.leading = template.leading.map((token) => this.known(token))
      this.trailing = template.trailing.map((token) => this.known(token))
    } catch (cause) {
      if (cause instanceof LateforgeError) throw cause
      throw new FormatError(
        'ERR_FORMAT',
        `${source} is not a tokenizer lateforge can run: ${(cause as Error).message}`,
        {
          source,
        },
        { cause },
      )
    }
  }

  /**
   * Reads `tokenizer.json` and, where present, `tokenizer_config.json` and `special_tokens_map.json` of a folder.
   * @throws FormatError `ERR_FORMAT` when the folder has no tokenizer.json or one of the files is damaged.
   */
  static load(dir: string): Tokenizer {
    const file = join(dir, 'tokenizer.json')
    if (!existsSync(file)) {
      throw new FormatError(
        'ERR_FORMAT',
        `${dir} has no tokenizer.json. Save the tokenizer with transformers' fast tokenizers (tokenizer.save_pretrained) and put that file there.`,
        { dir },
      )
    }
    const json = readJson(file)
    for (const key of ['model', 'added_tokens'] as const) {
      if (typeof json[key] !== 'object' || json[key] === null) {
        throw new FormatError('ERR_FORMAT', `${file} has no "${key}"; expected a Hugging Face tokenizer.json.`, {
          file,
        })
      }
    }
    const map = optionalJson(join(dir, 'special_tokens_map.json'))
    const config = optionalJson(join(dir, 'tokenizer_config.json'))
    return new Tokenizer(json, { ...map, ...config }, file)
  }

  /** A tokenizer from the content of a tokenizer.json (and of a tokenizer_config.json). */
  static fromJson(json: object, config: object = {}): Tokenizer {
    return new Tokenizer(structuredClone(json) as Json, structuredClone(config) as Json, 'tokenizer.json')
  }

  /**
   * An uncased BERT WordPiece tokenizer over a plain vocabulary; a token's index is its id. The vocabulary must hold
   * [PAD], [UNK], [CLS], [SEP] and [MASK]. With `dir` it is saved there too.
   */
  static fromVocabulary(vocab: readonly string[], dir?: string): Tokenizer {
    const tokenizer = Tokenizer.fromJson(bertTokenizerJson(vocab))
    if (dir !== undefined) tokenizer.save(dir)
    return tokenizer
  }

  /**
   * Ids of a text without special tokens; text that spells an added token becomes that token, as in Hugging Face.
   * @param limit stop after so many ids (the first ids do not depend on what follows)
   */
  encode(text: string, limit = Number.POSITIVE_INFINITY): number[] {
    const ids: number[] = []
    const wellFormed = /\p{Cs}/u.test(text) ? text.replace(/\p{Cs}/gu, '\ufffd') : text
    let section = 0
    for (const outer of this.added.splitRaw(wellFormed)) {
      if (ids.length >= limit) break
      if (typeof outer === 'number') {
        ids.push(outer)
      } else {
        for (const inner of this.added.splitNormalized(this.normalize(outer))) {
          if (ids.length >= limit) break
          if (typeof inner === 'number') ids.push(inner)
          else this.encodeSection(inner, section, ids, limit)
        }
      }
      section++
    }
    if (ids.length > limit) ids.length = limit
    return ids
  }

  /** Text for people to read; special tokens are shown. */
  decode(ids: ArrayLike<number>): string {
    return ids.length === 0 ? '' : this.engine.decode(Array.from(ids), { clean_up_tokenization_spaces: false })
  }

  /** The token's id, of the model's vocabulary or added; undefined where it is neither (never the unknown id). */
  tokenToId(token: string): number | undefined {
    return this.added.idOf(token) ?? this.engine.token_to_id(token)
  }

  idToToken(id: number): string | undefined {
    return this.engine.id_to_token(id)
  }

  /** One more than the largest id: the rows an embedding table needs. */
  get vocabSize(): number {
    return Math.max(this.engine.model!.vocab.length, this.added.maxId + 1)
  }

  get cls(): number | undefined {
    return this.leading[0] ?? this.special('cls') ?? this.special('bos')
  }
  get sep(): number | undefined {
    return this.trailing.at(-1) ?? this.special('sep') ?? this.special('eos')
  }
  get pad(): number | undefined {
    return this.special('pad')
  }
  get unk(): number | undefined {
    return this.special('unk') ?? this.engine.model!.unk_token_id
  }
  /**
   * The id queries are expanded with: the mask token, else end of text, else padding (PyLate's order).
   * @throws FormatError `ERR_FORMAT` when the tokenizer has none of them.
   */
  get mask(): number {
    const id = this.special('mask') ?? this.special('eos') ?? this.special('pad')
    if (id === undefined) {
      throw new FormatError(
        'ERR_FORMAT',
        'the tokenizer has no mask, end-of-text or padding token to expand queries with; name one in tokenizer_config.json ("mask_token").',
      )
    }
    return id
  }

  /**
   * Adds tokens that are matched whole, as Hugging Face's `add_tokens`: a token of the vocabulary keeps its id, a new
   * one gets the next free id, one added before is left alone. Returns how many were new to the added list.
   */
  addTokens(tokens: Iterable<string>): number {
    const records = this.json.added_tokens as AddedTokenRecord[]
    const have = new Set(records.map((record) => record.content))
    let count = 0
    let next = this.vocabSize
    for (const content of tokens) {
      if (content === '' || have.has(content)) continue
      have.add(content)
      const id = this.engine.token_to_id(content) ?? next++
      records.push({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: true, special: false })
      count++
    }
    if (count > 0) {
      records.sort((a, b) => a.id - b.id)
      this.compile()
    }
    return count
  }

  /** sha256 (hex) of what decides the ids: tokenizer.json with sorted keys, without truncation and padding settings. */
  get hash(): string {
    this.hashText ??= createHash('sha256').update(canonicalTokenizer(this.json)).digest('hex')
    return this.hashText
  }

  /** Content for {@link Tokenizer.fromJson}, e.g. to hand the tokenizer to a worker thread. */
  toJson(): { json: object; config: object } {
    return { json: this.json, config: this.config }
  }

  /** Writes tokenizer.json, tokenizer_config.json and special_tokens_map.json, which Hugging Face tokenizers load. */
  save(dir: string): void {
    const specials: Record<string, string> = {}
    for (const name of SPECIAL_NAMES) {
      const id = this.special(name)
      if (id !== undefined) specials[`${name}_token`] = this.idToToken(id)!
    }
    const decoder: Record<string, object> = {}
    for (const { id, ...record } of this.json.added_tokens as AddedTokenRecord[]) decoder[id] = record
    const config = {
      tokenizer_class: 'PreTrainedTokenizerFast',
      model_max_length: 512,
      clean_up_tokenization_spaces: false,
      ...this.config,
      ...specials,
      added_tokens_decoder: decoder,
    }
    const files = { tokenizer: this.json, tokenizer_config: config, special_tokens_map: specials }
    for (const [name, json] of Object.entries(files))
      writeAtomicSync(join(dir, `${name}.json`), `${JSON.stringify(json, null, 2)}\n`)
  }

  private encodeSection(text: string, section: number, ids: number[], limit: number): void {
    const words = this.words(text, section)
    if (this.engine.model!.fuse_unk) {
      // Neighbouring unknown words become one token: the only model option that looks across words.
      this.pushTokens(words.map(this.modelWord), ids)
      return
    }
    for (const word of words) {
      if (ids.length >= limit) return
      let known = this.cache.get(word)
      if (known === undefined) {
        this.pushTokens([this.modelWord(word)], (known = []))
        if (this.cache.size >= CACHE_WORDS) this.cache.clear()
        if (word.length <= CACHE_WORD_LENGTH) this.cache.set(word, known)
      }
      for (const id of known) ids.push(id)
    }
  }

  private pushTokens(words: string[], ids: number[]): void {
    // The model is callable, which the package's types do not say.
    for (const token of (this.engine.model as unknown as (words: string[]) => string[])(words)) {
      const id = this.tokenToId(token) ?? this.unk
      if (id !== undefined) ids.push(id)
    }
  }

  private compile(): void {
    this.cache.clear()
    this.hashText = undefined
    const { normalizer, pre_tokenizer: splitter } = this.json as { normalizer?: Json; pre_tokenizer?: Json }
    const complete = { normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null, ...this.json }
    const engine = newEngine(complete)
    this.engine = engine
    this.normalize =
      normalizer?.type === 'BertNormalizer'
        ? bertNormalizer(normalizer)
        : (text) => (engine.normalizer === null ? text : engine.normalizer.normalize(text))
    this.modelWord = (word) => word
    if (splitter?.type === 'BertPreTokenizer') {
      this.words = bertWords
    } else if (splitter?.type === 'ByteLevel' && splitter.use_regex !== false) {
      const prefixed = splitter.add_prefix_space === true
      this.words = (text) => byteLevelWords(prefixed && !/^\p{White_Space}/u.test(text) ? ` ${text}` : text)
      this.modelWord = toByteLevel
    } else {
      this.words = (text, section) =>
        engine.pre_tokenizer === null ? [text] : engine.pre_tokenizer.pre_tokenize(text, { section_index: section })
    }
    this.added = new AddedTokens(this.json.added_tokens as AddedTokenRecord[], this.normalize)
  }

  private special(name: SpecialName): number | undefined {
    const named = this.config[`${name}_token`]
    const content = typeof named === 'object' && named !== null ? (named as { content?: unknown }).content : named
    if (typeof content === 'string') return this.tokenToId(content)
    // Without a config: the conventional spellings, only where they are special tokens of the file.
    for (const spelling of CONVENTIONAL[name]) {
      const id = this.added.specialId(spelling)
      if (id !== undefined) return id
    }
    return undefined
  }

  private known(token: string): number {
    const id = this.tokenToId(token)
    if (id === undefined) throw new Error(`its post-processor adds "${token}", which is not in the vocabulary`)
    return id
  }
}

/** `@huggingface/tokenizers` is loaded with the first tokenizer, not with the library. */
function newEngine(json: object): Engine {
  const { Tokenizer: EngineClass } = loadPackage<{ Tokenizer: typeof Engine }>('@huggingface/tokenizers')
  return new EngineClass(json, {})
}

interface PostProcessor {
  type?: string
  single?: { SpecialToken?: { id: string } }[]
  cls?: [string, number]
  sep?: [string, number]
  processors?: PostProcessor[]
}

/** Special tokens around sequence A, from any of the post-processors that add some. */
function templateTokens(processor: PostProcessor | null): { leading: string[]; trailing: string[] } {
  const leading: string[] = []
  const trailing: string[] = []
  const { type, single = [], cls, sep, processors = [] } = processor ?? {}
  if (type === 'TemplateProcessing') {
    let before = true
    for (const { SpecialToken: special } of single) {
      if (special === undefined) before = false
      else (before ? leading : trailing).push(special.id)
    }
  } else if (type === 'BertProcessing' || type === 'RobertaProcessing') {
    leading.push(cls![0])
    trailing.push(sep![0])
  } else if (type === 'Sequence') {
    for (const inner of processors) {
      const tokens = templateTokens(inner)
      leading.unshift(...tokens.leading)
      trailing.push(...tokens.trailing)
    }
  }
  return { leading, trailing }
}

function canonicalTokenizer(json: Json): string {
  const model = json.model as Json
  // Old files spell a merge "a b", new ones ["a", "b"].
  const merges = Array.isArray(model.merges)
    ? model.merges.map((merge) => (typeof merge === 'string' ? merge.split(' ', 2) : merge))
    : undefined
  return canonicalJson({ ...json, truncation: null, padding: null, model: { ...model, merges } })
}

function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_, inner) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
      : inner,
  )
}

function readJson(file: string): Json {
  let text = ''
  let value: unknown
  try {
    text = readFileSync(file, 'utf8')
    value = JSON.parse(text)
  } catch (cause) {
    const reason = lfsHint(text) || (cause as Error).message
    throw new FormatError('ERR_FORMAT', `${file} is not readable JSON: ${reason}`, { file }, { cause })
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new FormatError('ERR_FORMAT', `${file} holds no JSON object.`, { file })
  }
  return value as Json
}

function optionalJson(file: string): Json {
  return existsSync(file) ? readJson(file) : {}
}
