/**
 * What hyparquet's decoders take on trust: that runs do not have more values than their page. A page that says otherwise
 * would keep them writing until memory ends.
 */

/** A page's bytes, unpacked, and where its levels and values are. */
export interface PageShape {
  view: DataView
  /** Values with those that are null. */
  values: number
  /** Bytes of the levels, where the header says it (version 2 of pages), else they begin with their length. */
  repetitionBytes?: number
  definitionBytes?: number
  maxRepetition: number
  maxDefinition: number
  encoding: string | undefined
  boolean: boolean
}

/** @throws Error for runs that do not fit */
export function checkPage(page: PageShape): void {
  const { view, values, maxRepetition, maxDefinition, encoding } = page
  let at = 0
  const levels = (max: number, bytes: number | undefined): number => {
    if (max === 0) {
      at += bytes ?? 0
      return values
    }
    const length = bytes ?? view.getUint32(at, true)
    if (bytes === undefined) at += 4
    if (at + length > view.byteLength) throw new Error('levels of a page go beyond its end')
    const runs = checkRuns(view, at, at + length, widthOf(max), values, max)
    if (runs.values < values) throw new Error(`a page has ${runs.values} levels for ${values} values`)
    at += length
    return runs.equal
  }
  levels(maxRepetition, page.repetitionBytes)
  const count = levels(maxDefinition, page.definitionBytes)
  if (encoding === 'PLAIN_DICTIONARY' || encoding === 'RLE_DICTIONARY') {
    if (count > 0) checkRuns(view, at + 1, view.byteLength, view.getUint8(at), count, 0)
  } else if (encoding === 'RLE') {
    if (!page.boolean) throw new Error('an encoding is for booleans only')
    checkRuns(view, at + 4, view.byteLength, 1, count, 0)
  } else if (encoding === 'DELTA_BINARY_PACKED' || encoding === 'DELTA_LENGTH_BYTE_ARRAY') {
    if (count > 0) checkDelta(view, at, count)
  } else if (encoding === 'DELTA_BYTE_ARRAY') {
    if (count > 0) checkDelta(view, checkDelta(view, at, count), count)
  } else if (encoding !== 'PLAIN' && encoding !== 'BYTE_STREAM_SPLIT')
    throw new Error(`the encoding ${encoding ?? 'of a page'} is not supported`)
}

const widthOf = (max: number): number => 32 - Math.clz32(max)

/** Goes over runs of `count` values of `width` bits each; counts those that equal `wanted`. */
function checkRuns(
  view: DataView,
  from: number,
  to: number,
  width: number,
  count: number,
  wanted: number,
): { values: number; equal: number } {
  if (width > 32) throw new Error(`values of a page have ${width} bits`)
  let at = from
  let values = 0
  let equal = 0
  while (values < count && at < to) {
    const [header, next] = varint(view, at)
    at = next
    const packed = (header & 1) === 1
    const run = (header >>> 1) * (packed ? 8 : 1)
    const left = count - values
    // Packed runs are filled up to whole bytes.
    if (run > left + (packed ? 7 : 0)) throw new Error(`a run has ${run} values, and its page ${left}`)
    if (!packed) {
      const bytes = (width + 7) >> 3
      let value = 0
      for (let i = 0; i < bytes; i++) value |= view.getUint8(at + i) << (8 * i)
      if (value === wanted) equal += run
      at += bytes
    } else {
      for (let i = 0; i < Math.min(run, left); i++) if (bitsAt(view, at, i * width, width) === wanted) equal++
      at += (header >>> 1) * width
    }
    values += Math.min(run, left)
  }
  return { values, equal }
}

function bitsAt(view: DataView, from: number, bit: number, width: number): number {
  let value = 0
  for (let i = 0; i < width; i++) {
    const place = from + ((bit + i) >> 3)
    if (place < view.byteLength) value |= ((view.getUint8(place) >> ((bit + i) & 7)) & 1) << i
  }
  return value
}

/** Goes over `count` values in DELTA_BINARY_PACKED; returns where they end. */
function checkDelta(view: DataView, from: number, count: number): number {
  const [block, afterBlock] = varint(view, from)
  const [miniblocks, afterMini] = varint(view, afterBlock)
  const size = block / miniblocks
  if (!(miniblocks > 0 && block > 0 && Number.isInteger(size) && miniblocks <= view.byteLength))
    throw new Error(`blocks of ${block} values have ${miniblocks} parts`)
  let at = skipVarint(view, skipVarint(view, afterMini)) // the count and the first value
  for (let left = count - 1; left > 0; ) {
    const widths = skipVarint(view, at) // the smallest difference
    at = widths + miniblocks
    for (let i = 0; i < miniblocks && left > 0; i++, left -= size) at += (size * view.getUint8(widths + i)) / 8
  }
  return at
}

function varint(view: DataView, from: number): [value: number, next: number] {
  let value = 0
  for (let at = from, shift = 0; shift < 35; at++, shift += 7) {
    const byte = view.getUint8(at)
    value += (byte & 0x7f) * 2 ** shift
    if (byte < 0x80) {
      if (value >= 2 ** 31) break
      return [value, at + 1]
    }
  }
  throw new Error('a length of a page is too large')
}

function skipVarint(view: DataView, from: number): number {
  for (let at = from; at < from + 10; at++) if (view.getUint8(at) < 0x80) return at + 1
  throw new Error('a number of a page is too large')
}
