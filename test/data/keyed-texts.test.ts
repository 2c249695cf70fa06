/** Keys and texts in a file: found again by key and by number, whatever they hold. */
import { readdirSync } from 'node:fs'
import t from 'tap'
import { KeyedTexts } from '../../lib/data/keyed-texts.js'
import { folder } from '../train/tiny.js'

t.test('many, odd and empty ones', async (t) => {
  const dir = folder(t)
  const texts = await KeyedTexts.create(dir)
  const keyOf = (i: number) =>
    i % 3 === 0 ? `${i}` : i % 3 === 1 ? `schlüssel ${'x'.repeat(i % 50)} ${i}` : `${i}\n\0`
  const count = 20_000 // the table of 4,096 slots grows three times, and several mebibytes are written
  for (let i = 0; i < count; i++) {
    if (texts.find(keyOf(i)) !== -1) t.fail(`${i} was not added yet`)
    if (texts.add(keyOf(i), `${i} `.repeat(i % 100)) !== i) t.fail(`number ${i}`)
  }
  t.equal(texts.add('', 'no key'), count)
  t.equal(texts.size, count + 1)
  for (let i = 0; i < count; i += 97) {
    t.equal(texts.add(keyOf(i), 'another text'), i, 'stays as it is')
    t.equal(texts.find(keyOf(i)), i)
    t.equal(texts.keyAt(i), keyOf(i))
    t.equal(texts.textAt(i), `${i} `.repeat(i % 100))
  }
  t.equal(texts.find(''), count)
  t.equal(texts.textAt(count), 'no key')
  t.equal(texts.size, count + 1)
  await texts.close()
  t.same(readdirSync(dir), [])
})
