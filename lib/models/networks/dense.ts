import { didYouMean, FormatError } from '../../errors.js'
import { type Json, JsonReader } from '../../io/json-reader.js'
import type { ParameterShape, Parameters } from '../../nn/index.js'
import { linear } from '../../nn/index.js'
import { type Initializer, uniform } from '../../nn/initializers.js'
import { type ActivationName, activation, add } from '../../tensor/ops.js'
import type { Tensor } from '../../tensor/tensor.js'

/** One layer of the head: act(x · Wᵀ + b) + (x or x · Rᵀ), as PyLate's `models/Dense.py`. */
export interface DenseConfig {
  in: number
  out: number
  bias: boolean
  activation: ActivationName | 'identity'
  /** Adds the input, through a matrix of its own where in ≠ out. */
  residual: boolean
}

/** A layer of a head to be made; its input is what comes before it. */
export interface HeadLayerConfig {
  /** Dimensions it gives, a multiple of 8. */
  out: number
  /** Default false. */
  bias?: boolean
  /** Default `identity`. */
  activation?: 'identity' | 'gelu' | 'relu' | 'tanh' | 'sigmoid' | 'silu'
  /** Adds its input to its output, through a matrix of its own where the dimensions differ. Default false. */
  residual?: boolean
}

/** The layers of a new head on an encoder of that width. */
export function headOf(width: number, layers: readonly HeadLayerConfig[]): DenseConfig[] {
  let current = width
  return layers.map(({ out, bias = false, activation = 'identity', residual = false }) => {
    const layer = { in: current, out, bias, activation, residual }
    current = out
    return layer
  })
}

const torchActivations: Readonly<Record<string, DenseConfig['activation']>> = {
  'torch.nn.modules.linear.Identity': 'identity',
  'torch.nn.modules.activation.GELU': 'gelu',
  'torch.nn.modules.activation.ReLU': 'relu',
  'torch.nn.modules.activation.Tanh': 'tanh',
  'torch.nn.modules.activation.Sigmoid': 'sigmoid',
  'torch.nn.modules.activation.SiLU': 'silu',
}

/**
 * A layer's config.json.
 * @param others keys that are read elsewhere
 * @param activation of a file that names none
 * @throws FormatError ERR_FORMAT for an activation we do not have, and for a key that nothing reads
 */
export function denseConfigOf(json: Json, file: string, others: readonly string[], activation: string): DenseConfig {
  const f = new JsonReader(json, file)
  f.allow(['in_features', 'out_features', 'bias', 'activation_function', 'use_residual', ...others])
  const name = f.text('activation_function', activation)
  const known = torchActivations[name]
  if (!known) throw f.bad('activation_function', name, `one of ${Object.keys(torchActivations).join(', ')}`)
  return {
    in: f.count('in_features'),
    out: f.count('out_features'),
    bias: f.flag('bias', true),
    activation: known,
    residual: f.flag('use_residual', false),
  }
}

/** Its config.json in PyLate's layout. */
export function denseJsonOf(c: DenseConfig): Json {
  const name = Object.keys(torchActivations).find((key) => torchActivations[key] === c.activation)
  if (!name) throw new FormatError('ERR_FORMAT', `a projection with ${c.activation} has no name in PyLate's layout`)
  return {
    in_features: c.in,
    out_features: c.out,
    bias: c.bias,
    activation_function: name,
    use_residual: c.residual,
  }
}

/** Parameters of layer number `index` of the head, named after its folder: `1_Dense.linear.weight` is the first. */
export function denseParameters(c: DenseConfig, index: number): ParameterShape[] {
  const folder = denseFolder(index)
  const list: ParameterShape[] = [{ name: `${folder}.linear.weight`, shape: [c.out, c.in] }]
  if (c.bias) list.push({ name: `${folder}.linear.bias`, shape: [c.out] })
  if (c.residual && c.in !== c.out) list.push({ name: `${folder}.residual.weight`, shape: [c.out, c.in] })
  return list
}

export const denseFolder = (index: number): string => `${index + 1}_Dense`

/** torch.nn.Linear's default: uniform in ± in^-½, weights and bias alike. */
export const denseInitializer = (c: DenseConfig): Initializer => uniform(1 / Math.sqrt(c.in))

/** The head's layers applied to token rows x [T, in] → [T, out]. */
export function dense(params: Parameters, configs: readonly DenseConfig[], x: Tensor): Tensor {
  let current = x
  for (const [index, c] of configs.entries()) {
    const folder = denseFolder(index)
    const straight = linear(params, `${folder}.linear`, current)
    const activated = c.activation === 'identity' ? straight : activation(straight, c.activation)
    const residual = () => (c.in === c.out ? current : linear(params, `${folder}.residual`, current))
    current = c.residual ? add(activated, residual()) : activated
  }
  return current
}

/** What is wrong with layers to be made, or null. */
export function headProblem(layers: unknown): string | null {
  if (!Array.isArray(layers) || layers.length === 0)
    return 'head is no list of layers; expected [{ out: 1536, residual: true }, { out: 128 }] or the like'
  const activations = Object.values(torchActivations)
  for (const [i, layer] of layers.entries()) {
    const at = `head[${i}]`
    if (typeof layer !== 'object' || layer === null)
      return `${at} is ${String(layer)}, expected { out: 128 } or the like`
    const { out, bias = false, activation = 'identity', residual = false, ...others } = layer as HeadLayerConfig
    const [odd] = Object.keys(others)
    if (odd !== undefined) return `${at} has no "${odd}"; ${didYouMean(odd, ['out', 'bias', 'activation', 'residual'])}`
    if (!Number.isSafeInteger(out) || out < 8 || out % 8 !== 0) return `${at}.out is ${out}, expected a multiple of 8`
    for (const [key, value] of Object.entries({ bias, residual }))
      if (typeof value !== 'boolean') return `${at}.${key} is ${String(value)}, expected true or false`
    if (!activations.includes(activation))
      return `${at}.activation is "${String(activation)}"; ${didYouMean(String(activation), activations)}`
  }
  return null
}

/** @throws FormatError ERR_FORMAT when neighbouring layers of the head do not fit */
export function checkChain(configs: readonly DenseConfig[], width: number, where: string): void {
  let current = width
  for (const [index, c] of configs.entries()) {
    if (c.in !== current)
      throw new FormatError(
        'ERR_FORMAT',
        `${where}: ${denseFolder(index)} takes ${c.in} features, but what comes before it gives ${current}`,
        { index, in: c.in, before: current },
      )
    current = c.out
  }
}
