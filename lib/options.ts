import { ArgumentError, nearest } from './errors.js'

/**
 * Checks an options object: none is like an empty one, and an option nobody reads is a mistake, not a wish.
 * @throws ArgumentError ERR_ARGUMENT
 */
export function checkOptions<T extends object>(what: string, given: T | undefined, known: readonly (keyof T)[]): void {
  if (given === undefined) return
  if (typeof given !== 'object' || given === null || Array.isArray(given))
    throw new ArgumentError('ERR_ARGUMENT', `${what}: expected an object of options, got ${shown(given)}`)
  for (const key of Object.keys(given))
    if (!(known as readonly string[]).includes(key)) {
      const hint = nearest(key, known as readonly string[])
      throw new ArgumentError(
        'ERR_ARGUMENT',
        `${what} has no option "${key}"${hint ? `; did you mean "${hint}"?` : `, only ${known.join(', ')}`}`,
        { option: key },
      )
    }
}

/** A path that the file system takes. @throws ArgumentError ERR_ARGUMENT */
export function checkPath(what: string, path: unknown): asserts path is string {
  if (typeof path !== 'string' || path === '' || path.includes('\0'))
    throw new ArgumentError('ERR_ARGUMENT', `${what}: expected the name of a folder, got ${shown(path)}`)
}

function shown(value: unknown): string {
  return typeof value === 'string' ? JSON.stringify(value) : Array.isArray(value) ? 'an array' : String(value)
}
