export {
  Colbert,
  type CreateOptions,
  type LoadOptions,
  type ModelParameterGroup,
  type ParameterGroupOptions,
} from './colbert.js'
export type { CreateConfig } from './create.js'
export type { EncodeOptions } from './encode.js'
