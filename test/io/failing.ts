/** A file system that dies, or fills up, at a chosen call: what is on the disk then is what `kill -9` there would leave. */
import fs from 'node:fs'
import fsp, { type FileHandle } from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { native } from '../../lib/native.js'

type Any = (...args: unknown[]) => unknown

/** At the n-th call that changes the disk: `dies`, no later call does anything or ever returns; `full`, it throws ENOSPC. */
export type Failure = { at: number; how: 'dies' | 'full' }

export class Died extends Error {}

const never = new Promise<never>(() => {})

/**
 * Runs `work` on such a file system.
 * @returns how it ended, and whether the failure was reached
 */
export async function withFailure(
  { at, how }: Failure,
  work: () => Promise<unknown>,
): Promise<{ reached: boolean; error: unknown }> {
  let calls = 0
  let die = () => {}
  const death = new Promise<void>((resolve) => {
    die = resolve
  })
  /** Counts a call; what it does instead, if it must not happen. */
  const count = (): 'lives' | 'dies' | 'full' => {
    calls++
    if (how === 'full') return calls === at ? 'full' : 'lives'
    if (calls >= at) die()
    return calls < at ? 'lives' : 'dies'
  }
  const full = () =>
    Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC', syscall: 'write' })
  const undo: (() => void)[] = []
  const replace = (target: object, name: string, make: (original: Any) => Any): void => {
    const methods = target as Record<string, Any>
    const original = methods[name]!
    methods[name] = make(original)
    undo.push(() => {
      methods[name] = original
    })
  }
  const later = (original: Any): Any =>
    async function (this: unknown, ...args) {
      const verdict = count()
      if (verdict === 'full') throw full()
      return verdict === 'dies' ? never : original.apply(this, args)
    }
  const atOnce = (original: Any): Any =>
    function (this: unknown, ...args) {
      const verdict = count()
      if (verdict === 'full') throw full()
      if (verdict === 'dies') throw new Died()
      return original.apply(this, args)
    }
  const probe = await fsp.open(new URL(import.meta.url), 'r')
  const handle = Object.getPrototypeOf(probe) as FileHandle
  await probe.close()
  for (const name of ['open', 'rename', 'mkdir', 'rm']) replace(fsp, name, later)
  for (const name of ['mkdirSync', 'writeFileSync', 'renameSync', 'fsyncSync', 'rmSync']) replace(fs, name, atOnce)
  replace(handle, 'sync', later)
  // A write that is cut off has written a part.
  replace(
    handle,
    'write',
    (original) =>
      async function (this: unknown, bytes, start, length) {
        const verdict = count()
        if (verdict === 'lives') return original.call(this, bytes, start, length)
        await original.call(this, bytes, start, Math.floor((length as number) / 2))
        if (verdict === 'full') throw full()
        return never
      },
  )
  replace(native(), 'exchangePaths', atOnce)
  syncBuiltinESMExports()
  let error: unknown = null
  const ends = work().catch((reason) => {
    error = reason
  })
  try {
    await Promise.race([ends, death])
    if (how === 'dies' && calls >= at) await new Promise((resolve) => setImmediate(resolve)) // the half of a write
  } finally {
    for (const back of undo.reverse()) back()
    syncBuiltinESMExports()
  }
  return { reached: calls >= at, error }
}
