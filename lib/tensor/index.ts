export type { DeviceMemory } from '../native.js'
export { Device, type Precision, precisions } from './device.js'
export {
  type Group,
  type GroupSettings,
  groupExitCode,
  type Pending,
  RankGroup,
  self,
} from './group.js'
export { startedByLauncher } from './launcher.js'
export * as raw from './ops.gen.js'
export * as ops from './ops.js'
export { Scope, scope } from './scope.js'
export { record, Tape, withoutTape } from './tape.js'
export { type DType, Segments, Tensor } from './tensor.js'
