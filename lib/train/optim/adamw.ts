import { ArgumentError, CheckpointError } from '../../errors.js'
import { type ParameterEntry, Parameters } from '../../nn/parameters.js'
import { checkOptions, either, func, instance, type Kinds, kind, number, required } from '../../options.js'
import * as raw from '../../tensor/ops.gen.js'
import { ownedBy, scope } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'

/** Parameters that share an optimiser setting. Entries outside `match` are left to the other groups of the same store. */
export interface ParameterGroup {
  /** The flat buffers that hold them. */
  parameters: Parameters
  /** Which of them; default all. */
  match?: (entry: ParameterEntry) => boolean
  /** Before the schedule's factor. */
  learningRate: number
  /** Decoupled weight decay. Default 0. */
  weightDecay?: number | ((entry: ParameterEntry) => number)
}

/** Options of `AdamW`. */
export interface AdamWOptions {
  /** Decay of the two moments. Default [0.9, 0.999]. */
  betas?: [number, number]
  /** Added to the root of the second moment. Default 1e-8. */
  eps?: number
  /** Largest global gradient norm; 0 or absent: no clipping. */
  maxGradNorm?: number
}

const beta = (v: unknown) => typeof v === 'number' && v >= 0 && v < 1
const adamwOptions: Kinds<AdamWOptions> = {
  betas: kind('two numbers ≥ 0 and < 1', (v) => Array.isArray(v) && v.length === 2 && v.every(beta)),
  eps: number(0),
  maxGradNorm: number(0),
}
const parameterGroupOptions: Kinds<ParameterGroup> = {
  parameters: instance('a Parameters', () => Parameters),
  match: func,
  learningRate: number(0),
  weightDecay: either(number(0), func),
}

interface Store {
  parameters: Parameters
  m: Tensor
  v: Tensor
  /** Learning rate and decay of each entry, [entries, 2]. */
  rates: Tensor
}

/**
 * AdamW (Loshchilov & Hutter, "Decoupled weight decay regularization") with the arithmetic of torch.optim.AdamW, in one
 * launch over each flat buffer; global norm and clipping as torch.nn.utils.clip_grad_norm_. A non-finite norm leaves
 * every value and moment untouched, on the device, so nothing is lost before the host reads it.
 */
export class AdamW {
  private readonly stores: Store[] = []
  private readonly betas: [number, number]
  private readonly eps: number
  private readonly maxGradNorm: number
  private norm: Tensor | null = null
  private readonly owner = { name: 'an AdamW' }
  /** Steps taken: the count that the moments' bias is corrected by. `step` says what to do about one that was skipped. */
  stepCount = 0

  constructor(groups: readonly ParameterGroup[], options: AdamWOptions = {}) {
    checkOptions('AdamW', options, adamwOptions)
    for (const group of groups) {
      checkOptions('AdamW', group, parameterGroupOptions)
      for (const key of ['parameters', 'learningRate'] as const)
        required('AdamW', key, group[key], parameterGroupOptions[key])
    }
    this.betas = options.betas ?? [0.9, 0.999]
    this.eps = options.eps ?? 1e-8
    this.maxGradNorm = options.maxGradNorm ?? 0
    if (groups.length === 0) throw new ArgumentError('ERR_ARGUMENT', 'AdamW: no parameters were given')
    for (const parameters of new Set(groups.map((g) => g.parameters))) {
      const own = groups.filter((g) => g.parameters === parameters)
      const table = parameters.entries.flatMap((entry) => {
        const owners = own.filter((g) => g.match?.(entry) ?? true)
        if (owners.length > 1)
          throw new ArgumentError('ERR_ARGUMENT', `parameter ${entry.name} is in ${owners.length} groups`)
        const group = owners[0]
        if (!group) return [0, 0] // frozen
        const weightDecay =
          typeof group.weightDecay === 'function' ? group.weightDecay(entry) : (group.weightDecay ?? 0)
        for (const [key, value] of Object.entries({ learningRate: group.learningRate, weightDecay }))
          if (!(Number.isFinite(value) && value >= 0))
            throw new ArgumentError('ERR_ARGUMENT', `${key} of ${entry.name} is ${value}, expected a number ≥ 0`)
        return [group.learningRate, weightDecay]
      })
      this.stores.push(
        ownedBy(this.owner, () => {
          const { device, count } = parameters
          const [m, v] = [Tensor.empty(device, [count]), Tensor.empty(device, [count])]
          raw.zero(m)
          raw.zero(v)
          return { parameters, m, v, rates: Tensor.from(device, table, [parameters.entries.length, 2]) }
        }),
      )
    }
  }

  /**
   * One step from the accumulated gradients, which are zeroed afterwards. It counts in `stepCount` though the device may
   * skip it for a gradient that is not finite: the host learns of that only by reading the norm, and does not wait for it.
   * `train` ends at such a step. A loop of your own that goes on instead takes one off `stepCount` once it has read such a
   * norm, so that the bias correction counts only steps that the moments have seen.
   * @param options.scale factor on every learning rate (the schedule)
   * @returns the squared global gradient norm before clipping, [1]; it lives until the next step
   */
  step(options: { scale?: number } = {}): Tensor {
    checkOptions('AdamW.step', options, { scale: number(0) })
    const { scale = 1 } = options
    this.stepCount++
    this.norm?.dispose()
    const step = (): Tensor => {
      const norms = this.stores.map((s) => raw.sumSquares(s.parameters.gradients))
      const squared = norms.reduce((a, b) => raw.add(a, b))
      for (const { parameters, m, v, rates } of this.stores) {
        raw.adamw(parameters.values, parameters.gradients, m, v, squared, parameters.segments, rates, {
          scale,
          beta1: this.betas[0],
          beta2: this.betas[1],
          eps: this.eps,
          step: this.stepCount,
          clip: this.maxGradNorm,
        })
        parameters.refresh()
        parameters.updates++
        parameters.zeroGradients()
      }
      return squared
    }
    this.norm = ownedBy(this.owner, () => scope(step))
    return this.norm
  }

  /** The moments, by name, for a checkpoint. */
  state(): Map<string, Tensor> {
    return new Map(this.stores.flatMap((s, i) => [[`${i}.m`, s.m] as const, [`${i}.v`, s.v] as const]))
  }

  /** Restores what `state()` and `stepCount` were. */
  restore(state: ReadonlyMap<string, Float32Array | Float64Array>, stepCount: number): void {
    for (const [name, tensor] of this.state()) {
      const data = state.get(name)
      if (data?.length !== tensor.size)
        throw new CheckpointError(
          'ERR_CHECKPOINT',
          `optimiser state "${name}" has ${data?.length ?? 'no'} elements, this model needs ${tensor.size}`,
        )
      tensor.write(data)
    }
    this.stepCount = stepCount
  }

  /** Frees the moments; safe to call twice. */
  dispose(): void {
    this.norm?.dispose()
    for (const { m, v, rates } of this.stores) for (const t of [m, v, rates]) t.dispose()
  }

  /** As `dispose`. */
  [Symbol.dispose](): void {
    this.dispose()
  }
}
