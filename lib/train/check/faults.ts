/** What is wrong with a run, found before it does anything: all of it in one error. */
import { AbortedError, errorClasses, LateforgeError, typed } from '../../errors.js'
import { type ConfigIssue, locateIn } from '../config/origins.js'
import type { ResolvedRun } from '../config/types.js'

/** Something that `train` would refuse a run for. */
export interface Fault extends ConfigIssue {
  /** That of the error it would be alone. */
  code: string
  /** Machine-readable facts. */
  details?: Readonly<Record<string, unknown>>
}

export class Faults {
  readonly list: Fault[] = []
  private readonly config: ResolvedRun

  constructor(config: ResolvedRun) {
    this.config = config
  }

  /** @param key of the phase with index `phase`, or of the run */
  add(phase: number | null, key: string, code: string, message: string, details?: Fault['details']): void {
    const path = phase === null ? [key] : ['phases', phase, ...key.split('.')]
    const where = locateIn(this.config)(path)
    const name = phase === null ? key : `phases[${phase}].${key} (phase "${this.config.phases[phase]!.name}")`
    this.list.push({ path: name, code, message, ...(where && { where }), ...(details && { details }) })
  }

  /** Runs `fn`; its typed error becomes a fault and undefined its result. Aborts and errors of ours pass through. */
  async try<T>(
    phase: number | null,
    key: string | ((error: LateforgeError) => string),
    fn: () => T | Promise<T>,
  ): Promise<T | undefined> {
    try {
      return await fn()
    } catch (thrown) {
      const error = typed(thrown)
      if (!(error instanceof LateforgeError) || error instanceof AbortedError) throw error
      this.add(phase, typeof key === 'string' ? key : key(error), error.code, error.message, error.details)
      return undefined
    }
  }

  /** @throws LateforgeError of the class that all faults have, else ConfigError ERR_CONFIG; `details.issues` has them all */
  throwAny(): void {
    if (this.list.length > 0) throw faultsError(this.list)
  }
}

export function faultsError(faults: readonly Fault[]): LateforgeError {
  const code = faults.every((fault) => fault.code === faults[0]!.code) ? faults[0]!.code : 'ERR_CONFIG'
  const lines = faults.map(({ path, message, where }) => `${where ? `${where}: ` : ''}${path}: ${message}`)
  const head = faults.length > 1 ? [`${faults.length} faults; nothing was trained or written`] : []
  const only = faults.length === 1 ? faults[0]!.details : undefined
  return new errorClasses[code]!(code, [...head, ...lines].join('\n'), { ...only, issues: faults })
}
