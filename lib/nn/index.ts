export {
  constant,
  hashName,
  type Initializer,
  normal,
  philox,
  type StepKey,
  sequenceSeed,
  uniform,
} from './initializers.js'
export { layerNorm, linear, type Packed, runLayer, type Training } from './layers.js'
export { type ParameterEntry, type ParameterShape, Parameters } from './parameters.js'
