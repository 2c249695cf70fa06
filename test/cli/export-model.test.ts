/** `lateforge export onnx` and `export vespa-app`. */
import { existsSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { Colbert } from '../../lib/models/colbert.js'
import { lateforge } from '../command.js'
import { tokenizer } from '../models/words.js'

const dir = t.testdir()
const saved = path.join(dir, 'model')

t.before(async () => {
  const shape = { architecture: 'bert', layers: 1, width: 16, heads: 2, dim: 16, positions: 64, tokenizer } as const
  const model = await Colbert.create({ ...shape, recipe: { documentLength: 50 } }, { seed: 4 })
  await model.save(saved)
  model.dispose()
})

t.test('export onnx', async (t) => {
  const out = path.join(dir, 'onnx')
  const { status, stdout, stderr } = lateforge(['export', 'onnx', saved, out])
  t.equal(status, 0, stderr)
  for (const name of ['model.onnx', 'model_int8.onnx', 'onnx_config.json', 'tokenizer.json'])
    t.ok(existsSync(path.join(out, name)) && stdout.includes(name), name)
  const again = lateforge(['export', 'onnx', saved, out])
  t.equal(again.status, 3)
  t.match(again.stderr, /ERR_FILE.*new folder/)
  t.match(lateforge(['export', 'onnx', saved, out, '--type', 'int4']).stderr, /ERR_USAGE.*float32 or int8/s)
  const one = lateforge(['export', 'onnx', saved, path.join(dir, 'one'), '--type', 'int8', '--json'])
  t.ok(JSON.parse(one.stdout).files.every((file: { path: string }) => file.path !== 'model.onnx'))
})

t.test('export vespa-app', async (t) => {
  const { status, stdout, stderr } = lateforge(['export', 'vespa-app', saved, path.join(dir, 'app'), '--cells', 'bits'])
  t.equal(status, 0, stderr)
  t.match(stdout, 'services.xml')
  t.match(stderr, /warn .*zeros/)
  const lower = ['--recipe', 'lowerCase=true', '--accept-recipe-change', 'lowerCase']
  const refused = lateforge(['export', 'vespa-app', saved, path.join(dir, 'no'), ...lower])
  t.equal(refused.status, 5, refused.stderr)
  t.match(refused.stderr, /ERR_UNSUPPORTED.*lowerCase/s)
  t.notOk(existsSync(path.join(dir, 'no')))
})
