import { native } from '../native.js'
import { checkOptions, oneOf, whole } from '../options.js'

/** How the CPU works for this process, all its environments and models. */
export interface CpuSettings {
  /** Threads that share the work of an op, 1 to 8192; default what the system grants. */
  threads?: number
  /**
   * How far those threads step back behind the other work of the machine: 0, as others, to 19, last; on Windows three
   * steps, below 1, 10 and above. Most systems let a process only raise it.
   */
  nice?: number
  /**
   * What the matrix products of layers multiply: `float32`, or numbers rounded to `bfloat16`, which is up to twice as fast where
   * the processor has AVX512-BF16. Sums, weights and all else stay float32. Of encoding and of training. Default `float32`.
   */
  matmul?: 'float32' | 'bfloat16'
}

/** How the CPU works now. */
export interface CpuState extends Required<CpuSettings> {
  /** Instruction set of the kernels: `portable`, `avx2` or `avx512`. */
  isa: string
}

/**
 * Changes how the CPU works from the next op on; what is left out stays. `LATEFORGE_THREADS`, `LATEFORGE_NICE` and
 * `LATEFORGE_MATMUL` say how it begins. Results are the same bits with any number of threads.
 * @returns the settings now, and the instruction set of the kernels
 * @throws ArgumentError ERR_ARGUMENT; UnsupportedError ERR_UNSUPPORTED where the system refuses the nice value, and for a
 *   `matmul` that the processor does not have
 */
export function setCpu(settings: CpuSettings = {}): CpuState {
  checkOptions('setCpu', settings, { threads: whole(1), nice: whole(0), matmul: oneOf('float32', 'bfloat16') })
  const { threads, nice, matmul } = settings
  if (matmul !== undefined) native().setMatmul(matmul === 'bfloat16')
  if (nice !== undefined) native().setNice(nice)
  if (threads !== undefined) native().setThreads(threads)
  return native().cpuInfo()
}
