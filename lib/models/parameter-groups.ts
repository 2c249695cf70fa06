import { types } from 'node:util'
import { ArgumentError } from '../errors.js'
import type { ParameterEntry, Parameters } from '../nn/index.js'
import { checkOptions, flag, type Kinds, kind, number } from '../options.js'

/** One group of `Colbert.parameterGroups`. */
export interface ParameterGroupOptions {
  /** Of AdamW, before the schedule's factor. */
  learningRate: number
  /** Weight decay of matrices; norms and biases never decay. Default 0. */
  weightDecay?: number
  /** Parameters of this group, by name. Default: all that no earlier group took. */
  match?: RegExp | ((name: string) => boolean)
  /** They neither change nor get gradients. Default false. */
  frozen?: boolean
}

/** An optimiser group, as AdamW takes it. */
export interface ModelParameterGroup {
  parameters: Parameters
  match: (entry: ParameterEntry) => boolean
  learningRate: number
  weightDecay: (entry: ParameterEntry) => number
}

const parameterGroupOptions: Kinds<ParameterGroupOptions> = {
  learningRate: number(0),
  weightDecay: number(0),
  match: kind('a regular expression or a function of the name', (v) => v instanceof RegExp || typeof v === 'function'),
  frozen: flag,
}

/** What `Colbert.parameterGroups` does, to the parameters of a model. */
export function parameterGroups(
  parameters: Parameters,
  options: readonly ParameterGroupOptions[],
): ModelParameterGroup[] {
  for (const group of options) checkOptions('parameterGroups', group, parameterGroupOptions)
  const owner = new Map<string, ParameterGroupOptions>()
  for (const { name } of parameters.entries) {
    const group = options.find(({ match }) => (types.isRegExp(match) ? match.test(name) : (match?.(name) ?? true)))
    if (group) owner.set(name, group)
  }
  for (const group of options)
    if (![...owner.values()].includes(group))
      throw new ArgumentError(
        'ERR_ARGUMENT',
        `parameterGroups: ${group.match ?? 'a group without match'} matches no parameter that an earlier group left; there are ` +
          `${parameters.entries
            .map(({ name }) => name)
            .slice(0, 3)
            .join(', ')} … (model.parameters.entries)`,
        { option: 'match' },
      )
  const isFrozen = (name: string) => owner.get(name)?.frozen ?? !owner.has(name)
  parameters.freeze(() => true, false)
  parameters.freeze(isFrozen)
  return options
    .filter((group) => !group.frozen)
    .map((group) => ({
      parameters,
      match: (entry) => owner.get(entry.name) === group,
      learningRate: group.learningRate,
      weightDecay: (entry) => (entry.shape.length >= 2 ? (group.weightDecay ?? 0) : 0),
    }))
}
