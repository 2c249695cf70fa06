import { types } from 'node:util'
import { ArgumentError } from '../errors.js'
import { type Owner, unwatch, watchAll } from './leaks.js'
import type { Tensor } from './tensor.js'

/**
 * Owns tensors and frees them together. `scope(fn)` is the usual way; an explicit Scope is for work that spans awaits,
 * where nothing ambient survives: `using s = new Scope(); s.run(() => …); await …; s.run(() => …)`.
 */
export class Scope {
  private readonly owned = new Set<Tensor>()

  /** @param name what a warning calls it, should nobody dispose of it; null where that cannot be */
  constructor(name: string | null = 'a Scope') {
    if (name !== null) watchAll(this, { name }, this.owned)
  }

  /** Runs `fn`; tensors made meanwhile belong to this scope. `fn` must be synchronous. */
  run<R>(fn: () => R): R {
    const outer = current
    current = this
    try {
      const result = fn()
      if (types.isPromise(result))
        throw new ArgumentError(
          'ERR_ARGUMENT',
          'a scope must be synchronous: another scope would catch the tensors made after an await',
        )
      return result
    } finally {
      current = outer
    }
  }

  /** Makes a tensor belong to this scope. */
  adopt(tensor: Tensor): void {
    this.owned.add(tensor)
  }

  /** Takes a tensor out of this scope; whoever asked for it disposes of it. */
  release<T extends Tensor>(tensor: T): T {
    this.owned.delete(tensor)
    return tensor
  }

  /** Takes all tensors out of this scope: `by` disposes of them, and is named if it does not. */
  giveTo(by: Owner): void {
    for (const tensor of this.owned) tensor.watch(by)
    this.owned.clear()
  }

  /** Frees all tensors of the scope; safe to call twice. */
  dispose(): void {
    for (const tensor of this.owned) tensor.dispose()
    this.owned.clear()
    unwatch(this)
  }

  /** As `dispose`. */
  [Symbol.dispose](): void {
    this.dispose()
  }
}

let current: Scope | null = null

/**
 * Runs `fn`; what it makes or returns belongs to no scope but to `by`, which disposes of it, and is named if it does not.
 * Where it throws, all that it made is freed.
 */
export function ownedBy<R>(by: Owner, fn: () => R): R {
  const made = new Scope(null)
  try {
    const result = made.run(fn)
    made.giveTo(by)
    return result
  } finally {
    made.dispose()
  }
}

/** Registers a new tensor with the innermost running scope; false when there is none. */
export function adopt(tensor: Tensor): boolean {
  current?.adopt(tensor)
  return current !== null
}

/**
 * Frees every tensor made inside `fn`, also when it throws, but those it returns (a tensor, or an array or plain object
 * of them, at any depth), which move to the scope around it. `fn` must be synchronous.
 */
export function scope<R>(fn: () => R): R {
  const inner = new Scope(null)
  try {
    const result = inner.run(fn)
    keep(result, inner)
    return result
  } finally {
    inner.dispose()
  }
}

function keep(value: unknown, from: Scope): void {
  if (value === null || typeof value !== 'object' || ArrayBuffer.isView(value)) return
  if ('handle' in value && 'dispose' in value) {
    const tensor = value as Tensor
    from.release(tensor)
    if (!adopt(tensor)) tensor.watch()
  } else if (Array.isArray(value) || isPlain(value)) {
    for (const part of Object.values(value)) keep(part, from)
  }
}

/** An object of no class, of whatever realm. */
function isPlain(value: object): boolean {
  const prototype = Object.getPrototypeOf(value)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}
