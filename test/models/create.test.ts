import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import t from 'tap'
import { Colbert } from '../../lib/models/colbert.js'
import { Device } from '../../lib/tensor/device.js'
import { BERT_SPECIAL_TOKENS } from '../../lib/text/bert.js'
import { PUNCTUATION } from '../../lib/text/recipe.js'
import { Tokenizer } from '../../lib/text/tokenizer.js'

const words =
  'late interaction is a kind of retrieval that keeps one vector per token not one for the whole text'.split(' ')
const tokenizer = Tokenizer.fromVocabulary([...new Set([...BERT_SPECIAL_TOKENS, ...PUNCTUATION, ...words])])
const texts = ['late interaction is retrieval.', 'one vector per token, not one for the text', 'a']

for (const architecture of ['modernbert', 'bert'] as const)
  t.test(`${architecture}: create, embed, save, load`, async (t) => {
    const device = Device.open()
    await device.synchronize()
    const before = device.memory()
    const dir = mkdtempSync(path.join(tmpdir(), 'lateforge-'))
    t.teardown(() => rmSync(dir, { recursive: true }))
    const shape = { architecture, layers: 4, width: 64, heads: 2, dim: 16, positions: 256, tokenizer }
    const model = await Colbert.create(shape, { seed: 3 })
    const folder = path.join(dir, 'model')
    await model.save(folder)
    await model.save(folder) // replaces what was there
    const again = await Colbert.load(folder)
    const queries = await model.encodeQueries(texts)
    const documents = await model.encodeDocuments(texts, { ids: ['x', 'y', 'z'] })
    t.same(await again.encodeQueries(texts), queries, 'bit-equal queries')
    t.same((await again.encodeDocuments(texts)).data, documents.data, 'bit-equal documents')
    t.same([...queries.offsets], [0, 32, 64, 96], 'queries are expanded')
    t.same([...documents.offsets], [0, 7, 19, 23], 'the full stop and the comma are skipped')
    for (const { data } of [queries, documents])
      for (let row = 0; row < data.length / 16; row++)
        t.ok(Math.abs(Math.hypot(...data.subarray(row * 16, row * 16 + 16)) - 1) < 1e-5, 'unit norm')
    const hits = await model.search(queries, documents, { topK: 2 })
    t.same(
      hits.map((h) => h.length),
      [2, 2, 2],
    )
    t.ok(hits.every(([a, b]) => a!.score >= b!.score && 'xyz'[a!.index] === a!.id))
    const chunked = await model.encodeDocuments(texts, { chunkTokens: 5 })
    t.ok(
      chunked.data.every((x, i) => Math.abs(x - documents.data[i]!) < 1e-5),
      'chunks do not matter',
    )
    model.dispose()
    again.dispose()
    await device.synchronize()
    const after = device.memory()
    t.same([after.tensors, after.bytes], [before.tensors, before.bytes], 'memory is given back')
  })
