import { DeviceError } from '../errors.js'
import { backendPath, type DeviceMemory, native } from '../native.js'
import { type DType, dtypes } from './tensor.js'

/** Backends in libraries of their own, beside the addon. */
const libraries: Record<string, string> = { 'cpu-f64': 'lateforge_f64', 'cuda-host': 'lateforge_cuda_host' }

/** An in-order stream of ops in this environment (worker threads have their own). */
export class Device {
  readonly id: number
  readonly name: string
  /** The type of parameters and activations: float32 on the CPU, float64 on the reference backend. */
  readonly real: DType

  private constructor(id: number, name: string, real: DType) {
    this.id = id
    this.name = name
    this.real = real
  }

  private static readonly opened = new Map<string, Device>()

  /**
   * Opens `cpu`; or, for tests and slow, `cpu-f64`, the float64 reference backend, or `cuda-host`, the CUDA kernels run
   * on the host. The same device is returned every time.
   * @throws DeviceError ERR_DEVICE when it is not there: nothing ever falls back to another device in silence
   */
  static open(name: string = 'cpu'): Device {
    let device = Device.opened.get(name)
    if (device) return device
    const library = Object.hasOwn(libraries, name) ? libraries[name] : undefined
    if (name !== 'cpu' && !library)
      throw new DeviceError(
        'ERR_DEVICE',
        `device "${name}" is not available; this build has: ${['cpu', ...Object.keys(libraries)].join(', ')}`,
        { name },
      )
    const path = library ? backendPath(library) : ''
    const opened = native().openDevice(path, 0)
    device = new Device(opened.id, opened.name, dtypes[opened.real]!)
    Device.opened.set(name, device)
    return device
  }

  /** Settles when everything issued so far has run; rejects with the stream's first error. */
  event(): Promise<void> {
    return native().event(this.id)
  }

  /** Like `event`, and clears the error afterwards, so that the stream can be used again. */
  synchronize(): Promise<void> {
    return native().synchronize(this.id)
  }

  memory(): DeviceMemory {
    return native().memory(this.id)
  }

  resetPeak(): void {
    native().resetPeak(this.id)
  }

  setMemoryLimit(bytes: number): void {
    native().setMemoryLimit(this.id, bytes)
  }
}
