/** Models of precision int8: what they encode, what they are on disk, and what they refuse. */
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { memorySource } from '../../lib/data/sources.js'
import { SafetensorsFile, writeSafetensors } from '../../lib/io/safetensors.js'
import { Colbert } from '../../lib/models/colbert.js'
import type { CreateConfig } from '../../lib/models/create.js'
import { Device } from '../../lib/tensor/device.js'
import { train } from '../../lib/train/loop/run.js'
import { texts, tokenizer } from './words.js'

const temporary = t.testdir()
const quiet = { onNote: () => {} }

// Widths that are no multiples of what the kernels take at a time.
const shapes: Record<string, CreateConfig> = {
  bert: { architecture: 'bert', layers: 2, width: 48, heads: 2, intermediate: 70, dim: 24, tokenizer },
  modernbert: { architecture: 'modernbert', layers: 3, width: 72, heads: 3, intermediate: 50, dim: 40, tokenizer },
}

for (const [name, shape] of Object.entries(shapes))
  t.test(`${name}: close to float32, and the same bits after saving as int8`, async (t) => {
    const device = Device.open()
    await device.synchronize()
    const before = device.memory().bytes
    const folder = path.join(temporary, name)
    const exact = await Colbert.create(shape, { seed: 5 })
    await exact.save(folder)
    const model = await Colbert.load(folder, { precision: 'int8', ...quiet })
    t.equal(model.precision, 'int8')
    t.ok(Math.min(...cosines(await exact.encodeDocuments(texts), await model.encodeDocuments(texts))) > 0.99)

    const small = path.join(temporary, `${name}-int8`)
    await model.save(small)
    const again = await Colbert.load(small, { precision: 'int8', ...quiet })
    for (const encode of ['encodeQueries', 'encodeDocuments'] as const) {
      // A table of embeddings is rounded once, when it is first saved.
      const saved = await again[encode](texts)
      const twice = path.join(temporary, `${name}-${encode}-twice`)
      await again.save(twice)
      const third = await Colbert.load(twice, { precision: 'int8', ...quiet })
      t.same((await third[encode](texts)).data, saved.data, `${encode}: the same bits`)
      third.dispose()
    }
    t.ok(Math.min(...cosines(await model.encodeDocuments(texts), await again.encodeDocuments(texts))) > 0.99)
    const widened = await Colbert.load(small, quiet)
    t.equal(widened.precision, 'float32')
    t.ok(Math.min(...cosines(await exact.encodeDocuments(texts), await widened.encodeDocuments(texts))) > 0.99)
    const size = (dir: string) => statSync(path.join(dir, 'model.safetensors')).size
    t.ok(size(small) < size(folder) / 2.5, `${size(small)} bytes, float32 takes ${size(folder)}`)
    for (const m of [exact, model, again, widened]) m.dispose()
    await device.synchronize()
    t.equal(device.memory().bytes, before, 'all memory is given back')
  })

/** Of token embeddings, one by one. */
function cosines(a: { data: Float32Array; dim: number }, b: { data: Float32Array; dim: number }): number[] {
  t.equal(a.data.length, b.data.length)
  return Array.from({ length: a.data.length / a.dim }, (_, row) => {
    let sum = 0
    for (let k = row * a.dim; k < (row + 1) * a.dim; k++) sum += a.data[k]! * b.data[k]!
    return sum
  })
}

t.test('the same whatever is encoded together, by any number of tokens at a time', async (t) => {
  const folder = path.join(temporary, 'alone')
  const made = await Colbert.create(shapes.bert!, { seed: 6 })
  await made.save(folder)
  made.dispose()
  const model = await Colbert.load(folder, { precision: 'int8', ...quiet })
  const all = await model.encodeDocuments(texts)
  t.same((await model.encodeDocuments(texts, { microBatchTokens: 1 })).data, all.data)
  const first = await model.encodeDocuments(texts.slice(0, 1))
  t.same(first.data, all.data.slice(0, first.data.length))
  model.dispose()
})

t.test('what it refuses', async (t) => {
  const folder = path.join(temporary, 'refusals')
  const made = await Colbert.create(shapes.bert!, { seed: 7 })
  await made.save(folder)
  made.dispose()
  const model = await Colbert.load(folder, { precision: 'int8', ...quiet })
  t.throws(() => model.parameterGroups([{ learningRate: 1 }]), { code: 'ERR_UNSUPPORTED', message: /float32/ })
  const data = memorySource('pairs', [{ query: 'late', documents: ['one vector'] }])
  const phase = { name: 'a', loss: 'contrastive', data: [data], batch: 1, steps: 1, learningRate: 1e-3 } as const
  await t.rejects(train({ model, out: path.join(temporary, 'run'), phases: [phase] }).result, {
    code: 'ERR_CONFIG',
    message: /int8, which encodes only/,
  })
  await t.rejects(model.save(path.join(temporary, 'stanford'), { layout: 'stanford' }), { message: /int8 weights/ })
  await t.rejects(Colbert.create(shapes.bert!, { precision: 'int8' as 'float32' }), { code: 'ERR_ARGUMENT' })
  await t.rejects(Colbert.load(folder, { precision: 'int8', device: 'cuda-host' }), { code: 'ERR_UNSUPPORTED' })

  const small = path.join(temporary, 'damaged')
  await model.save(small)
  model.dispose()
  const file = path.join(small, 'model.safetensors')
  const whole = readFileSync(file)
  const config = path.join(small, 'config.json')
  const json = readFileSync(config, 'utf8')
  writeFileSync(config, json.replace('"lateforge"', '"gptq"'))
  await t.rejects(Colbert.load(small, quiet), { code: 'ERR_FORMAT', message: /quantization_config/ })
  writeFileSync(config, json)
  const tensors = await SafetensorsFile.open(file)
  const name = [...tensors.tensors.keys()].find((tensor) => /query\.weight$/.test(tensor))!
  const kept = await Promise.all(
    [...tensors.tensors.values()]
      .filter((tensor) => tensor.name !== `${name}_scale`)
      .map(async ({ name, dtype, shape }) => ({
        name,
        shape,
        data: dtype === 'I8' ? Int8Array.from(await tensors.floats(name)) : await tensors.floats(name),
      })),
  )
  await tensors.close()
  await writeSafetensors(file, kept)
  await t.rejects(Colbert.load(small, quiet), { code: 'ERR_FORMAT', message: /int8, and no .*_scale/ })
  writeFileSync(file, whole)
  const sound = await Colbert.load(small, quiet)
  sound.dispose()
  await spoil(path.join(folder, 'model.safetensors'))
  await t.rejects(Colbert.load(folder, { precision: 'int8', ...quiet }), { message: /not finite/ })
})

/** One weight of the file becomes NaN. */
async function spoil(file: string): Promise<void> {
  const tensors = await SafetensorsFile.open(file)
  const all = await Promise.all(
    [...tensors.tensors.values()].map(async ({ name, shape }) => ({ name, shape, data: await tensors.floats(name) })),
  )
  await tensors.close()
  all.find(({ name }) => /query\.weight$/.test(name))!.data[0] = Number.NaN
  await writeSafetensors(file, all)
}
