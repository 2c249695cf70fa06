/** Models as ONNX, for those who run them elsewhere. */
export { exportOnnx, type OnnxOptions, type OnnxResult } from './export.js'
export type { OnnxPrecision } from './layers.js'
export { exportVespaApp, type VespaOptions } from './vespa-app.js'
export type { VespaCells } from './vespa-files.js'
