/** Tensors of a safetensors file as an index reads them: checked, and mapped. */
import { FormatError } from '../errors.js'
import type { SafetensorsFile, StoredTensor, StoredType } from '../io/safetensors.js'
import type { Device } from '../tensor/device.js'
import { type DType, Tensor } from '../tensor/tensor.js'

const stored = {
  ...{ int8: 'I8', uint8: 'U8', int32: 'I32', float16: 'F16', float32: 'F32', float64: 'F64' },
} as const satisfies Partial<Record<DType, StoredType>>
type Mapped = keyof typeof stored

/** @throws FormatError ERR_FORMAT for a tensor of another type or shape, or none */
export function expectTensor(
  file: SafetensorsFile,
  name: string,
  type: Mapped,
  shape: readonly number[],
): StoredTensor {
  const found = file.tensor(name)
  if (found.dtype === stored[type] && String(shape) === String(found.shape)) return found
  throw new FormatError(
    'ERR_FORMAT',
    `${file.path}: "${name}" is ${found.dtype} [${found.shape}], expected ${stored[type]} [${shape}]`,
    { file: file.path },
  )
}

/** Errors as `expectTensor`. */
export const mapTensor = (
  device: Device,
  file: SafetensorsFile,
  name: string,
  type: Mapped,
  shape: readonly number[],
): Tensor => Tensor.map(device, file.path, expectTensor(file, name, type, shape).start, shape, type)
