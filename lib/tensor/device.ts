import { existsSync } from 'node:fs'
import { backendPath, cudaLibrary } from '../backends.js'
import { ArgumentError, DeviceError, UnsupportedError } from '../errors.js'
import { type DeviceMemory, native, type TracedOp } from '../native.js'
import { kind } from '../options.js'
import { type DType, dtypes } from './tensor.js'

/** Backends in libraries of their own, beside the addon; CUDA's may be in a package. */
const libraries: Record<string, string> = {
  cuda: 'lateforge_cuda',
  'cpu-f64': 'lateforge_f64',
  'cuda-host': 'lateforge_cuda_host',
}

/** The library of a kind of device; '' for the CPU, which is in the addon. */
function libraryOf(kind: string): string {
  if (kind === 'cpu') return ''
  if (kind === 'cuda') return cudaLibrary().path
  const path = backendPath(libraries[kind]!)
  if (existsSync(path)) return path
  throw new DeviceError(
    'ERR_DEVICE',
    `device "${kind}", which tests use, is not in this build: ${path} does not exist. A source checkout has it: npm test`,
    { name: kind, path },
  )
}

/**
 * What a model computes with. `float32`: the device's real type throughout. `bfloat16`: parameters are multiplied and
 * activations stored as bfloat16, sums are float32, and so are the parameters that the optimiser changes, its moments,
 * all gradients of parameters, scores and losses; token embeddings are float16. Files are the same.
 */
export const precisions = ['float32', 'bfloat16'] as const
/** What a model computes with: float32, or bfloat16 with float32 sums, parameters and residuals. */
export type Precision = (typeof precisions)[number]

/** bfloat16 on GPUs, whose tensor cores are made for it, and in their emulation on the host; float32 elsewhere. */
export function defaultPrecision(deviceName: string): Precision {
  return deviceName.startsWith('cuda') ? 'bfloat16' : 'float32'
}

/** What launchers call a process's rank among those of its machine: Open MPI, MPICH and Intel, Slurm. */
const localRanks = ['OMPI_COMM_WORLD_LOCAL_RANK', 'MPI_LOCALRANKID', 'SLURM_LOCALID']

/**
 * The GPU that `cuda` means to this process, of so many that it sees: the one of its rank among those of its machine.
 * Where a launcher shows every rank one GPU of its own, that is the first; without a launcher too.
 */
export function gpuOfRank(gpus: number, env: NodeJS.ProcessEnv = process.env): number {
  const rank = localRanks.map((name) => env[name]).find((text) => text !== undefined && /^\d{1,6}$/.test(text))
  return rank === undefined ? 0 : Number(rank) % Math.max(gpus, 1)
}

/** What options take for a device: its name, as `Device.open` takes it, or the device itself. */
export const deviceOption = kind(
  'the name of a device, as "cpu", "cuda" or "cuda:1"',
  (v) => (typeof v === 'string' && v !== '') || v instanceof Device,
)

/** An in-order stream of ops in this environment (worker threads have their own). */
export class Device {
  /** Number in the native runtime. */
  readonly id: number
  /** As `open` takes it. */
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
   * Opens `cpu`; `cuda`, the first GPU, or with several ranks on this machine the one of this rank; `cuda:1`, a GPU by its
   * number; or, for tests and slow, `cpu-f64`, the float64 reference backend, or `cuda-host`, the CUDA kernels run on the
   * host. The same device is returned every time.
   * @throws DeviceError ERR_DEVICE when it is not there, saying why: nothing ever falls back to another device in silence
   */
  static open(name: string = 'cpu'): Device {
    const [, kind = name, named] = /^(cuda):(0|[1-9]\d{0,3})$/.exec(name) ?? []
    if (kind !== 'cpu' && !Object.hasOwn(libraries, kind))
      throw new DeviceError(
        'ERR_DEVICE',
        `device "${name}" is unknown; there are: ${['cpu', ...Object.keys(libraries), 'cuda:1 …'].join(', ')}`,
        { name },
      )
    const library = libraryOf(kind)
    const number = Number(named ?? (kind === 'cuda' ? gpuOfRank(native().deviceCount(library)) : 0))
    const key = `${kind}:${number}`
    let device = Device.opened.get(key)
    if (device) return device
    const opened = native().openDevice(library, number)
    device = new Device(opened.id, number > 0 ? key : opened.name, dtypes[opened.real]!)
    Device.opened.set(key, device)
    return device
  }

  /** The device of an option: opened by its name, or the one given. Default `cpu`. @throws as `open` */
  static of(device: string | Device = 'cpu'): Device {
    return typeof device === 'string' ? Device.open(device) : device
  }

  /**
   * The type of parameters and activations at a precision.
   * @throws ArgumentError ERR_ARGUMENT for an unknown one; UnsupportedError ERR_UNSUPPORTED where there is no such
   */
  typeOf(precision: Precision = defaultPrecision(this.name)): DType {
    if (!precisions.includes(precision))
      throw new ArgumentError('ERR_ARGUMENT', `precision is "${precision}", expected ${precisions.join(' or ')}`)
    if (precision === 'float32') return this.real
    if (defaultPrecision(this.name) === 'bfloat16') return 'bfloat16'
    throw new UnsupportedError(
      'ERR_UNSUPPORTED',
      `device "${this.name}" has no kernels for bfloat16, only GPUs do. On a CPU with AVX512-BF16, LATEFORGE_MATMUL=bfloat16 and ` +
        "setCpu({ matmul: 'bfloat16' }) round what matrix products multiply",
      { device: this.name, precision },
    )
  }

  /** Settles when everything issued so far has run; rejects with the stream's first error. */
  event(): Promise<void> {
    return native().event(this.id)
  }

  /** Like `event`, and clears the error afterwards, so that the stream can be used again. */
  synchronize(): Promise<void> {
    return native().synchronize(this.id)
  }

  /**
   * Milliseconds of the device's own clock since it was last called, both in stream order (0 for the first one); null where
   * the device has no clock but the caller's.
   */
  elapsed(): Promise<number> | null {
    return (
      native()
        .elapsed(this.id)
        ?.then(([time]) => time!) ?? null
    )
  }

  /**
   * What `run` issues, and when each op of it ran: the device's thread beside the time line of a profiler. One at a time; it
   * costs some microseconds an op.
   * @throws UnsupportedError ERR_UNSUPPORTED on a GPU, whose own tools tell more; what `run` rejects with
   */
  async trace(run: () => Promise<void>): Promise<TracedOp[]> {
    if (this.name.startsWith('cuda'))
      throw new UnsupportedError('ERR_UNSUPPORTED', 'a trace of a GPU: use Nsight Systems, which times its kernels', {
        device: this.name,
      })
    native().traceStart(this.id)
    let traced: TracedOp[] = []
    try {
      await run()
      await this.event()
    } finally {
      traced = native().traceStop(this.id)
    }
    return traced
  }

  /** Memory in use, its peak and its limit, in bytes. */
  memory(): DeviceMemory {
    return native().memory(this.id)
  }

  /** Lets `memory().peak` start again at what is in use now. */
  resetPeak(): void {
    native().resetPeak(this.id)
  }

  /** Sets the most bytes tensors may take. @throws ArgumentError ERR_ARGUMENT */
  setMemoryLimit(bytes: number): void {
    native().setMemoryLimit(this.id, bytes)
  }

  /**
   * Gives memory that no tensor uses, but that is kept for the next ones, back to the system; what tensors lie beside
   * stays. Resolves with the number of bytes once they are free: everything issued before has run by then.
   * @throws LateforgeError the stream's first error, as `event` does; the memory was given back all the same
   */
  async trim(): Promise<number> {
    const bytes = native().trim(this.id)
    await this.event()
    return bytes
  }
}
