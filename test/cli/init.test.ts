/** `lateforge init`: every preset as a config that can be read, and nothing overwritten. */
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { resolveConfig } from '../../lib/train/config/config.js'
import { readConfig } from '../../lib/train/config/config-file.js'
import { presets } from '../../lib/train/config/presets.js'
import { lateforge } from '../command.js'
import { folder } from '../train/tiny.js'

const cwd = folder(t)

for (const [name, preset] of presets)
  t.test(name, async (t) => {
    const { status, stdout } = lateforge(['init', name, '-'], cwd)
    t.equal(status, 0)
    const words = stdout.replace(/^#/gm, '').replace(/\s+/g, ' ')
    for (const sentence of preset.about) t.ok(words.includes(sentence), sentence)
    const file = path.join(cwd, `${name}.test.yaml`)
    writeFileSync(file, stdout)
    const { phases, ...written } = await readConfig(file, [])
    const { model, out } = { model: preset.model, out: written.out }
    const data = phases.map((phase) => phase.data)
    const given = { preset: name, model, out, ...(preset.freshProjection && { freshProjection: true }) }
    const resolved = resolveConfig({ ...given, phases: data.map((each) => ({ data: each })) })
    t.same({ ...written, phases }, resolved, 'the same run as by the name of the preset')
    t.match(data.flat(), Array(phases.length).fill(/^data\/\w+\/\*\.parquet$/))
  })

t.test('the list, a file, and what is refused', async (t) => {
  const list = lateforge(['init'], cwd)
  t.same(list.stdout.match(/^\S+$/gm), [...presets.keys()])
  t.match(lateforge(['init', 'finetune'], cwd), { status: 0, stdout: /^finetune\.yaml: set model and data/ })
  const before = readFileSync(path.join(cwd, 'finetune.yaml'), 'utf8')
  t.match(lateforge(['init', 'finetune'], cwd), { status: 3, stderr: /finetune\.yaml is there already/ })
  t.equal(readFileSync(path.join(cwd, 'finetune.yaml'), 'utf8'), before)
  t.match(lateforge(['init', 'colbert-zro'], cwd), { status: 2, stderr: /did you mean "colbert-zero"/ })
})
