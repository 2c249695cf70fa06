/** Ragged arrays: rows offsets[i] … offsets[i + 1] belong to text i; offsets [texts + 1] rise from 0. */

/** Consecutive texts [first, last). */
export interface Range {
  first: number
  last: number
}

/** Offsets [n + 1] of rows that are lengths [n] long, from 0. */
export function offsetsOf(lengths: ArrayLike<number>): Float64Array<ArrayBuffer> {
  const offsets = new Float64Array(lengths.length + 1)
  for (let i = 0; i < lengths.length; i++) offsets[i + 1] = offsets[i]! + lengths[i]!
  return offsets
}

/** Rows of a part after those of another; the offsets of a part may begin anywhere. */
export function joinedRagged(parts: readonly { data: Float32Array; offsets: ArrayLike<number> }[]): {
  data: Float32Array<ArrayBuffer>
  offsets: Float64Array<ArrayBuffer>
} {
  const data = joined(
    Float32Array,
    parts.map((part) => part.data),
  )
  const offsets = new Float64Array(parts.reduce((sum, part) => sum + part.offsets.length - 1, 1))
  let text = 0
  for (const part of parts) {
    for (let i = 1; i < part.offsets.length; i++, text++)
      offsets[text + 1] = offsets[text]! + part.offsets[i]! - part.offsets[i - 1]!
  }
  return { data, offsets }
}

/** Arrays one after the other. */
export function joined<A extends Float32Array<ArrayBuffer> | Int8Array<ArrayBuffer>>(
  make: new (length: number) => A,
  parts: readonly ArrayLike<number>[],
): A {
  const all = new make(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

/**
 * Cuts texts into ranges of at most so many rows and texts; a text with more rows is alone. Micro-batches of encoding and
 * of training are such ranges, and the blocks that scoring goes by.
 */
export function* rangesOf(
  offsets: ArrayLike<number>,
  { rows, texts = Number.POSITIVE_INFINITY }: { rows: number; texts?: number },
): Generator<Range> {
  let first = 0
  for (let i = 1; i < offsets.length; i++)
    if (i === offsets.length - 1 || i - first === texts || offsets[i + 1]! - offsets[first]! > rows) {
      yield { first, last: i }
      first = i
    }
}

/** Whether stored numbers can be offsets into so many rows: whole, rising from 0 to `last`. In a loop: there may be millions. */
export function areOffsets(numbers: Float64Array, last: number): boolean {
  for (let i = 0; i < numbers.length; i++)
    if (!Number.isInteger(numbers[i]) || numbers[i]! < (i === 0 ? 0 : numbers[i - 1]!)) return false
  return numbers[0] === 0 && numbers.at(-1) === last
}
