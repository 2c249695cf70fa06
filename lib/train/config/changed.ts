import { resolveConfig } from './config.js'
import type { ResolvedPhase } from './types.js'

/** What a phase must have, or what is told of it otherwise. */
const others = ['name', 'loss', 'data', 'batch', 'steps', 'evaluate', 'checkpoint']

/** Settings of a phase that are no defaults, by name. */
export function changedSettings(phase: ResolvedPhase): Record<string, unknown> {
  const least = { name: 'a', loss: 'contrastive', data: 'a', batch: 1, learningRate: 1 }
  const { learningRate: _, ...defaults } = resolveConfig({ model: 'a', out: 'a', phases: [least] }).phases[0]!
  return Object.fromEntries(
    Object.entries(phase).filter(
      ([key, value]) =>
        value !== undefined &&
        !others.includes(key) &&
        JSON.stringify(value) !== JSON.stringify(defaults[key as keyof typeof defaults]),
    ),
  )
}
