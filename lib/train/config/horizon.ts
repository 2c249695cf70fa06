import { ConfigError } from '../../errors.js'
import type { ResolvedPhase } from './types.js'

/**
 * Steps over which the learning rate comes down, and of warm-up, in a phase of so many steps. A share of warm-up is one of
 * the horizon.
 * @throws ConfigError ERR_CONFIG when the phase has more steps than the horizon, or is over before the warm-up
 */
export function horizonOf(
  { warmup, scheduleSteps, name }: Pick<ResolvedPhase, 'warmup' | 'scheduleSteps' | 'name'>,
  steps: number,
): { horizon: number; warmupSteps: number } {
  const horizon = scheduleSteps ?? steps
  if (horizon < steps)
    throw new ConfigError(
      'ERR_CONFIG',
      `phase "${name}": scheduleSteps is ${horizon}, the phase has ${steps} steps: the learning rate would be 0 in those ` +
        'that are left. Take as many at least, or leave it out',
      { phase: name, scheduleSteps: horizon, steps },
    )
  const warmupSteps = warmup < 1 ? Math.round(warmup * horizon) : warmup
  if (warmupSteps > steps)
    throw new ConfigError(
      'ERR_CONFIG',
      `phase "${name}": the warm-up has ${warmupSteps} steps, the phase ${steps}: the learning rate would not get where it ` +
        'is set. Take fewer, or a share (as 0.05)',
      { phase: name, warmup: warmupSteps, steps },
    )
  return { horizon, warmupSteps }
}
