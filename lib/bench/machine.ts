import os from 'node:os'
import { cudaLibrary } from '../backends.js'
import { type Ceilings, native } from '../native.js'
import { packageVersion } from '../packages.js'
import { type Device, raw, Tensor } from '../tensor/index.js'

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
  /** Measured just before: operations and bytes a second; 0 where nothing was. */
  ceilings: Ceilings
}

/** What `device` is, with its ceilings measured for about `seconds`. */
export async function machineOf(device: Device, name: string, seconds: number): Promise<Machine> {
  const onCpu = device.name.startsWith('cpu')
  const cpu = onCpu ? native().cpuInfo() : null
  const { facts } =
    name.startsWith('cuda:') || name === 'cuda' ? native().backendInfo(cudaLibrary().path) : { facts: [] }
  return {
    lateforge: packageVersion(),
    node: process.version,
    processor: os.cpus()[0]?.model.trim() ?? 'unknown',
    device: device.name,
    facts: Object.fromEntries(facts),
    isa: cpu?.isa ?? null,
    threads: cpu?.threads ?? null,
    ceilings: await native().ceilings(device.id, seconds),
  }
}

/** Overwrites the caches of a GPU: 256 MiB are five times what the largest has. Other devices have none. */
export function flusher(device: Device): () => void {
  const waste = Tensor.empty(device, [/^cuda(:|$)/.test(device.name) ? 2 ** 26 : 2 ** 10])
  return () => raw.zero(waste)
}

/**
 * The least time that work of so many operations and bytes can take, by the ceilings, in milliseconds; null where they
 * are not known. `where` the bytes come from: `memory`, or the `cache`.
 */
export function rooflineOf(
  work: { operations: number; bytes: number },
  ceilings: Ceilings,
  halves: boolean,
  where: 'memory' | 'cache',
): { milliseconds: number; bound: 'operations' | 'bytes' } | null {
  const rate = halves ? ceilings.halves : ceilings.floats
  if (!(rate > 0 && ceilings[where] > 0)) return null
  const [operations, bytes] = [work.operations / rate, work.bytes / ceilings[where]]
  return { milliseconds: 1000 * Math.max(operations, bytes), bound: operations > bytes ? 'operations' : 'bytes' }
}
