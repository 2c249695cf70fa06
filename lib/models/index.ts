export { Colbert, type CreateOptions, type GroupOptions, type LoadOptions, type ModelGroup } from './colbert.js'
export type { CreateConfig } from './create.js'
export type { EncodeOptions } from './encode.js'
