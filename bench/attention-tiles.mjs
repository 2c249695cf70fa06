// Counts what the tiles of CUDA's attention multiply, by arithmetic on real lengths: the kernels' blocks of 64 packed rows
// against a work list of tiles that never straddle two sequences (sequences of up to 32 rows: a warp each, four a block).
// A unit is the scores of 16 queries and 16 keys. `issued`: units multiplied per unit of pairs that see each other.
// `steps`: what blocks take, per such unit and warp, since a block waits for its slowest warp at every 64 keys.
// `span`: the time of the last of 396 slots (three blocks on each of 132 multiprocessors) for 12 heads, in units of one
// warp, where starting a block costs 6 and every 64 keys cost 1.5 more.
// Usage: node bench/attention-tiles.mjs
import { readFileSync } from 'node:fs'

const { steps } = JSON.parse(readFileSync(new URL('peers/lengths.json', import.meta.url), 'utf8'))
const documents = steps.flatMap((s) => s.documents)
const queries = steps.flatMap((s) => s.queries)
const take = (lengths, n) => Array.from({ length: n }, (_, i) => lengths[(i * 7919) % lengths.length])

/** Rows with the keys each sees, as [low, high), from sequences of [rows, keys]. */
function rowsOf(sequences, window) {
  const rows = []
  let begin = 0
  for (const [length, keys] of sequences) {
    for (let r = begin; r < begin + length; r++) {
      const low = Math.max(begin, r - window)
      rows.push({ low, high: Math.max(low, Math.min(begin + keys, r + window + 1)) })
    }
    begin += length
  }
  return rows
}

const tilesOf = (first, end) => {
  const tiles = []
  for (let r = first; r < end; r += 16) tiles.push([r, Math.min(r + 16, end)])
  return tiles
}

/** Blocks of up to four warps with the tiles each warp works on in turn. */
function blocksOf(sequences, total, scheme) {
  const blocks = []
  if (scheme === 'packed') {
    for (let r = 0; r < total; r += 64) blocks.push(tilesOf(r, Math.min(r + 64, total)).map((tile) => [tile]))
    return blocks
  }
  const short = []
  let begin = 0
  for (const [length] of sequences) {
    if (length <= 32) short.push(tilesOf(begin, begin + length))
    else
      for (let r = 0; r < length; r += 64)
        blocks.push(tilesOf(begin + r, begin + Math.min(r + 64, length)).map((t) => [t]))
    begin += length
  }
  for (let i = 0; i < short.length; i += 4) blocks.push(short.slice(i, i + 4))
  return blocks
}

function cost(sequences, window, scheme) {
  const rows = rowsOf(sequences, window)
  const useful = rows.reduce((sum, r) => sum + r.high - r.low, 0) / 256
  let [issued, taken] = [0, 0]
  const times = []
  for (const warps of blocksOf(sequences, rows.length, scheme)) {
    const sights = warps.map((tiles) => tiles.map(([first, end]) => [rows[first].low, rows[end - 1].high]))
    // A warp with several tiles has keys of its own.
    const alone = sights.some((tiles) => tiles.length > 1)
    const [low, high] = [Math.min(...sights.flat().map((s) => s[0])), Math.max(...sights.flat().map((s) => s[1]))]
    const units = ([from, to], start, end) => {
      let n = 0
      for (let key = start; key < end; key += 16) n += key < to && key + 16 > from ? 1 : 0
      return n
    }
    let [block, stages] = [0, 0]
    if (alone) {
      const each = sights.map((tiles) => tiles.reduce((sum, s) => sum + units(s, s[0], s[1]), 0))
      issued += each.reduce((a, b) => a + b)
      block = Math.max(...each)
      stages = 1
    } else {
      for (let key = low; key < high; key += 64, stages++) {
        const each = sights.map(([s]) => units(s, key, Math.min(key + 64, high)))
        issued += each.reduce((a, b) => a + b)
        block += Math.max(...each)
      }
    }
    taken += 4 * block
    times.push(block + 6 + 1.5 * stages)
  }
  if (scheme === 'list') times.sort((a, b) => b - a)
  const slots = new Float64Array(396)
  for (const time of times) for (let head = 0; head < 12; head++) slots[slots.indexOf(Math.min(...slots))] += time
  return { issued: issued / useful, steps: taken / useful, span: Math.max(...slots) }
}

const batches = {
  '256 documents of up to 180': take(documents, 256).map((n) => [n, n]),
  '512 queries of 32, keys of text': take(queries, 512).map((n) => [32, n]),
  'both, 256 of each': [...take(queries, 256).map((n) => [32, n]), ...take(documents, 256).map((n) => [n, n])],
}
for (const [name, sequences] of Object.entries(batches))
  for (const window of [Number.POSITIVE_INFINITY, 64])
    for (const scheme of ['packed', 'list']) {
      const { issued, steps: taken, span } = cost(sequences, window, scheme)
      const cells = [issued.toFixed(2), taken.toFixed(2), span.toFixed(0)].map((s) => s.padStart(6)).join('')
      console.log(`${name.padEnd(34)}${(window === 64 ? 'window 64' : 'global').padEnd(11)}${scheme.padEnd(8)}${cells}`)
    }
