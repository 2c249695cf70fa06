/** The native addon, as TypeScript sees it; the only file that has it loaded. */

import { loadAddon } from './addon.js'
import { unknownVariables } from './environment.js'
import { errorClasses, LateforgeError } from './errors.js'

/** One operand of an op, as the native op list declares it (native/ops/list.h). */
export interface OperandSpec {
  name: string
  optional: boolean
  accumulated: boolean
  overwritten: boolean
}

export interface OpSpec {
  name: string
  /** Name of the op that carries the gradient; `tape`: the tape composes it; `self`: none of its own. */
  backward: string
  inputs: OperandSpec[]
  outputs: OperandSpec[]
  params: { name: string; integer: boolean }[]
}

/** Contents of a tensor: a typed array of its element type; 16-bit floats as their bits. */
export type NativeArray =
  | Float32Array
  | Float64Array
  | Int32Array
  | BigInt64Array
  | Uint8Array
  | Uint16Array
  | Int8Array

/** Memory of a device, in bytes. */
export interface DeviceMemory {
  /** Live tensors, views included. */
  tensors: number
  /** Bytes of live tensors, their peak, bytes held from the system, and the limit. */
  bytes: number
  /** Largest `bytes` since the start or `resetPeak`. */
  peak: number
  /** Bytes held from the system, those of no tensor included. */
  reserved: number
  /** Most bytes that may be held. */
  limit: number
  /** Ops, copies and reads issued and not finished. */
  pending: number
}

/** When an op ran, in milliseconds since the trace began. */
export interface TracedOp {
  /** Its name. */
  op: string
  /** Names, types and shapes of its inputs. */
  operands: string
  /** When it began. */
  begin: number
  /** When it ended. */
  end: number
}

/** What a device can do in a second, measured; 0 where nothing was. A multiply-add is two operations. */
export interface Peak {
  /** Float32 operations; operations on 16-bit numbers with float32 sums on tensor cores. */
  fp32: number
  fp16: number
  /** Bytes read from memory, and from the cache that all cores share. */
  memory: number
  cache: number
}

export interface ShardInfo {
  rows: number
  items: number
  tokens: number
  vocabulary: number
  /** Fewest and most documents of a row. */
  minDocuments: number
  maxDocuments: number
  scores: boolean
}

/** Traffic of a group since the start. */
export interface GroupStats {
  /** By collective: allGather, allToAll, allReduceSum, allReduceMax, broadcast, exchange. */
  calls: Record<string, number>
  /** Sent by this rank to others. */
  bytes: Record<string, number>
  /** The group's thread in collectives, waiting for other ranks included. */
  busySeconds: number
  /** Device streams that had nothing to do but wait for a collective. */
  waitSeconds: number
}

export interface Addon {
  readonly block: Float64Array
  setErrorFactory(make: (code: string, message: string) => Error): void
  call(op: number): void
  opList(): OpSpec[]
  openDevice(path: string, index: number): { id: number; name: string; real: number }
  deviceCount(path: string): number
  /** A backend library: its devices, and what it says about driver and libraries. ERR_DEVICE when it does not load. */
  backendInfo(path: string): { name: string; devices: number; facts: [name: string, value: string][] }
  create(device: number, dtype: number, dims: readonly number[], data?: NativeArray): number
  map(device: number, path: string, offset: number, dtype: number, dims: readonly number[]): number
  createSegments(device: number, offsets: Float64Array): number
  /** Scores; `layout` as in native/ops/list.h. */
  maxsimSync(
    queries: Float32Array,
    queryOffsets: Float64Array,
    documents: Float32Array,
    documentOffsets: Float64Array,
    dim: number,
    layout: number,
    pairs: Float64Array | null,
    clampNegatives: number,
  ): Float32Array
  write(handle: number, data: NativeArray): void
  view(handle: number, offset: number, dims: readonly number[]): number
  dispose(handle: number): boolean
  read(handle: number): Promise<NativeArray>
  event(device: number): Promise<void>
  /** Milliseconds of the device's own clock since the call before, in stream order; null where it has none. */
  elapsed(device: number): Promise<Float64Array> | null
  synchronize(device: number): Promise<void>
  memory(device: number): DeviceMemory
  resetPeak(device: number): void
  setMemoryLimit(device: number, bytes: number): void
  trim(device: number): number
  largest(device: number, most: number): { op: string; tensor: string; bytes: number }[]
  traceStart(device: number): void
  traceStop(device: number): TracedOp[]
  cpuInfo(): { isa: string; threads: number; nice: number; matmul: 'float32' | 'bfloat16' }
  setMatmul(bfloat16: boolean): void
  peak(device: number, seconds: number): Promise<Peak>
  setThreads(threads: number): void
  setNice(nice: number): void
  /**
   * Loads the first of these libraries that there is, with its symbols for all that is loaded later. One a process.
   * @returns what the loader said of each where there is none, or nothing
   */
  shareLibrary(names: readonly string[]): string[]
  groupOpen(path: string): { rank: number; size: number; transport: string }
  groupConfigure(deadline: number, exchangeDeadline: number, grace: number, exitCode: number, record: string): void
  groupCollective(
    kind: number,
    handle: number,
    send: readonly number[] | null,
    receive: readonly number[] | null,
    root: number,
  ): [handle: number, ticket: number]
  groupWait(ticket: number): void
  groupExchange(bytes: Uint8Array): Promise<Uint8Array[]>
  groupMark(place: string): void
  groupFail(reason: string, missing: number): void
  groupFailure(): { reason: string; missing: number } | null
  groupStats(): GroupStats
  groupClose(): void
  /** Exchanges two names in one step; false where the file system cannot. */
  exchangePaths(a: string, b: string): boolean
  /** For tests: from here on, as where V8 forbids ArrayBuffers on memory of others (Electron, its sandbox). */
  forbidExternalBuffers(): void
  /** Maps a shard (native/data/shard.h); `verify` reads it all. ERR_FORMAT when it is damaged. */
  shardOpen(path: string, verify: boolean): Promise<number>
  shardInfo(shard: number): ShardInfo
  shardClose(shard: number): boolean
  /**
   * Column 0 is the query of each row (`most` is 1), 1 its first `most` documents, all of them where it has no more, or
   * what a choice takes of them;
   * sequences are row by row. With `skip`, `kept` has the token rows that are not on the skiplist, and the offsets of
   * what is left. What returns a promise runs on Node's thread pool.
   */
  shardCollate(
    shard: number,
    rows: Float64Array,
    column: number,
    most: number | Choice,
    expandTo: number,
    maskId: number,
    attend: boolean,
    skip?: Uint8Array,
  ): Promise<{
    ids: Int32Array<ArrayBuffer>
    offsets: Float64Array<ArrayBuffer>
    keyLengths: Int32Array<ArrayBuffer>
    kept: { keep: Int32Array<ArrayBuffer>; offsets: Float64Array<ArrayBuffer> } | null
  }>
  /** Sequences of each row. */
  shardCounts(
    shard: number,
    rows: Float64Array,
    column: number,
    most: number | Choice,
  ): Promise<Int32Array<ArrayBuffer>>
  /** Tokens of each sequence, without expansion; with `skip`, those that are not on the skiplist. */
  shardLengths(
    shard: number,
    rows: Float64Array,
    column: number,
    most: number | Choice,
    skip?: Uint8Array,
  ): Promise<Int32Array<ArrayBuffer>>
  /** Content groups, dense from 0 in order of appearance. */
  shardGroups(
    shard: number,
    rows: Float64Array,
    column: number,
    most: number | Choice,
  ): Promise<Int32Array<ArrayBuffer>>
  /** Which document of its row each sequence is, 0 the positive. */
  shardPlaces(
    shard: number,
    rows: Float64Array,
    column: number,
    most: number | Choice,
  ): Promise<Int32Array<ArrayBuffer>>
  shardScores(
    shard: number,
    rows: Float64Array,
    column: number,
    most: number | Choice,
  ): Promise<Float32Array<ArrayBuffer>>
}

/**
 * Of the first `most` documents of a row the positive and `sample` others, drawn anew for each step and row: a function of
 * (seed, step, row), by Philox. Before, those are left out that score `dropAbove` times the positive or more; 0: none.
 */
export interface Choice {
  most: number
  sample: number
  seed: number
  step: number
  dropAbove: number
}

let loaded: Addon | undefined

/** The addon, loaded at first use, so that importing lateforge stays cheap. @throws NativeError ERR_NATIVE (lib/addon.ts) */
export function native(): Addon {
  if (loaded) return loaded
  const addon = loadAddon<Addon>()
  addon.setErrorFactory((code, message) => new (errorClasses[code] ?? LateforgeError)(code, message))
  for (const problem of unknownVariables()) process.emitWarning(problem, { code: 'LATEFORGE_ENVIRONMENT' })
  return (loaded = addon)
}
