/** What is dropped without dispose() is freed, and named once, however many tensors it is made of. */
import { spawnSync } from 'node:child_process'
import t from 'tap'

/** Runs `body` in a process of its own, with garbage collection at hand. @returns the warnings, and what tensors are left */
function dropped(body: string): { warnings: string[]; left: number } {
  const lib = (path: string) => JSON.stringify(new URL(`../../lib/${path}.js`, import.meta.url).href)
  const script = `
    import { Device, scope, Scope, Tape, Tensor, ops } from ${lib('tensor/index')}
    import { Colbert } from ${lib('models/colbert')}
    import { AdamW } from ${lib('train/optim/adamw')}
    import { DeviceEmbeddings } from ${lib('retrieval/embeddings')}
    import { Tokenizer } from ${lib('text/tokenizer/tokenizer')}
    const device = Device.open('cpu')
    const warnings = []
    process.on('warning', (w) => warnings.push(w.name + ' ' + w.message))
    const collect = async (left = 0) => {
      for (let i = 0; i < 100 && device.memory().tensors > left; i++) { gc(); await new Promise((r) => setTimeout(r, 10)) }
      await new Promise((r) => setTimeout(r, 20))
    }
    const tokenizer = Tokenizer.fromVocabulary(['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'a', 'b'])
    const create = (architecture) => Colbert.create({ architecture, layers: 3, width: 16, heads: 1, dim: 8, positions: 64,
      tokenizer, recipe: { queryLength: 8, documentLength: 16 } })
    await (async () => { ${body} })()
    await collect()
    console.log('\\n' + JSON.stringify({ warnings, left: device.memory().tensors }))`
  const child = spawnSync(process.execPath, ['--expose-gc', '--input-type=module', '-e', script], { encoding: 'utf8' })
  return JSON.parse(child.stdout.trim().split('\n').at(-1) ?? child.stderr)
}

t.test('a model, with the tables it made while it worked', async (t) => {
  const { warnings, left } = dropped(`const model = await create('modernbert'); await model.encodeQueries(['a b'])`)
  t.equal(left, 0)
  t.equal(warnings.length, 1)
  t.match(
    warnings[0],
    /^LateforgeLeak a Colbert model \(modernbert, 3 layers of width 16\) was .*dispose\(\) \(\d+ tensors, 0\.\d+ MB\)/,
  )
})

t.test('two models, an optimiser, documents on a device, a tape and a scope: one warning each', async (t) => {
  const { warnings, left } = dropped(`
    for (const kind of ['bert', 'modernbert']) {
      const model = await create(kind)
      if (kind === 'bert') {
        new AdamW([{ parameters: model.parameters, learningRate: 1 }]).step()
        await model.upload(await model.encodeDocuments(['a', 'b']))
      }
    }
    const tape = new Tape()
    scope(() => {
      const x = Tensor.from(device, [1, 2], [1, 2])
      x.requiresGradient = true
      tape.run(() => ops.l2Normalize(x))
    })
    new Scope().run(() => { for (let i = 0; i < 9; i++) Tensor.from(device, [i]) })`)
  t.equal(left, 0)
  const names = warnings.map((text) => /^LateforgeLeak (.*?) was garbage collected/.exec(text)?.[1]).sort()
  t.same(names, [
    'a Colbert model (bert, 3 layers of width 16)',
    'a Colbert model (modernbert, 3 layers of width 16)',
    'a Scope',
    'a Tape',
    'an AdamW',
    'embeddings of 2 texts on a device',
  ])
})

t.test('tensors of nobody: one warning for many, and few for a loop that forgets', async (t) => {
  const many = dropped('for (let i = 0; i < 50; i++) Tensor.from(device, [i, i])')
  t.equal(many.left, 0)
  t.equal(many.warnings.length, 1)
  t.match(many.warnings[0], /a float32 tensor of shape \[2\] and \d+ more were .* tensors, .*scope\(\)/)
  const loop = dropped('for (let i = 0; i < 60; i++) { ;(() => { Tensor.from(device, [i]) })(); await collect() }')
  t.equal(loop.left, 0)
  t.ok(loop.warnings.length >= 1 && loop.warnings.length <= 3, loop.warnings.join('\n'))
})

t.test('what was disposed of says nothing', async (t) => {
  const { warnings, left } = dropped(`
    const model = await create('bert')
    const opt = new AdamW([{ parameters: model.parameters, learningRate: 1 }])
    opt.step()
    const resident = await model.upload(await model.encodeDocuments(['a']))
    for (const owner of [resident, opt, model]) owner.dispose()
    const own = new Scope()
    own.run(() => Tensor.from(device, [1]))
    own.dispose()`)
  t.same({ warnings, left }, { warnings: [], left: 0 })
})
