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
