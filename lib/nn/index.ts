export { sequenceSeed } from '../io/random.js'
export { constant, type Initializer, normal, uniform } from './initializers.js'
export { advance, layerNorm, linear, type Packed, type Training } from './layers.js'
export { type ParameterEntry, type ParameterShape, Parameters } from './parameters.js'
