/**
 * Checks of arguments, ours and not zod's: they are loaded with lateforge, and loading zod, which checks configurations,
 * takes about as long as all of it.
 */
import { ArgumentError, didYouMean } from './errors.js'

/** What an option may be, and how a message calls that. `undefined` always passes: the option is then as if left out. */
export interface Kind {
  readonly expected: string
  is(value: unknown): boolean
}

export const kind = (expected: string, is: (value: unknown) => boolean): Kind => ({ expected, is })

/** A whole number from `least` to `most`. */
export function whole(least: number, most = Number.MAX_SAFE_INTEGER): Kind {
  const range = most === Number.MAX_SAFE_INTEGER ? `≥ ${least}` : `from ${least} to ${most}`
  return kind(
    `a whole number ${range}`,
    (v) => Number.isSafeInteger(v) && (v as number) >= least && (v as number) <= most,
  )
}

/** A finite number from `least` to `most`. */
export function number(least = Number.NEGATIVE_INFINITY, most = Number.POSITIVE_INFINITY): Kind {
  const range = [
    ...(least === Number.NEGATIVE_INFINITY ? [] : [`≥ ${least}`]),
    ...(most === Number.POSITIVE_INFINITY ? [] : [`≤ ${most}`]),
  ].join(' and ')
  const is = (v: unknown) => Number.isFinite(v) && (v as number) >= least && (v as number) <= most
  return kind(`a finite number ${range}`.trim(), is)
}

/** A finite number > `bound`, and < `below`. */
export function above(bound: number, below = Number.POSITIVE_INFINITY): Kind {
  const range = below === Number.POSITIVE_INFINITY ? `> ${bound}` : `> ${bound} and < ${below}`
  return kind(`a finite number ${range}`, (v) => Number.isFinite(v) && (v as number) > bound && (v as number) < below)
}

export function oneOf(...values: readonly string[]): Kind {
  return kind(values.map((v) => JSON.stringify(v)).join(' or '), (v) => values.includes(v as string))
}

export function either(...kinds: readonly Kind[]): Kind {
  return kind(kinds.map(({ expected }) => expected).join(', or '), (v) => kinds.some((k) => k.is(v)))
}

/** `type` is asked for when a value is looked at: a circle of imports may not have it before. */
export function instance(expected: string, type: () => { readonly prototype: object }): Kind {
  return kind(expected, (v) => v instanceof (type() as unknown as new () => object))
}

export function list(of: Kind): Kind {
  return kind(`an array, each ${of.expected}`, (v) => Array.isArray(v) && v.every((entry) => of.is(entry)))
}

export const seed = whole(0)
export const flag = kind('true or false', (v) => typeof v === 'boolean')
export const text = kind('a text that is not empty', (v) => typeof v === 'string' && v !== '')
export const strings = list(kind('a text', (v) => typeof v === 'string'))
export const func = kind('a function', (v) => typeof v === 'function')
export const object = kind('an object', (v) => typeof v === 'object' && v !== null && !Array.isArray(v))
export const numbers = kind(
  'an array of numbers',
  (v) =>
    typeof (v as ArrayLike<number> | null)?.length === 'number' &&
    typeof v === 'object' &&
    Array.prototype.every.call(v, (entry: unknown) => typeof entry === 'number'),
)
export const signal = kind(
  'an AbortSignal',
  (v) => typeof v === 'object' && v !== null && typeof (v as AbortSignal).aborted === 'boolean',
)
/** Of distributed/group.ts: `singleProcess` and RankGroup are some. */
export const processGroup = kind(
  'a process group',
  (v) =>
    object.is(v) && Number.isInteger((v as { rank: unknown }).rank) && Number.isInteger((v as { size: unknown }).size),
)

/** Each option of `T` with what it may be. */
export type Kinds<T> = { readonly [K in keyof T]-?: Kind }

/**
 * Checks an options object: none is like an empty one, an option nobody reads is a mistake, not a wish, and so is a value
 * that an option cannot have.
 * @throws ArgumentError ERR_ARGUMENT
 */
export function checkOptions<T extends object>(what: string, given: T | undefined, known: Kinds<T>): void {
  if (given === undefined) return
  if (!object.is(given))
    throw new ArgumentError('ERR_ARGUMENT', `${what}: expected an object of options, got ${shown(given)}`)
  for (const [key, value] of Object.entries(given)) {
    if (!Object.hasOwn(known, key)) {
      throw new ArgumentError(
        'ERR_ARGUMENT',
        `${what} has no option "${key}"; ${didYouMean(key, Object.keys(known))}`,
        { option: key },
      )
    }
    checkValue(what, key, value, known[key as keyof T])
  }
}

/** @throws ArgumentError ERR_ARGUMENT for a value that an option or argument cannot have */
export function checkValue(what: string, name: string, value: unknown, allowed: Kind): void {
  if (value !== undefined && !allowed.is(value))
    throw new ArgumentError('ERR_ARGUMENT', `${what}: ${name} is ${shown(value)}, expected ${allowed.expected}`, {
      option: name,
    })
}

/** The same for one that must be there. */
export function required(what: string, name: string, value: unknown, allowed: Kind): void {
  if (value === undefined)
    throw new ArgumentError('ERR_ARGUMENT', `${what} needs ${name}, ${allowed.expected}`, { option: name })
  checkValue(what, name, value, allowed)
}

/** A path that the file system takes. @throws ArgumentError ERR_ARGUMENT */
export function checkPath(what: string, path: unknown): asserts path is string {
  if (typeof path !== 'string' || path === '' || path.includes('\0'))
    throw new ArgumentError('ERR_ARGUMENT', `${what}: expected the name of a folder, got ${shown(path)}`)
}

function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 57)}…` : value)
  if (Array.isArray(value)) return 'an array'
  if (typeof value === 'function') return 'a function'
  return typeof value === 'object' && value !== null ? Object.prototype.toString.call(value) : String(value)
}
