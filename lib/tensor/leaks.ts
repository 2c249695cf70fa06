/**
 * An alarm, not a memory manager: tensors that no scope owns and nobody disposed of are freed when they are collected, and
 * a warning `LateforgeLeak` names what was dropped. What is dropped as one thing (a model, an optimiser) is named once.
 */
import { native } from '../native.js'
import type { Tensor } from './tensor.js'

/** What made tensors and disposes of them; it holds none of them, so that it keeps nothing alive. */
export interface Owner {
  /** With an article, as `a Colbert model (bert, 4 layers)`. */
  name: string
}

interface Watched {
  handle: number
  /** 0 for a view. */
  bytes: number
  text: string
  owner: Owner | null
}

interface Dropped {
  tensors: number
  bytes: number
  /** One of them. */
  text: string
}

const dropped = new Map<Owner | null, Dropped>()
const told = new WeakSet<Owner>()
/** Tensors of no owner that were dropped so far, and how many make the next warning: a loop that forgets warns rarely. */
let [strays, nextWarning] = [0, 1]

const registry = new FinalizationRegistry<() => void>((collected) => collected())

/** Sets the alarm for a tensor that no scope owns. */
export function watch(tensor: object, watched: Watched): void {
  registry.register(tensor, () => native().dispose(watched.handle) && note(watched.owner, watched), tensor)
}

/** Sets the alarm for whatever owns the tensors in `owned` when it is collected. */
export function watchAll(scope: object, owner: Owner, owned: Iterable<Tensor>): void {
  const collect = (): void => {
    for (const tensor of owned) {
      note(owner, { bytes: tensor.bytes, text: '' })
      tensor.dispose()
    }
  }
  registry.register(scope, collect, scope)
}

export function unwatch(watched: object): void {
  registry.unregister(watched)
}

function note(owner: Owner | null, { bytes, text }: Pick<Watched, 'bytes' | 'text'>): void {
  if (dropped.size === 0) setImmediate(tell) // one collection tells of many
  const sum = dropped.get(owner) ?? { tensors: 0, bytes: 0, text }
  dropped.set(owner, { tensors: sum.tensors + 1, bytes: sum.bytes + bytes, text: sum.text })
}

function tell(): void {
  for (const [owner, { tensors, bytes, text }] of dropped) {
    const size = `${tensors} tensor${tensors === 1 ? '' : 's'}, ${(bytes / 1e6).toFixed(bytes < 1e6 ? 3 : 1)} MB`
    if (owner) {
      if (told.has(owner)) continue
      told.add(owner)
      warn(`${owner.name} was garbage collected without dispose() (${size}); call it, or declare with \`using\``)
    } else {
      strays += tensors
      if (strays < nextWarning) continue
      nextWarning = 10 * strays
      const what = tensors === 1 ? `${text} was` : `${text} and ${tensors - 1} more were`
      const sum = strays === tensors ? '' : `, ${strays} tensors so far`
      warn(`${what} garbage collected without dispose() (${size}${sum}); wrap their maker in scope()`)
    }
  }
  dropped.clear()
}

function warn(message: string): void {
  process.emitWarning(message, 'LateforgeLeak')
}
