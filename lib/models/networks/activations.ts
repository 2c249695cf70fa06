import type { JsonReader } from '../../io/json-reader.js'
import type { ActivationName } from '../../tensor/ops.js'

/** Hugging Face's names of activations. */
const hfActivations: Readonly<Record<string, ActivationName>> = {
  gelu: 'gelu',
  gelu_python: 'gelu',
  gelu_new: 'geluTanh',
  gelu_fast: 'geluTanh',
  gelu_pytorch_tanh: 'geluTanh',
  relu: 'relu',
  tanh: 'tanh',
  sigmoid: 'sigmoid',
  silu: 'silu',
  swish: 'silu',
}

/** @throws FormatError `ERR_FORMAT` for an activation that lateforge does not have */
export function activationOf(config: JsonReader, key: string): ActivationName {
  const value = config.text(key, 'gelu')
  const known = Object.hasOwn(hfActivations, value) ? hfActivations[value] : undefined
  if (!known) throw config.bad(key, value, `one of ${Object.keys(hfActivations).join(', ')}`)
  return known
}
