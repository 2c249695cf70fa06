export { type StepKey, sequenceSeed } from '../io/random.js'
export { constant, type Initializer, normal, uniform } from './initializers.js'
export { layerNorm, linear, type Packed, runLayer, type Training } from './layers.js'
export { type Int8Rows, type Int8Weights, type ParameterEntry, type ParameterShape, Parameters } from './parameters.js'
