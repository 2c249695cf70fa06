import { createHash } from 'node:crypto'
import type { Tokenizer as Engine } from '@huggingface/tokenizers'
import { FormatError, LateforgeError } from '../../errors.js'
import { atOnce } from '../../turns.js'
import { type AddedTokenRecord, AddedTokens, checkedRecords, isSpace } from './added.js'
import { bertTokenizerJson } from './bert.js'
import { type Model, openModel, type PackedModel, packModel } from './model.js'
import { type Normalizer, normalizerOf } from './normalize.js'
import { huggingFace } from './package.js'
import { Cuts } from './pieces.js'
import { type Place, type Splitter, splitterOf } from './pretokenize.js'
import { saveTokenizer, tokenizerJson } from './save.js'
import { conventionalTokens, type PostProcessor, type SpecialName, specialNames, templateTokens } from './special.js'
import type { Vocabulary } from './vocabulary.js'

type Json = Record<string, unknown>
/** Words kept in the cache before it is emptied; a word's ids do not depend on its neighbours, so caching is exact. */
const CACHE_WORDS = 1 << 17
const CACHE_WORD_LENGTH = 64
/** UTF-16 units of text looked at for each id that is wanted. */
const UNITS_PER_ID = 8

/** A tokenizer without its large parts copied: what `Tokenizer.shared` gives and another thread takes. */
export interface SharedTokenizer {
  /** The tokenizer.json without its model. */
  json: Json
  model: PackedModel
  config: Json
}

/** Ids of a text as far as it was read, and where reading stands; `begins` for the splitter. */
interface Reading extends Place {
  ids: number[]
  limit: number
  /** Nothing of this section (all between two added tokens of raw text) was read before. */
  section: boolean
  /** The text goes on inside a word whose id is there. */
  inside: boolean
}

/**
 * A Hugging Face tokenizer (`tokenizer.json`) reduced to what retrieval needs: text to ids, without offsets. Vocabulary
 * and model are our own, in flat arrays that threads share; regular expressions of unusual files and decoding are left to
 * `@huggingface/tokenizers`.
 *
 * A text is read piece by piece until there are as many ids as are wanted. A piece ends at a border (`Cuts`), where the
 * ids of the parts are those of the whole. In a long stretch without one (a word of a million letters) it may end inside
 * a word: then only ids that are certain whatever follows are taken; if they are too few, the piece is read again at
 * twice the length.
 */
export class Tokenizer {
  /** Ids the post-processor puts before and after a text, e.g. [CLS] and [SEP]. */
  readonly leading: readonly number[]
  readonly trailing: readonly number[]
  private readonly json: Json
  private readonly config: Json
  private readonly packed: PackedModel
  private readonly model: Model
  private readonly vocabulary: Vocabulary
  private readonly normalizer: Normalizer
  private readonly splitter: Splitter
  private added!: AddedTokens
  private cuts!: Cuts
  private readonly cache = new Map<string, readonly number[]>()
  private hashText: string | undefined
  private decoder: Engine['decoder'] | undefined
  /** UTF-16 units of text that are looked at at a time. */
  private readonly piece = { least: 256, most: 4096 }

  private constructor({ json, model, config }: SharedTokenizer, source: string) {
    this.json = { ...json, added_tokens: [...((json.added_tokens ?? []) as AddedTokenRecord[])] }
    this.config = config
    this.packed = model
    try {
      const opened = openModel(model)
      this.model = opened.model
      this.vocabulary = opened.vocabulary
      this.normalizer = normalizerOf(json.normalizer)
      this.splitter = splitterOf(json.pre_tokenizer)
      this.json.added_tokens = checkedRecords(json.added_tokens, this.vocabulary)
      this.compile()
      const template = templateTokens((json.post_processor ?? null) as PostProcessor | null)
      this.leading = template.leading.map((token) => this.known(token))
      this.trailing = template.trailing.map((token) => this.known(token))
    } catch (cause) {
      throw notRunnable(source, cause)
    }
  }

  /**
   * Reads `tokenizer.json` and, where present, `tokenizer_config.json` and `special_tokens_map.json` of a folder. A large
   * vocabulary is read on a thread of its own, so the event loop stays free.
   * @throws FormatError `ERR_FORMAT` when the folder has no tokenizer.json or one of the files is damaged.
   */
  static async load(dir: string): Promise<Tokenizer> {
    const { readTokenizer } = await import('./load.js') // late, so that importing lateforge stays cheap
    const { file, ...parts } = await readTokenizer(dir)
    return new Tokenizer(parts, file)
  }

  /** A tokenizer from the content of a tokenizer.json (and of a tokenizer_config.json). */
  static fromJson(json: object, config: object = {}): Tokenizer {
    const { model, ...rest } = structuredClone(json) as Json
    let packed: PackedModel
    try {
      packed = packModel(model)
    } catch (cause) {
      throw notRunnable('tokenizer.json', cause)
    }
    return new Tokenizer({ json: rest, model: packed, config: structuredClone(config) as Json }, 'tokenizer.json')
  }

  /** A tokenizer of its own over what another one (perhaps of another thread) shares. */
  static fromShared(shared: SharedTokenizer): Tokenizer {
    return new Tokenizer(shared, 'tokenizer.json')
  }

  /**
   * An uncased BERT WordPiece tokenizer over a plain vocabulary; a token's index is its id. The vocabulary must hold
   * [PAD], [UNK], [CLS], [SEP] and [MASK].
   */
  static fromVocabulary(vocab: readonly string[]): Tokenizer {
    return Tokenizer.fromJson(bertTokenizerJson(vocab))
  }

  /**
   * Ids of a text without special tokens; text that spells an added token becomes that token, as in Hugging Face. The
   * work follows the ids that are wanted, not the text.
   * @param limit stop after so many ids (the first ids do not depend on what follows)
   */
  encode(text: string, limit = Number.POSITIVE_INFINITY): number[] {
    return atOnce(this.encodeInSteps(text, limit))
  }

  /**
   * `encode` that yields between small steps.
   * @param lower lower-cases the text first, as Python does
   */
  *encodeInSteps(text: string, limit: number, lower = false): Generator<void, number[]> {
    const reading: Reading = { ids: [], limit, first: true, begins: true, section: true, inside: false }
    const { ids } = reading
    const { least, most } = this.piece
    let at = 0
    let size = 0
    while (at < text.length && ids.length < limit) {
      size = Math.max(size, Math.min(most, Math.max(least, UNITS_PER_ID * (limit - ids.length))))
      const furthest = at + size
      const end = furthest >= text.length ? text.length : this.cuts.lastBorder(text, at, furthest)
      if (end > at) {
        yield* this.readPiece(prepared(text.slice(at, end), lower), reading, end === text.length)
        at = end
        size = 0
      } else {
        const word = yield* this.cuts.unknownWord(text, at, furthest)
        if (word !== null) {
          yield* this.readPiece(prepared(text.slice(at, word.stop), lower), reading, false)
          reading.inside = true
          at = word.resume
          size = 0
          continue
        }
        if (this.cuts.anywhere && limit !== Number.POSITIVE_INFINITY) {
          const certain = { ...reading, ids: [...ids] }
          const start = this.cuts.lastStart(text, at, furthest)
          const piece = text.slice(at, start)
          // Which small letter a capital sigma becomes depends on what follows.
          if (!(lower && piece.includes('Σ'))) yield* this.readOpen(prepared(piece, lower), certain)
          if (certain.ids.length >= limit) return certain.ids.slice(0, limit)
        }
        size *= 2
      }
      yield
    }
    if (ids.length > limit) ids.length = limit
    return ids
  }

  /** Text for people to read; special tokens are shown. */
  decode(ids: ArrayLike<number>): string {
    if (ids.length === 0) return ''
    const tokens = Array.from(ids, (id) => this.idToToken(id) ?? this.idToToken(this.unk ?? -1) ?? '')
    const suffix = this.packed.options.end_of_word_suffix as string | undefined
    this.decoder ??= decoderOf(this.json, suffix)
    const text = this.decoder === null ? tokens.join(' ') : this.decoder.decode(tokens)
    return this.decoder !== null && suffix ? text.replaceAll(suffix, ' ') : text
  }

  /** The token's id, of the model's vocabulary or added; undefined where it is neither (never the unknown id). */
  tokenToId(token: string): number | undefined {
    const id = this.added.idOf(token) ?? this.vocabulary.idOf(token)
    return id < 0 ? undefined : id
  }

  /** The token of an id, undefined for an id that is none. */
  idToToken(id: number): string | undefined {
    return this.added.contentOf(id) ?? this.vocabulary.token(id)
  }

  /** One more than the largest id: the rows an embedding table needs. */
  get vocabSize(): number {
    return Math.max(this.vocabulary.size, this.added.maxId + 1)
  }

  /** Id of the first token of every text ([CLS], or the beginning of text), undefined where there is none. */
  get cls(): number | undefined {
    return this.leading[0] ?? this.special('cls') ?? this.special('bos')
  }
  /** Id of the last token of every text ([SEP], or the end of text), undefined where there is none. */
  get sep(): number | undefined {
    return this.trailing.at(-1) ?? this.special('sep') ?? this.special('eos')
  }
  get pad(): number | undefined {
    return this.special('pad')
  }
  get unk(): number | undefined {
    return this.special('unk') ?? this.model.unk
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
      const known = this.vocabulary.idOf(content)
      const id = known < 0 ? next++ : known
      records.push({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: true, special: false })
      count++
    }
    if (count > 0) {
      records.sort((a, b) => a.id - b.id)
      this.compile()
    }
    return count
  }

  /** sha256 (hex) of what decides the ids: tokenizer.json in any order of keys, without truncation and padding settings. */
  get hash(): string {
    const { options, digest } = this.packed
    const decisive = { ...this.json, truncation: null, padding: null, model: options }
    this.hashText ??= createHash('sha256').update(canonicalJson(decisive)).update(digest).digest('hex')
    return this.hashText
  }

  /** tokenizer.json and tokenizer_config.json, for {@link Tokenizer.fromJson}. */
  toJson(): { json: object; config: object } {
    return { json: JSON.parse([...tokenizerJson(this.shared)].join('')) as object, config: this.config }
  }

  /** For {@link Tokenizer.fromShared}, here or on another thread; the vocabulary is not copied. */
  get shared(): SharedTokenizer {
    return { json: this.json, model: this.packed, config: this.config }
  }

  /** Writes tokenizer.json, tokenizer_config.json and special_tokens_map.json, which Hugging Face tokenizers load. */
  async save(dir: string): Promise<void> {
    const specials: Record<string, string> = {}
    for (const name of specialNames) {
      const id = this.special(name)
      if (id !== undefined) specials[`${name}_token`] = this.idToToken(id)!
    }
    await saveTokenizer(dir, this.shared, specials)
  }

  /** Ids of a piece that ends at a border of the text, or (`last`) with it. */
  private *readPiece(piece: string, reading: Reading, last: boolean): Generator<void, void> {
    const outer = this.added.splitRaw(piece)
    for (const [i, part] of outer.entries()) {
      if (typeof part === 'number') take(part, reading)
      else yield* this.readSection(part, reading, last || i + 1 < outer.length)
      if (reading.ids.length >= reading.limit) return
    }
  }

  /** Text of a section, up to its end or (not `ends`) to a border in it. */
  private *readSection(text: string, reading: Reading, ends: boolean): Generator<void, void> {
    const normalized = this.normalizer.apply(text, { begins: reading.section, ends })
    for (const part of this.added.splitNormalized(normalized)) {
      if (reading.ids.length >= reading.limit) return
      yield* this.readPart(part, reading)
    }
    reading.section = false
  }

  private *readPart(part: string | number, reading: Reading): Generator<void, void> {
    if (typeof part === 'number') {
      reading.ids.push(part)
      reading.begins = true
    } else {
      const words = this.splitter.split(part, reading)
      if (reading.inside) words.shift()
      yield* this.readWords(words, reading)
      reading.begins = false
      reading.inside = false
    }
    reading.first = false
  }

  private *readWords(words: readonly string[], reading: Reading): Generator<void, void> {
    const { ids, limit } = reading
    const { form } = this.splitter
    for (const word of words) {
      if (ids.length >= limit) return
      let known = this.cache.get(word)
      if (known === undefined) {
        if (word.length > CACHE_WORD_LENGTH) {
          yield* this.model.long(form ? form(word) : word, ids, limit, false)
          continue
        }
        known = this.model.short(form ? form(word) : word)
        if (this.cache.size >= CACHE_WORDS) this.cache.clear()
        this.cache.set(word, known)
      }
      for (const id of known) ids.push(id)
    }
  }

  /**
   * The ids of a piece that are certain, whatever the text goes on with. An added token may begin in the piece and end
   * after it, and take the blanks before it; what it could cover is left out.
   */
  private *readOpen(piece: string, reading: Reading): Generator<void, void> {
    const { longest } = this.added
    const outer = this.added.splitRaw(piece)
    const end = outer.pop()
    if (typeof end !== 'string' || end.length <= longest.raw) return
    for (const part of outer) {
      if (typeof part === 'number') take(part, reading)
      else yield* this.readSection(part, reading, true)
    }
    const sure = this.cuts.lastStart(end, 0, this.withoutBlanks(end, end.length - longest.raw))
    const normalized = this.normalizer.apply(end.slice(0, sure), { begins: reading.section, ends: false })
    const inner = this.added.splitNormalized(normalized)
    const open = inner.pop()
    if (typeof open !== 'string' || open.length <= longest.normalized) return
    for (const part of inner) yield* this.readPart(part, reading)
    const words = this.splitter.split(
      open.slice(0, this.withoutBlanks(open, open.length - longest.normalized)),
      reading,
    )
    if (reading.inside) words.shift()
    // Words that end before the tail are certain; of the next one all but its last character.
    const tail = this.splitter.tail!
    let next = ''
    for (let unsure = 0; words.length > 0 && unsure < tail; unsure += next.length) next = words.pop()!
    yield* this.readWords(words, reading)
    if (next.length <= tail || reading.ids.length >= reading.limit) return
    const begun = withoutLast(next)
    const { form } = this.splitter
    yield* this.model.long(form ? form(begun) : begun, reading.ids, reading.limit, true)
  }

  /** Where text(0, end] ends without the blanks that an added token could take. */
  private withoutBlanks(text: string, end: number): number {
    if (this.added.stripsBefore) while (end > 0 && isSpace(text[end - 1]!)) end--
    return end
  }

  private compile(): void {
    this.cache.clear()
    this.hashText = undefined
    const whole = { begins: true, ends: true }
    const records = this.json.added_tokens as AddedTokenRecord[]
    this.added = new AddedTokens(records, (text) => this.normalizer.apply(text, whole))
    this.cuts = new Cuts(this.normalizer, this.splitter, this.added, this.model)
  }

  private special(name: SpecialName): number | undefined {
    const named = this.config[`${name}_token`]
    const content = typeof named === 'object' && named !== null ? (named as { content?: unknown }).content : named
    if (typeof content === 'string') return this.tokenToId(content)
    // Without a config: the conventional spellings, only where they are special tokens of the file.
    for (const spelling of conventionalTokens[name]) {
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

/** An added token of raw text: a section ends before it, and one begins after it. */
function take(id: number, reading: Reading): void {
  reading.ids.push(id)
  reading.begins = true
  reading.section = true
  reading.first = false
}

function prepared(piece: string, lower: boolean): string {
  const wellFormed = /\p{Cs}/u.test(piece) ? piece.replace(/\p{Cs}/gu, '\ufffd') : piece
  return lower ? wellFormed.toLowerCase() : wellFormed
}

function withoutLast(word: string): string {
  const pair = word.codePointAt(word.length - 2)! > 0xffff
  return word.slice(0, pair ? -2 : -1)
}

function decoderOf({ decoder = null, added_tokens: tokens }: Json, suffix: string | undefined): Engine['decoder'] {
  const rest = { normalizer: null, pre_tokenizer: null, post_processor: null, model: { type: 'WordPiece', vocab: {} } }
  const { Tokenizer: EngineClass } = huggingFace()
  const engine = new EngineClass({ ...rest, decoder, added_tokens: tokens }, {})
  if (engine.decoder !== null) engine.decoder.end_of_word_suffix = suffix ?? null
  return engine.decoder
}

function notRunnable(source: string, cause: unknown): LateforgeError {
  if (cause instanceof LateforgeError && !(cause instanceof FormatError)) return cause
  if (cause instanceof FormatError && cause.message.startsWith(source)) return cause
  const reason = (cause as Error).message
  return new FormatError(
    'ERR_FORMAT',
    `${source} is not a tokenizer lateforge can run: ${reason}`,
    { source },
    { cause },
  )
}

function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_, inner) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
      : inner,
  )
}
