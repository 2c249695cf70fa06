/** What the scripts that run on every rank have in common. */
import { RankGroup } from '../../lib/distributed/group.js'

export const group = RankGroup.join()

const found: Record<string, unknown> = { rank: group.rank }

/** Adds to what this rank reports. */
export function note(values: Record<string, unknown>): void {
  Object.assign(found, values)
}

/** Reports, and leaves in good order. One line a rank, in one write. */
export async function report(): Promise<void> {
  await group.exchange(new Uint8Array())
  process.stdout.write(`${JSON.stringify(found)}\n`)
}

/** One value that all ranks share: each has the same `random` and draws the same. */
export const seedOf = (argument = 2): number => Number(process.argv[argument])
