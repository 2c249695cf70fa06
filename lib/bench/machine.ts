import os from 'node:os'
import { cudaLibrary } from '../backends.js'
import { native } from '../native.js'
import { packageVersion } from '../packages.js'
import { type Device, raw, Tensor } from '../tensor/index.js'

/** What kernels that do nothing else reach: operations and bytes a second; 0 where nothing was measured. */
export interface Peak {
  /** Multiply-adds, each of which counts as two operations. */
  fp32: number
  /** The same of the tensor cores, with 16-bit operands. */
  fp16: number
  memory: number
  /** The cache that all cores share. */
  cache: number
}

/** Where a report was made, and what the machine can do at most. */
export interface Machine {
  lateforge: string
  node: string
  processor: string
  device: string
  /** What the device's library says of itself: GPU, driver, libraries. */
  facts: Record<string, string>
  isa: string | null
  threads: number | null
  /** What matrix products of layers multiply; `peak.fp32` is that of float32 in any case. */
  matmul: string | null
  /** Measured just before. */
  peak: Peak
}

/** What `device` is, with its peak measured for about `seconds`. */
export async function machineOf(device: Device, name: string, seconds: number): Promise<Machine> {
  const onCpu = device.name.startsWith('cpu')
  const cpu = onCpu ? native().cpuInfo() : null
  const { facts } =
    name.startsWith('cuda:') || name === 'cuda' ? native().backendInfo(cudaLibrary().path) : { facts: [] }
  const { fp32, fp16, memory, cache } = await native().peak(device.id, seconds)
  return {
    lateforge: packageVersion(),
    node: process.version,
    processor: os.cpus()[0]?.model.trim() ?? 'unknown',
    device: device.name,
    facts: Object.fromEntries(facts),
    isa: cpu?.isa ?? null,
    threads: cpu?.threads ?? null,
    matmul: cpu?.matmul ?? null,
    peak: { fp32, fp16, memory, cache },
  }
}

/** Overwrites the caches of a GPU: 256 MiB are five times what the largest has. Other devices have none. */
export function flusher(device: Device): () => void {
  const waste = Tensor.empty(device, [/^cuda(:|$)/.test(device.name) ? 2 ** 26 : 2 ** 10])
  return () => raw.zero(waste)
}

/**
 * The least time that work of so many operations and bytes can take, at this peak, in milliseconds; null where that is
 * not known. `where` the bytes come from: `memory`, or the `cache`.
 */
export function rooflineOf(
  work: { operations: number; bytes: number },
  peak: Peak,
  type: 'fp32' | 'fp16',
  where: 'memory' | 'cache',
): { milliseconds: number; bound: 'operations' | 'bytes' } | null {
  if (!(peak[type] > 0 && peak[where] > 0)) return null
  const [operations, bytes] = [work.operations / peak[type], work.bytes / peak[where]]
  return { milliseconds: 1000 * Math.max(operations, bytes), bound: operations > bytes ? 'operations' : 'bytes' }
}
