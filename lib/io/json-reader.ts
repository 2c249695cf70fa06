/** Ours and not zod: it is loaded with lateforge (see options.ts), and every complaint names the file. */
import { AsyncLocalStorage } from 'node:async_hooks'
import { didYouMean, FormatError } from '../errors.js'

export type Json = Record<string, unknown>

/** Fields of a settings file: those that something asked for, and those that nothing did. */
export interface FieldsRead {
  /** The file; of nested objects with their key behind it. */
  file: string
  read: string[]
  unread: string[]
}

const watched = new AsyncLocalStorage<Map<string, { fields: Set<string>; read: Set<string> }>>()

/** Does the work, and says which fields of the settings files that it opens it asks for. */
export async function watchingFields<T>(work: () => Promise<T>): Promise<{ result: T; fields: FieldsRead[] }> {
  const files: NonNullable<ReturnType<typeof watched.getStore>> = new Map()
  const result = await watched.run(files, work)
  const fields = [...files].map(([file, { fields, read }]) => ({
    file,
    read: [...fields].filter((key) => read.has(key)),
    unread: [...fields].filter((key) => !read.has(key)),
  }))
  return { result, fields }
}

/** Reads typed fields of a JSON object; every complaint names the file and the key. */
export class JsonReader {
  /** The object as it is. */
  readonly all: Json
  readonly file: string
  /** Fields that were asked for, where somebody wants to know. */
  private readonly asked: Set<string> | undefined

  constructor(json: Json, file: string) {
    this.all = json
    this.file = file
    const files = watched.getStore()
    if (!files) return
    const known = files.get(file) ?? { fields: new Set(), read: new Set() }
    for (const key of Object.keys(json)) known.fields.add(key)
    files.set(file, known)
    this.asked = known.read
  }

  has(key: string): boolean {
    this.asked?.add(key)
    return this.all[key] !== undefined && this.all[key] !== null
  }

  isNull(key: string): boolean {
    this.asked?.add(key)
    return this.all[key] === null
  }

  /** A whole number ≥ `least`, and ≤ `most` where that is given. */
  count(key: string, fallback?: number, least = 1, most = Number.MAX_SAFE_INTEGER): number {
    const value = this.value(key, fallback)
    if (!Number.isSafeInteger(value) || (value as number) < least || (value as number) > most) {
      const range = most === Number.MAX_SAFE_INTEGER ? `≥ ${least}` : `from ${least} to ${most}`
      throw this.bad(key, value, `a whole number ${range}`)
    }
    return value as number
  }

  /** A finite number in [low, high). */
  real(key: string, fallback: number, low = 0, high = Number.POSITIVE_INFINITY): number {
    const value = this.value(key, fallback)
    if (typeof value !== 'number' || !(value >= low && value < high))
      throw this.bad(key, value, `a number in [${low}, ${high})`)
    return value
  }

  flag(key: string, fallback: boolean): boolean {
    const value = this.value(key, fallback)
    if (typeof value !== 'boolean') throw this.bad(key, value, 'true or false')
    return value
  }

  text(key: string, fallback: string): string {
    const value = this.value(key, fallback)
    if (typeof value !== 'string') throw this.bad(key, value, 'a string')
    return value
  }

  texts(key: string, fallback: readonly string[]): string[] {
    const value = this.value(key, fallback)
    if (!Array.isArray(value) || value.some((word) => typeof word !== 'string'))
      throw this.bad(key, value, 'an array of strings')
    return [...value]
  }

  isText(key: string): boolean {
    this.asked?.add(key)
    return typeof this.all[key] === 'string'
  }

  /** Whole numbers ≥ 0. */
  counts(key: string, fallback: readonly number[]): number[] {
    const value = this.value(key, fallback)
    if (!Array.isArray(value) || value.some((count) => !Number.isSafeInteger(count) || count < 0))
      throw this.bad(key, value, 'an array of whole numbers ≥ 0')
    return [...value]
  }

  /** A nested object; empty when absent. */
  object(key: string): JsonReader {
    const value = this.value(key, {})
    if (typeof value !== 'object' || Array.isArray(value)) throw this.bad(key, value, 'an object')
    return new JsonReader(value as Json, `${this.file}, ${key}`)
  }

  /** A list of objects; empty when absent. */
  objects(key: string): Json[] {
    const value = this.value(key, [])
    if (!Array.isArray(value) || value.some((item) => typeof item !== 'object' || item === null))
      throw this.bad(key, value, 'a list of objects')
    return value
  }

  /** @throws FormatError ERR_FORMAT for a key that is none of these: nothing would read it */
  allow(keys: readonly string[]): void {
    for (const [key, value] of Object.entries(this.all))
      if (!keys.includes(key))
        throw new FormatError(
          'ERR_FORMAT',
          `${this.file}: "${key}" is ${JSON.stringify(value)}, which lateforge does not know and so cannot honour; ${didYouMean(key, keys)}`,
          { file: this.file, key, value },
        )
  }

  bad(key: string, value: unknown, expected: string): FormatError {
    return new FormatError('ERR_FORMAT', `${this.file}: "${key}" is ${JSON.stringify(value)}, expected ${expected}`, {
      file: this.file,
      key,
      value,
    })
  }

  private value(key: string, fallback?: unknown): unknown {
    this.asked?.add(key)
    const value = this.all[key] ?? fallback
    if (value === undefined)
      throw new FormatError('ERR_FORMAT', `${this.file} has no "${key}"`, { file: this.file, key })
    return value
  }
}
