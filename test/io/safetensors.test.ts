import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { SafetensorsFile, writeSafetensors } from '../../lib/io/safetensors.js'
import { Weights } from '../../lib/models/formats/weights.js'

const dir = t.testdir()
const file = path.join(dir, 'x.safetensors')

/** A file from header text (or object) and data. */
function put(header: unknown, data: Uint8Array = new Uint8Array(0), length?: bigint): string {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header))
  const prefix = Buffer.alloc(8)
  prefix.writeBigUInt64LE(length ?? BigInt(text.length))
  writeFileSync(file, Buffer.concat([prefix, text, data]))
  return file
}

t.test('what is written is read, whatever the type', async (t) => {
  const tensors = [
    { name: 'b', shape: [2, 2], data: Float32Array.of(1, -0.5, Number.NaN, 3e38) },
    { name: 'a', shape: [1], data: Float32Array.of(7) },
    { name: 'd', shape: [3], data: Float64Array.of(0.1, -1e300, 2 ** -1074) },
    { name: 'i', shape: [2], data: Int32Array.of(-(2 ** 31), 5) },
    { name: 'l', shape: [1], data: BigInt64Array.of(-(2n ** 40n)) },
    { name: 'u', shape: [3], data: Uint8Array.of(1, 2, 255) },
    { name: 'none', shape: [0, 4], data: new Float32Array(0) },
    { name: 'scalar', shape: [], data: Float32Array.of(4) },
  ]
  await writeSafetensors(file, tensors, { format: 'pt', step: '3' })
  t.same(readdirSync(dir), ['x.safetensors'], 'no temporary file is left')
  const read = await SafetensorsFile.open(file)
  t.same(read.metadata, { format: 'pt', step: '3' })
  t.same([...read.tensors.keys()], ['d', 'l', 'a', 'b', 'i', 'none', 'scalar', 'u'], 'by alignment, then name')
  for (const { name, shape, data } of tensors) {
    t.same(read.tensor(name).shape, shape)
    t.same(await read.numbers(name), Float64Array.from(data as never, Number), name)
    t.ok(read.tensor(name).start % data.BYTES_PER_ELEMENT === 0, 'aligned')
  }
  t.same(await read.floats('d'), Float32Array.of(0.1, Number.NEGATIVE_INFINITY, 0))
  await t.rejects(read.floats('e'), { code: 'ERR_FORMAT', message: /no tensor "e"/ })
  await read.close()
  await t.rejects(writeSafetensors(file, [{ name: 'a', shape: [3], data: Float32Array.of(1) }]), { code: 'ERR_FORMAT' })
})

t.test('half precision and bfloat16 widen exactly', async (t) => {
  const half = Uint16Array.of(0x3c00, 0xc000, 0x0001, 0x83ff, 0x7bff, 0x7c00, 0xfc00, 0x7e00, 0x8000)
  const brain = Uint16Array.of(0x3f80, 0xc000, 0x0001, 0x7f80, 0x7fc0, 0x4049)
  const data = Buffer.concat([Buffer.from(half.buffer), Buffer.from(brain.buffer)])
  const split = half.byteLength
  put(
    {
      h: { dtype: 'F16', shape: [half.length], data_offsets: [0, split] },
      b: { dtype: 'BF16', shape: [brain.length], data_offsets: [split, data.length] },
    },
    data,
  )
  const read = await SafetensorsFile.open(file)
  const [inf, nan] = [Number.POSITIVE_INFINITY, Number.NaN]
  t.same([...(await read.floats('h'))], [1, -2, 2 ** -24, -1023 * 2 ** -24, 65504, inf, -inf, nan, -0])
  t.same([...(await read.floats('b'))], [1, -2, 2 ** -133, inf, nan, 3.140625])
  await read.close()
})

t.test('damaged and hostile files are refused before any tensor is read', async (t) => {
  const entry = (from: number, to: number, shape: unknown = [(to - from) / 4], dtype: unknown = 'F32') => ({
    dtype,
    shape,
    data_offsets: [from, to],
  })
  const eight = new Uint8Array(8)
  const cases: [string, () => void, RegExp][] = [
    ['empty', () => writeFileSync(file, ''), /0 bytes/],
    ['five bytes', () => writeFileSync(file, 'hello'), /5 bytes/],
    ['header longer than the file', () => put({ a: entry(0, 8) }, eight, 10_000n), /header would have/],
    ['header of 2^63 bytes', () => put('{}', eight, 2n ** 63n), /header would have/],
    ['no JSON', () => put('{"a":'), /no JSON/],
    ['an array', () => put('[]'), /no JSON object/],
    ['leading space', () => put(' {}'), /no JSON object/],
    [
      'equal names',
      () => put(`{"a":${JSON.stringify(entry(0, 8))},"a":${JSON.stringify(entry(0, 8))}}`, eight),
      /twice/,
    ],
    ['equal names, escaped', () => put(`{"a":${JSON.stringify(entry(0, 8))},"\\u0061":{}}`, eight), /twice/],
    [
      'equal keys inside',
      () => put('{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}', eight),
      /twice/,
    ],
    ['cut off', () => put({ a: entry(0, 8) }, eight.subarray(4)), /cut off/],
    ['a tail', () => put({ a: entry(0, 4) }, eight), /tail/],
    ['a hole', () => put({ a: entry(4, 8) }, eight), /starts at byte 4/],
    ['overlap', () => put({ a: entry(0, 8), b: entry(4, 8) }, eight), /starts at byte 4/],
    ['size against shape', () => put({ a: entry(0, 8, [3]) }, eight), /needs 12 bytes/],
    ['overflow', () => put({ a: entry(0, 8, [2 ** 32, 2 ** 32, 2]) }, eight), /needs/],
    ['negative dimension', () => put({ a: entry(0, 8, [-2]) }, eight), /bad shape/],
    ['fraction', () => put({ a: entry(0, 8, [2.5]) }, eight), /bad shape/],
    ['backwards', () => put({ a: entry(8, 0, [2]) }, eight), /data_offsets/],
    ['unknown type', () => put({ a: entry(0, 8, [2], 'F13') }, eight), /"F13"/],
    ['inherited name as type', () => put({ a: entry(0, 8, [2], 'constructor') }, eight), /"constructor"/],
    ['null entry', () => put({ a: null }, eight), /type/],
    ['metadata of numbers', () => put({ __metadata__: { a: 1 } }), /no string/],
  ]
  for (const [name, make, message] of cases) {
    make()
    await t.rejects(SafetensorsFile.open(file), { code: 'ERR_FORMAT', message }, name)
  }
  await t.rejects(SafetensorsFile.open(path.join(dir, 'absent')), { code: 'ERR_FORMAT' })
  await t.rejects(SafetensorsFile.open(dir), { code: 'ERR_FORMAT' }, 'a folder')

  put(`{"__proto__":${JSON.stringify(entry(0, 8))}}`, eight)
  const odd = await SafetensorsFile.open(file)
  t.same(odd.tensor('__proto__').shape, [2], 'a tensor like any other')
  await odd.close()
})

t.test('every truncation of a good file is refused', async (t) => {
  await writeSafetensors(file, [{ name: 'a', shape: [4], data: Float32Array.of(1, 2, 3, 4) }])
  const whole = readFileSync(file)
  for (let length = 0; length < whole.length; length++) {
    writeFileSync(file, whole.subarray(0, length))
    await t.rejects(SafetensorsFile.open(file), { code: 'ERR_FORMAT' }, `${length} bytes`)
  }
})

t.test('sharded files', async (t) => {
  const folder = t.testdir()
  const one = { name: 'one', shape: [1], data: Float32Array.of(1) }
  const two = { name: 'two', shape: [2], data: Float32Array.of(2, 3) }
  await writeSafetensors(path.join(folder, 'a.safetensors'), [one])
  await writeSafetensors(path.join(folder, 'b.safetensors'), [two])
  const index = (map: unknown) =>
    writeFileSync(path.join(folder, 'model.safetensors.index.json'), JSON.stringify({ weight_map: map }))
  index({ one: 'a.safetensors', two: 'b.safetensors' })
  const weights = await Weights.open(folder)
  t.same(await weights.floats('two', [2]), two.data)
  await t.rejects(async () => weights.floats('two', [1, 2]), { code: 'ERR_FORMAT', message: /shape \[2\]/ })
  await weights.close()
  index({ one: 'b.safetensors' })
  await t.rejects(Weights.open(folder), { code: 'ERR_FORMAT', message: /"one" is not in b/ })
  index({ one: '../a.safetensors' })
  await t.rejects(Weights.open(folder), { code: 'ERR_FORMAT', message: /no file name/ })
  index(null)
  await t.rejects(Weights.open(folder), { code: 'ERR_FORMAT', message: /weight_map/ })
})
