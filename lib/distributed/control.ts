/** What the ranks of a run tell each other in words: JSON by `ProcessGroup.exchange`. On one rank nothing is said. */
import { errorClasses, GroupError, LateforgeError } from '../errors.js'
import type { Device } from '../tensor/device.js'
import { Tensor } from '../tensor/tensor.js'
import { differences } from './differences.js'
import type { ProcessGroup } from './group.js'

const encode = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value ?? null))
const decode = (bytes: Uint8Array): unknown => JSON.parse(new TextDecoder().decode(bytes))

/**
 * Checks that a plan is the same on every rank.
 * @throws GroupError ERR_GROUP on every rank, naming what differs, where, and how
 */
export async function requireSame(group: ProcessGroup, plan: Readonly<Record<string, unknown>>): Promise<void> {
  if (group.size === 1) return
  const plans = (await group.exchange(encode(plan))).map(decode)
  const lines = plans.flatMap((other, rank) =>
    differences(other, plans[0]).map((line) => `rank ${rank} (against rank 0): ${line}`),
  )
  if (lines.length === 0) return
  throw new GroupError(
    'ERR_GROUP',
    `the ranks were not started alike:\n  ${lines.join('\n  ')}\nGive every rank the same config, data and version`,
    { differences: lines },
  )
}

/**
 * A barrier of the ranks' devices, before anything long begins: what keeps them apart (no NCCL, one GPU for two) is said
 * now.
 * @throws GroupError ERR_GROUP
 */
export async function barrier(group: ProcessGroup, device: Device): Promise<void> {
  if (group.size === 1) return
  using one = Tensor.from(device, [1])
  group.allReduceSum(one).wait()
  const sum = await one.value()
  if (sum !== group.size) throw new GroupError('ERR_GROUP', `the devices of ${group.size} ranks count ${sum} of them`)
}

/** Rank 0 makes something that JSON can hold, and every rank gets it. A failure is every rank's. */
export async function onRank0<T>(group: ProcessGroup, make: () => Promise<T>): Promise<T> {
  if (group.size === 1) return make()
  if (group.rank !== 0) return received<T>(group)
  let made: T
  try {
    made = await make()
  } catch (error) {
    await group.exchange(encode({ failure: plain(error) }))
    throw error
  }
  await group.exchange(encode({ made }))
  return made
}

/** Every rank makes it: rank 0 first, so that the others find what it wrote to a cache. Its failure is every rank's. */
export async function rank0First<T>(group: ProcessGroup, make: () => Promise<T>): Promise<T> {
  let made: T | undefined
  await onRank0(group, async () => {
    made = await make()
  })
  return group.rank === 0 ? made! : make()
}

async function received<T>(group: ProcessGroup): Promise<T> {
  const { made, failure } = decode((await group.exchange(encode(null)))[0]!) as {
    made: T
    failure?: ReturnType<typeof plain>
  }
  if (!failure) return made
  throw new (errorClasses[failure.code] ?? LateforgeError)(failure.code, failure.message, failure.details)
}

function plain(error: unknown): { code: string; message: string; details: Record<string, unknown> } {
  if (error instanceof LateforgeError) return { code: error.code, message: error.message, details: error.details }
  return { code: 'ERR_GROUP', message: `rank 0 failed: ${(error as Error)?.message ?? error}`, details: {} }
}
