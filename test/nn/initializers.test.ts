import { isDeepStrictEqual } from 'node:util'
import t from 'tap'
import { philox, Random, sequenceSeed } from '../../lib/io/random.js'
import { bert } from '../../lib/models/networks/bert.js'
import type { Architecture } from '../../lib/models/networks/encoder.js'
import { modernbert } from '../../lib/models/networks/modernbert.js'
import { normal, uniform } from '../../lib/nn/index.js'
import { atOnce } from '../../lib/turns.js'
import { json } from '../models/fixture.js'
import { seed } from '../seed.js'

t.test('philox gives the published words', async (t) => {
  // Known answers of Random123 (kat_vectors, philox4x32 10).
  const hex = (words: number[]) => words.map((w) => w.toString(16).padStart(8, '0')).join(' ')
  t.equal(hex(philox([0, 0, 0, 0], [0, 0])), '6627e8d5 e169c58d bc57ac4c 9b00dbd8')
  const ones = 0xffffffff
  t.equal(hex(philox([ones, ones, ones, ones], [ones, ones])), '408f276d 41c83b0e a20bc7c6 6d5451fd')
  t.equal(
    hex(philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0])),
    'd16cfe09 94fdcceb 5001e420 24126ea1',
  )
})

t.test('a stream is the same whoever reads it, and has no equal', async (t) => {
  const drawn = new Float32Array(10)
  atOnce(uniform(1)(drawn, seed, 'name'))
  const random = new Random(seed, 'name')
  t.same(
    drawn,
    drawn.map(() => (random.next() + 0.5 / 2 ** 32) * 2 - 1),
  )
  for (const other of [new Random(seed, 'names'), new Random(seed + 1, 'name'), new Random(seed + 2 ** 32, 'name')])
    t.not(other.next(), new Random(seed, 'name').next())
  const counts = [0, 0, 0, 0, 0]
  for (let i = 0; i < 10_000; i++) counts[random.integer(5)]!++
  t.ok(
    counts.every((count) => Math.abs(count - 2000) < 240), // six standard deviations
    `${counts}`,
  )
})

t.test('sequence seeds differ in every argument', async (t) => {
  const seeds = new Set<string>()
  for (const seed of [0, 1, 2 ** 40])
    for (const step of [0, 1])
      for (const row of [0, 1, 2 ** 33])
        for (const column of [0, 1]) seeds.add(sequenceSeed(seed, step, row, column).join())
  t.equal(seeds.size, 36)
})

t.test('values are drawn in small steps, and streams that take turns do not meet', async (t) => {
  for (const make of [normal(1), normal(1, 2), uniform(1)]) {
    const [a, b, alone] = [new Float32Array(1e5), new Float32Array(1e5), new Float32Array(1e5)]
    atOnce(make(alone, 3, 'a'))
    const [first, second] = [make(a, 3, 'a'), make(b, 3, 'b')]
    let steps = 0
    for (; !first.next().done; steps++) second.next()
    t.ok(steps >= 20, `${steps} steps`)
    t.ok(isDeepStrictEqual(a, alone)) // `same` takes seconds
  }
})

t.test('streams depend on seed and name only, and any length is a beginning', async (t) => {
  const draw = (n: number, seed: number, name: string) => {
    const values = new Float32Array(n)
    atOnce(normal(1)(values, seed, name))
    return [...values]
  }
  t.same(draw(10, 7, 'a'), draw(1003, 7, 'a').slice(0, 10))
  t.notSame(draw(10, 7, 'a'), draw(10, 8, 'a'))
  t.notSame(draw(10, 7, 'a'), draw(10, 7, 'b'))
  const flat = new Float32Array(1e5)
  atOnce(uniform(0.25)(flat, 1, 'u'))
  t.ok(flat.every((x) => Math.abs(x) <= 0.25))
  t.ok(Math.abs(statistics(flat).std - 0.5 / Math.sqrt(12)) < 1e-3)
})

const expected = json('init', 'expected.json')
for (const architecture of [modernbert, bert] as unknown as Architecture[])
  t.test(`${architecture.name} starts as in transformers`, async (t) => {
    const { config: given, tensors } = expected[architecture.name]
    const config = architecture.configOf(given)
    const left = new Set(Object.keys(tensors))
    for (const parameter of architecture.parameters(config)) {
      const values = new Float32Array(parameter.shape.reduce((product, d) => product * d, 1))
      atOnce(architecture.initializer(config, parameter.name)(values, 1, parameter.name))
      for (const { name, shape, offset } of architecture.stored(config, parameter)) {
        left.delete(name)
        const size = shape.reduce((product, d) => product * d, 1)
        const { mean, std, max } = statistics(values.subarray(offset, offset + size))
        const known = tensors[name]
        t.same(shape, known.shape, name)
        // The spread of a standard deviation over so few values is itself larger than 2 %.
        const slack = Math.max(0.02, 4 / Math.sqrt(2 * size))
        t.ok(Math.abs(std - known.std) <= slack * known.std, `${name}: std ${std}, expected ${known.std}`)
        t.ok(
          Math.abs(mean - known.mean) <= 5 * known.std * size ** -0.5 + Math.abs(known.mean) * 1e-6,
          `${name}: mean ${mean}`,
        )
        if (architecture === (modernbert as unknown)) t.ok(max <= known.max * 1.001, `${name}: cut at ${max}`)
      }
    }
    t.same([...left], [], 'every tensor was compared')
  })

function statistics(values: Float32Array) {
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length
  const std = Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length)
  return { mean, std, max: values.reduce((most, x) => Math.max(most, Math.abs(x)), 0) }
}
