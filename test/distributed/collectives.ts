/** One rank of collectives.test.ts: collectives on fresh input against what one process computes; then their counts. */
import { createHash } from 'node:crypto'
import { Device } from '../../lib/tensor/device.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { Random } from '../random.js'
import { group, note, report, seedOf } from './rank.js'

const { rank, size } = group
const random = new Random(seedOf())
const problems: string[] = []

function expect(what: string, found: ArrayLike<number>, wanted: ArrayLike<number>): void {
  if (found.length !== wanted.length) problems.push(`${what}: ${found.length} values, expected ${wanted.length}`)
  for (let i = 0; i < wanted.length; i++)
    if (!Object.is(found[i], wanted[i])) {
      problems.push(`${what}: [${i}] is ${found[i]}, expected ${wanted[i]}`)
      return
    }
}

/** Every rank's input, the same on every rank, as the device stores it. */
function inputs(device: Device, counts: readonly number[]): (Float32Array | Float64Array)[] {
  return counts.map((n) => (device.real === 'float32' ? Float32Array.from(random.normals(n)) : random.normals(n)))
}

const digest = createHash('sha256')
// Uneven ranks, ranks with nothing, and a width over the limit of small reductions.
for (const device of ['cpu', 'cpu-f64', 'cuda-host'].map((name) => Device.open(name)))
  for (const base of [0, 1, 7, 4000]) {
    const width = 1 + random.integer(9)
    const rows = Array.from({ length: size }, (_, r) => (r === 1 && base !== 4000 ? 0 : base + random.integer(3)))
    const all = inputs(
      device,
      rows.map((n) => n * width),
    )
    const own = Tensor.from(device, all[rank]!, [rows[rank]!, width])
    const label = `${device.name} ${base}×${width}`

    const gathered = group.allGather(own, rows).wait()
    expect(
      `${label} allGather`,
      await gathered.values(),
      all.flatMap((a) => [...a]),
    )

    // send[r][s] rows from r to s
    const table = rows.map((n) => {
      const cuts = Array.from({ length: size - 1 }, () => random.integer(n + 1)).sort((a, b) => a - b)
      return [...cuts, n].map((to, i) => to - (i ? cuts[i - 1]! : 0))
    })
    // A row for the rank itself is as long on both sides by construction.
    const received = group
      .allToAll(
        own,
        table[rank]!,
        table.map((t) => t[rank]!),
      )
      .wait()
    const wanted = table.flatMap((sends, r) => {
      const first = sends.slice(0, rank).reduce((a, b) => a + b, 0)
      return [...all[r]!.subarray(first * width, (first + sends[rank]!) * width)]
    })
    expect(`${label} allToAll`, await received.values(), wanted)

    const length = base * width + 1
    const same = inputs(device, Array<number>(size).fill(length))
    for (const kind of ['allReduceSum', 'allReduceMax'] as const) {
      const tensor = Tensor.from(device, same[rank]!)
      group[kind](tensor).wait()
      const into = Float64Array.from(same[0]!)
      const round = device.real === 'float32' ? Math.fround : (x: number) => x
      for (const other of same.slice(1))
        for (let i = 0; i < length; i++)
          into[i] = kind === 'allReduceSum' ? round(into[i]! + other[i]!) : Math.max(into[i]!, other[i]!)
      const values = await tensor.values()
      expect(`${label} ${kind}`, values, into)
      digest.update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
    }

    const root = random.integer(size)
    const tensor = Tensor.from(device, same[rank]!)
    group.broadcast(tensor, root).wait()
    expect(`${label} broadcast`, await tensor.values(), same[root]!)
    for (const t of [own, gathered, received, tensor]) t.dispose()
  }

// Bytes of any length, ranks with none.
const texts = Array.from({ length: size }, (_, r) => (r === 2 ? '' : 'x'.repeat(random.integer(1000)) + r))
const heard = await group.exchange(new TextEncoder().encode(texts[rank]))
heard.forEach((bytes, r) => {
  if (new TextDecoder().decode(bytes) !== texts[r]) problems.push(`exchange: rank ${r} said something else`)
})

// Memory stays whole while a collective is under way: what is disposed of is not reused before it was sent.
for (const device of [Device.open('cpu'), Device.open('cuda-host')])
  for (let round = 0; round < 20; round++) {
    const mine = Tensor.from(device, new Float32Array(5000).fill(rank + round))
    const pending = group.allGather(mine, Array<number>(size).fill(5000))
    mine.dispose()
    const other = Tensor.from(device, new Float32Array(5000).fill(-1))
    const result = pending.wait()
    const values = await result.values()
    for (let r = 0; r < size; r++)
      if (values[r * 5000 + 4999] !== r + round) problems.push(`${device.name}, round ${round}: reused`)
    for (const t of [other, result]) t.dispose()
  }

note({ problems: problems.slice(0, 5), digest: digest.digest('hex'), stats: group.stats() })
await report()
