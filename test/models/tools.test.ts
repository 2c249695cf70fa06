/** Folders as sentence-transformers 6 and PyLate wrote them, and what each makes of its own (test/fixtures/folders.py). */
import { cpSync, existsSync, readdirSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { columnFromTexts } from '../../lib/data/column.js'
import { SafetensorsFile } from '../../lib/io/safetensors.js'
import { Colbert } from '../../lib/models/colbert.js'
import { encodesAs, fixtures, json } from './fixture.js'

const temporary = t.testdir()

/** The folder as it was saved: with the weights and the tokenizer that it shares with other fixtures. */
function whole(name: string): string {
  const dir = path.join(temporary, name)
  const { base, tokenizer } = json('folders', name, 'about.json')
  for (const part of ['', '1_Dense', '2_Dense'])
    if (base) cpSync(path.join(fixtures, base, part, 'model.safetensors'), path.join(dir, part, 'model.safetensors'))
  if (tokenizer) cpSync(path.join(fixtures, tokenizer, 'tokenizer.json'), path.join(dir, 'tokenizer.json'))
  cpSync(path.join(fixtures, 'folders', name, 'model'), dir, { recursive: true })
  return dir
}

for (const name of readdirSync(path.join(fixtures, 'folders')))
  t.test(name, async (t) => {
    const dir = whole(name)
    const { texts } = json('folders', name, 'about.json')
    await using expected = await SafetensorsFile.open(path.join(fixtures, 'folders', name, 'expected.safetensors'))
    const model = await Colbert.load(dir)
    const saved = path.join(temporary, `${name}-saved`)
    await model.save(saved)
    const again = await Colbert.load(saved)
    t.same(again.recipe, model.recipe, 'the recipe survives saving')
    const native = path.join(temporary, `${name}-native`)
    await model.save(native, { layout: 'sentence-transformers' })
    t.ok(existsSync(path.join(native, 'config_sentence_transformers.json')))
    const other = await Colbert.load(native)
    t.same(other.recipe, model.recipe, "and in sentence-transformers' layout")
    for (const role of ['query', 'document'] as const) {
      const column = columnFromTexts(model.featurizer, texts[role], role)
      // Expansion tokens that nothing sees and nothing scores are not there.
      if (name !== 'no-mask-expansion')
        t.same([...column.ids], [...(await expected.numbers(`${role}.ids`))], `${role} ids`)
      t.same([...column.keyLengths], [...(await expected.numbers(`${role}.attended`))], `${role} tokens attended to`)
      const models = { model, 'saved and loaded': again, "in sentence-transformers' layout": other }
      await encodesAs(t, expected, role, texts[role], models)
    }
    for (const each of [model, again, other]) each.dispose()
  })
