/** Models as ONNX: what onnxruntime makes of the graph, and what lies beside it. */
import path from 'node:path'
import t from 'tap'
import { exportOnnx } from '../../lib/onnx/index.js'
import { texts } from '../models/words.js'
import { cases, makeCase } from './cases.js'
import { largestDifference, openGraph, runGraph } from './runtime.js'

const temporary = t.testdir()
const seed = 20261130
t.comment(`seed ${seed}`)

for (const name of Object.keys(cases))
  t.test(`${name}: onnxruntime's embeddings are the model's`, async (t) => {
    const model = await makeCase(name, seed)
    const folder = path.join(temporary, name)
    await exportOnnx(model, folder)
    const encode = { query: model.encodeQueries(texts), document: model.encodeDocuments(texts) }
    for (const [file, allowed] of [
      ['model.onnx', 1e-5],
      ['model_int8.onnx', 0.2],
    ] as const) {
      const session = await openGraph(path.join(folder, file))
      t.same(session.inputNames, ['input_ids', 'attention_mask'])
      for (const role of ['query', 'document'] as const)
        for (const options of [{}, { batch: 1 }, { batch: 3, more: 5 }]) {
          const found = await runGraph(session, model, role, texts, options)
          const worst = largestDifference(found, (await encode[role]).data)
          t.ok(worst < allowed, `${file}, ${role}, ${JSON.stringify(options)}: off by ${worst}`)
          t.comment(`${file}, ${role}, ${JSON.stringify(options)}: off by ${worst}`)
        }
      await session.release()
    }
    model.dispose()
  })
