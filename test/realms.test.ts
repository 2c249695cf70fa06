/** Values of another realm, as Jest and node:vm make them, are what they are. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createContext, runInContext } from 'node:vm'
import t from 'tap'
import { FileError, typed } from '../lib/errors.js'
import { SafetensorsFile, writeSafetensors } from '../lib/io/safetensors.js'
import { maxsim, maxsimSync } from '../lib/retrieval/maxsim.js'
import { Device, scope, Tensor } from '../lib/tensor/index.js'

const realm = createContext({})
// biome-ignore lint/suspicious/noExplicitAny: whatever the code gives
const foreign = (code: string): any => runInContext(code, realm)
const dir = mkdtempSync(join(tmpdir(), 'lateforge-realms-'))
t.teardown(() => rmSync(dir, { recursive: true }))

t.test('arrays of every type are written as what they are', async (t) => {
  const file = join(dir, 'a.safetensors')
  const arrays = {
    F32: foreign('Float32Array.of(1.5, -2)'),
    F64: foreign('Float64Array.of(1.5, -2)'),
    I32: foreign('Int32Array.of(1, -2)'),
    I64: foreign('BigInt64Array.of(1n, -2n)'),
    U8: foreign('Uint8Array.of(1, 2)'),
    I8: foreign('Int8Array.of(1, -2)'),
  }
  t.notOk(arrays.F32 instanceof Float32Array)
  await writeSafetensors(
    file,
    Object.entries(arrays).map(([name, data]) => ({ name, shape: [2], data })),
  )
  const read = await SafetensorsFile.open(file)
  for (const [name, data] of Object.entries(arrays)) {
    t.equal(read.tensor(name).dtype, name)
    t.same([...(await read.numbers(name))], Array.from(data as ArrayLike<number | bigint>, Number))
  }
  await read.close()
  const halves = foreign('Uint16Array.of(0x3e00, 0xc000)') // float16, as bits
  await writeSafetensors(file, [{ name: 'F16', shape: [2], data: halves as Uint16Array }])
  const half = await SafetensorsFile.open(file)
  t.same([half.tensor('F16').dtype, ...(await half.numbers('F16'))], ['F16', 1.5, -2])
  await half.close()
})

t.test('nothing but these types is written, and nothing whose bytes are not its shape', async (t) => {
  const file = join(dir, 'b.safetensors')
  const one = (data: unknown, shape = [2]) => writeSafetensors(file, [{ name: 'x', shape, data: data as Float32Array }])
  for (const [data, kind] of [
    [new Uint32Array(2), /Uint32Array/],
    [foreign('new Int16Array(2)'), /Int16Array/],
    [new DataView(new ArrayBuffer(2)), /DataView/],
    [[1, 2], /Array/],
    [undefined, /Undefined/],
  ] as const)
    await t.rejects(one(data), { code: 'ERR_FORMAT', message: kind })
  await t.rejects(one(new Float32Array(3)), { code: 'ERR_FORMAT', message: /F32 \[2\], needs 8 bytes but has 12/ })
  const twice = { name: 'x', shape: [1], data: Float32Array.of(1) }
  await t.rejects(writeSafetensors(file, [twice, twice]), { code: 'ERR_FORMAT', message: /two tensors named "x"/ })
  t.throws(() => readFileSync(file), { code: 'ENOENT' }, 'nothing was written')
  await writeSafetensors(file, [{ ...twice, name: '__proto__' }])
  const read = await SafetensorsFile.open(file)
  t.same([...read.tensors.keys()], ['__proto__'], 'a name like any other')
  await read.close()
})

t.test('maxsim, tensors and scopes', async (t) => {
  const queries = {
    data: foreign('Float32Array.from({ length: 16 }, (_, i) => i)'),
    offsets: foreign('[0, 2]'),
    dim: 8,
  }
  const documents = {
    data: foreign('Float32Array.from({ length: 8 }, (_, i) => -i)'),
    offsets: foreign('[0, 1]'),
    dim: 8,
  }
  const here = (v: typeof queries) => ({ ...v, data: Float32Array.from(v.data), offsets: [...v.offsets] })
  const want = maxsimSync(here(queries), here(documents))
  t.same(maxsimSync(queries, documents), want)
  t.same(await maxsim(queries, documents), want)
  const device = Device.open()
  const kept = scope(() => Object.assign(foreign('({})'), { x: Tensor.from(device, foreign('Float32Array.of(7)')) }))
  t.equal(await kept.x.value(), 7, 'a plain object of any realm carries tensors out of a scope')
  kept.x.dispose()
  t.throws(() => scope(() => foreign('Promise.resolve()')), { code: 'ERR_ARGUMENT', message: /synchronous/ })
})

t.test('refusals of the operating system', async (t) => {
  const error = foreign("Object.assign(new Error('ENOENT: no'), { code: 'ENOENT', syscall: 'open', path: 'x' })")
  t.notOk(error instanceof Error)
  t.ok(typed(error) instanceof FileError)
})
