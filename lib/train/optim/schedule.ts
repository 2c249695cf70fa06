import { ArgumentError } from '../../errors.js'

/** Names of schedules. */
export const schedules = ['linear', 'cosine', 'constant'] as const
/** Names of schedules. */
export type ScheduleName = (typeof schedules)[number]

/** Factor on the learning rate at `step` (from 0) of `steps`: a linear warm-up, then a straight line to 0. */
export function linear(step: number, steps: number, warmup = 0): number {
  return warm(step, steps, warmup) ?? Math.max(0, (steps - step) / Math.max(1, steps - warmup))
}

/** A linear warm-up, then half a cosine down to 0. */
export function cosine(step: number, steps: number, warmup = 0): number {
  return warm(step, steps, warmup) ?? 0.5 * (1 + Math.cos((Math.PI * (step - warmup)) / Math.max(1, steps - warmup)))
}

/** A linear warm-up, then 1. */
export function constant(step: number, steps: number, warmup = 0): number {
  return warm(step, steps, warmup) ?? 1
}

/**
 * The schedule of that name at `step` of `steps`. @throws ArgumentError ERR_ARGUMENT for an unknown name or a step
 * beyond `steps`
 */
export function schedule(name: ScheduleName, step: number, steps: number, warmup = 0): number {
  if (!schedules.includes(name))
    throw new ArgumentError('ERR_ARGUMENT', `schedule is "${name}", expected one of ${schedules.join(', ')}`)
  return { linear, cosine, constant }[name](step, steps, warmup)
}

function warm(step: number, steps: number, warmup: number): number | undefined {
  if (!(step >= 0 && steps >= 0 && warmup >= 0 && warmup <= steps))
    throw new ArgumentError('ERR_ARGUMENT', `step ${step} of ${steps} with ${warmup} warm-up steps makes no sense`)
  return step < warmup ? (step + 1) / (warmup + 1) : undefined
}
