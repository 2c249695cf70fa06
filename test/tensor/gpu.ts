/** The GPU of this machine, for the tests that run there too. */
import { LateforgeError } from '../../lib/errors.js'
import { Device } from '../../lib/tensor/index.js'

/** The first GPU, or why there is none. */
export function gpu(): { device: Device; reason?: never } | { device?: never; reason: string } {
  try {
    return { device: Device.open('cuda') }
  } catch (error) {
    if (error instanceof LateforgeError && error.code === 'ERR_DEVICE') return { reason: error.message }
    throw error
  }
}

/** What runs the CUDA kernels here: the host emulation, and the GPU where there is one. */
export function cudaDevices(): Device[] {
  const { device } = gpu()
  return [Device.open('cuda-host'), ...(device ? [device] : [])]
}
