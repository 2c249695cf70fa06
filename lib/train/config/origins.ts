/** Where a value of a config comes from, for messages: `zero.yaml:14:5`, or undefined. */
export type Locate = (path: readonly (string | number)[], key?: string) => string | undefined

export interface ConfigIssue {
  /** As `phases[0].batch`. */
  path: string
  /** What is wrong, and what was expected. */
  message: string
  /** File, line and column, or the override; absent where the config is an object. */
  where?: string
  /** For an unknown key: the known one that is near. */
  suggestion?: string
}

const origins = new WeakMap<object, Locate>()

/** What is found out about a resolved config later can say where it was written. */
export function remember(config: object, locate: Locate): void {
  origins.set(config, locate)
}

export const locateIn = (config: unknown): Locate => origins.get(Object(config)) ?? (() => undefined)

/** What a config was made of: as it was given, and that with its preset. */
interface Layers {
  given: unknown
  merged: unknown
  preset: string | undefined
}

const layers = new WeakMap<object, Layers>()

/** So that it can be told where each value of a resolved config comes from; one that is resolved again keeps its layers. */
export function rememberLayers(config: object, made: Layers): void {
  layers.set(config, layers.get(Object(made.given)) ?? made)
}

/**
 * Of each value of a resolved config where it comes from: `zero.yaml:14:5`, `override "seed=7"`, `given` for a config from
 * TypeScript, `preset colbert-zero`, or `default`. Keys are dotted, as `phases[0].batch`.
 */
export function originsOf(config: object): Record<string, string> {
  const { given, merged, preset } = layers.get(config) ?? { given: config, merged: config, preset: undefined }
  const locate = locateIn(config)
  const origins: Record<string, string> = {}
  const visit = (value: unknown, path: readonly (string | number)[]): void => {
    const parts = partsOf(value, path)
    for (const [key, part] of parts) visit(part, [...path, key])
    if (parts.length > 0 || value === undefined) return
    const origin = holds(given, path)
      ? (locate(path) ?? 'given')
      : holds(merged, path) && preset !== undefined
        ? `preset ${preset}`
        : 'default'
    origins[dotted(path)] = origin
  }
  visit(config, [])
  return origins
}

/** The settings that a value is made of; none where it is one itself, as lists other than that of phases are. */
function partsOf(value: unknown, path: readonly (string | number)[]): [string | number, unknown][] {
  if (Array.isArray(value)) return path.join() === 'phases' ? [...value.entries()] : []
  return isPlain(value) ? Object.entries(value) : []
}

const isPlain = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype

/** Whether `config` says what is at `path`, by itself or by what stands for all of it, as a name does for `evaluate`. */
function holds(config: unknown, path: readonly (string | number)[]): boolean {
  let at: unknown = config
  for (const part of path) {
    if (typeof at !== 'object' || at === null || (Array.isArray(at) && typeof part === 'string'))
      return at !== undefined
    if (!Object.hasOwn(at, part)) return false
    at = (at as Record<string | number, unknown>)[part]
  }
  return at !== undefined
}

export const dotted = (path: readonly (string | number)[]): string =>
  path.map((part, i) => (typeof part === 'number' ? `[${part}]` : i ? `.${part}` : part)).join('')
