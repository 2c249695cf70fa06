/**
 * A model goes on as it was trained: every way to use it otherwise is refused with the difference, and has one switch. With
 * a model that was trained with prompts, and one that was trained without.
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { writeBeir } from '../../lib/eval/index.js'
import { contrastive } from '../../lib/losses/index.js'
import { Colbert } from '../../lib/models/colbert.js'
import { maxsim, maxsimSync } from '../../lib/retrieval/maxsim.js'
import { alignedFields } from '../../lib/text/alignment.js'
import { defaultRecipe, type Recipe } from '../../lib/text/recipe.js'
import type { PhaseConfig, RunConfig } from '../../lib/train/config/types.js'
import { AdamW, type BatchLoss, gradCacheAsync, loadState, openData, saveState } from '../../lib/train/index.js'
import { train } from '../../lib/train/loop/run.js'
import { lateforge } from '../command.js'
import { folder, saveTinyModel, tinyModel, tinyRun, writeData } from '../train/tiny.js'

const dir = folder(t)
const { pairs } = writeData(dir)
const prompts = { query: 'w1 ', document: 'w2 ' }
const none = { query: '', document: '' }
const phase = (more: Partial<PhaseConfig>): PhaseConfig => ({
  ...{ name: 'one', loss: 'contrastive', data: pairs, batch: 8, steps: 1, learningRate: 1e-3, ...more },
})
let runs = 0
const run = (model: string, phases: PhaseConfig[], more: Partial<RunConfig> = {}): RunConfig => ({
  ...tinyRun(dir, model, `run-${runs++}`, phases),
  ...more,
})
async function trained(model: string, phases: PhaseConfig[], more: Partial<RunConfig> = {}): Promise<string> {
  const config = run(model, phases, more)
  const result = await train(config).result
  result.model.dispose()
  return join(config.out, 'model')
}
const notes: string[] = []
const load = (model: string, recipe: Partial<Recipe> = {}, acceptRecipeChange: 'queryPrompt'[] = []) =>
  Colbert.load(model, { recipe, acceptRecipeChange, onNote: (note) => notes.push(note) })

const base = join(dir, 'base')
const [withPrompts, without] = [join(dir, 'with'), join(dir, 'without')]
t.before(async () => {
  await saveTinyModel(base)
  for (const [into, given] of [
    [withPrompts, prompts],
    [without, none],
  ] as const) {
    const { model } = await train(run(base, [phase({ prompts: given })])).result
    await model.save(into)
    model.dispose()
  }
  const documents = ['w1 w2 w3', 'w4 w5'].map((text, i) => ({ id: `d${i}`, text }))
  const qrels = { test: new Map([['q', new Map([['d0', 1]])]]) }
  await writeBeir(join(dir, 'beir'), { documents, queries: [{ id: 'q', text: 'w1' }], qrels })
})

for (const [what, model, wrong, difference] of [
  ['with prompts', () => withPrompts, none, 'queryPrompt: "w1 " in training, "" now'],
  ['without prompts', () => without, prompts, 'queryPrompt: "" in training, "w1 " now'],
] as const)
  t.test(`trained ${what}`, async (t) => {
    const refusal = {
      code: 'ERR_RECIPE',
      message: new RegExp(`${difference}[\\s\\S]*acceptRecipeChange: \\['queryPrompt'`),
    }
    const recipe = { queryPrompt: wrong.query }

    await t.rejects(load(model(), recipe), refusal, 'loaded')
    const loaded = await load(model())
    t.throws(() => loaded.setRecipe(recipe), refusal, 'set')
    t.same(loaded.recipe.queryPrompt, what === 'with prompts' ? 'w1 ' : '', 'and nothing changed')
    t.throws(() => loaded.setRecipe({ queryLength: 9 }, { acceptRecipeChange: ['queryPrompt'] }), {
      code: 'ERR_ARGUMENT',
    })
    loaded.setRecipe({ documentLength: 20 })
    t.match(loaded.recipeNotes, [/documentLength is 20, beyond the 16 tokens/])
    loaded.dispose()

    const continued = run(model(), [phase({ prompts: { query: wrong.query } })])
    await t.rejects(train(continued).result, refusal, 'continued')
    t.notOk(existsSync(continued.out), 'and nothing was written')
    const byRecipe = train(run(model(), [phase({})], { recipe })).result
    await t.rejects(byRecipe, refusal, 'continued with another recipe for all phases')

    const tail = ['--recipe', `queryPrompt=${wrong.query}`]
    for (const verb of [
      ['eval', model(), join(dir, 'beir')],
      ['search', model(), join(dir, 'beir'), 'w1'],
    ]) {
      const refused = lateforge([...verb, ...tail])
      t.match(refused, { status: 4, stdout: '' }, verb[0])
      t.match(refused.stderr, difference)
      t.match(refused.stderr, '--accept-recipe-change queryPrompt')
      t.match(
        lateforge([...verb, ...tail, '--accept-recipe-change', 'queryPrompt']),
        { status: 0 },
        `${verb[0]}, accepted`,
      )
      t.match(lateforge([...verb, ...tail, '--accept-recipe-change', 'queryPrompt']).stderr, `${difference} (accepted)`)
      t.match(lateforge([...verb, '--accept-recipe-change', 'queryPrompt']), { status: 2, stderr: /no change of it/ })
    }
    const yaml = join(dir, `${runs++}.yaml`)
    const { out, ...rest } = run(model(), [phase({ prompts: { query: wrong.query } })])
    writeFileSync(yaml, JSON.stringify({ ...rest, out }))
    t.match(lateforge(['train', yaml]), { status: 4, stderr: difference })
    t.match(lateforge(['check', yaml]), { status: 4, stderr: difference })
    t.match(lateforge(['train', yaml, '--accept-recipe-change', 'queryPrompt', '--quiet']), { status: 0 })

    // The one switch: what was changed is in the folder, on its card, and is what the model goes on with.
    const changed = await trained(model(), [phase({ prompts: { query: wrong.query } })], {
      acceptRecipeChange: ['queryPrompt'],
    })
    t.match(
      readFileSync(join(changed, 'README.md'), 'utf8'),
      /accepted:[\s\S]*- `queryPrompt: "(w1 )?" before, "(w1 )?" since`/,
    )
    const after = await load(changed)
    t.match(after.recipeChanges, [{ field: 'queryPrompt', to: wrong.query }])
    t.same(after.recipe.queryPrompt, wrong.query)
    after.dispose()
    const accepted = await load(model(), recipe, ['queryPrompt'])
    await accepted.save(join(dir, 'exported'))
    t.match(JSON.parse(readFileSync(join(dir, 'exported/config_sentence_transformers.json'), 'utf8')), {
      lateforge: { trained: true, recipeChanges: [{ field: 'queryPrompt', to: wrong.query }] },
    })
    accepted.dispose()
    rmSync(join(dir, 'exported'), { recursive: true })
  })

t.test('embeddings of two recipes are not compared, those of two lengths are', async (t) => {
  const [a, b] = [await load(withPrompts), await load(without)]
  const queries = await a.encodeQueries(['w1'])
  await t.rejects(a.search(queries, await b.encodeDocuments(['w2'])), {
    code: 'ERR_RECIPE',
    message: /documentPrompt: "" of the documents, "w2 " of the queries/,
  })
  await t.rejects(b.search(queries, await b.encodeDocuments(['w2'])), { message: /"" of the model/ })
  const others = await b.encodeDocuments(['w2'])
  await t.rejects(maxsim(queries, others), { code: 'ERR_RECIPE' })
  t.throws(() => maxsimSync(queries, others), { code: 'ERR_RECIPE' })
  const documents = await a.encodeDocuments(['w2', 'w3'])
  a.setRecipe({ queryLength: 12 })
  t.equal((await a.search(await a.encodeQueries(['w1']), documents))[0]!.length, 2)
  a.dispose()
  b.dispose()
})

t.test('phases of one run are held to each other; a new model is held to nothing', async (t) => {
  const phases = [phase({ prompts }), phase({ name: 'two', prompts: { query: 'w3 ' } })]
  await t.rejects(train(run(base, phases)).result, {
    code: 'ERR_RECIPE',
    message:
      /phases\[1\]\.prompts \(phase "two"\): the model of the phase before was trained with another recipe:\s+queryPrompt: "w1 " in training, "w3 " now/,
  })
  const fresh = await tinyModel()
  fresh.setRecipe({ queryPrompt: 'w5 ', skiplistWords: [] })
  t.equal(fresh.trainedRecipe, null)
  fresh.dispose()
})

t.test('a folder that may have had prompts in training says so once', async (t) => {
  const foreign = join(dir, 'foreign')
  const model = await tinyModel()
  await model.save(foreign)
  model.dispose()
  const file = join(foreign, 'config_sentence_transformers.json')
  const { lateforge: _, __version__: __, ...json } = JSON.parse(readFileSync(file, 'utf8'))
  writeFileSync(file, JSON.stringify(json))
  notes.length = 0
  const loaded = await load(foreign)
  t.match(notes, [/names no prompts/])
  t.equal(notes.length, 1)
  loaded.setRecipe({ clampNegatives: true }) // PyLate's folders do not say it either
  loaded.setRecipe({ queryPrompt: 'w1 ', documentPrompt: 'w2 ' })
  t.same(loaded.recipeNotes, [], 'whoever knows them says so')
  t.throws(() => loaded.setRecipe({ queryPrompt: '' }), { code: 'ERR_RECIPE' })
  loaded.dispose()
  notes.length = 0
  const told = await load(foreign, { queryPrompt: '', documentPrompt: '' })
  t.same(notes, [])
  told.dispose()
  const events: unknown[] = []
  const training = train(run(foreign, [phase({})]))
  for await (const event of training) if (event.type === 'warning') events.push(event.message)
  t.match(events, [/names no prompts/], 'and a training does')
  ;(await training.result).model.dispose()
  const later = phase({ name: 'two', prompts: { query: 'w3 ' } })
  const byPhase = await train(run(foreign, [phase({ prompts })])).result
  t.equal(byPhase.model.recipe.queryPrompt, 'w1 ', 'the first phase may say them')
  t.same(byPhase.model.recipeChanges, [])
  byPhase.model.dispose()
  await t.rejects(train(run(foreign, [phase({ prompts }), later])).result, { code: 'ERR_RECIPE' }, 'and only the first')
})

t.test('what may be accepted', async (t) => {
  const accept = (name: string) => load(withPrompts, { queryPrompt: '' }, [name as never])
  await t.rejects(accept('queryPromt'), { code: 'ERR_RECIPE', message: /"queryPrompt"\?/ })
  await t.rejects(accept('queryLength'), { code: 'ERR_RECIPE', message: /is no change to accept/ })
  const bad = train(run(base, [phase({})], { acceptRecipeChange: ['prompt' as never] })).result
  await t.rejects(bad, { code: 'ERR_CONFIG', message: /"prompt" is no change to accept/ })
  const idle = train(run(withPrompts, [phase({})], { acceptRecipeChange: ['lowerCase'] }))
  const warned: string[] = []
  for await (const event of idle) if (event.type === 'warning') warned.push(event.message)
  t.match(warned, [/acceptRecipeChange has no effect here: lowerCase stays as trained/])
  ;(await idle.result).model.dispose()
  t.equal(Object.keys(defaultRecipe()).length, alignedFields.length + 3, 'all fields but lengths and tokenizer')
})

t.test('nothing changes a recipe but setRecipe', async (t) => {
  const model = await load(withPrompts)
  const { recipe, trainedRecipe } = model
  t.throws(() => Object.assign(recipe, { queryPrompt: '' }), TypeError)
  t.throws(() => Object.assign(trainedRecipe!, { queryPrompt: '' }), TypeError)
  t.throws(() => recipe.skiplistWords.push('w1'), TypeError)
  const skiplistWords = ['w3']
  model.setRecipe({ skiplistWords }, { acceptRecipeChange: ['skiplistWords'] })
  skiplistWords.push('w4')
  t.same(model.recipe.skiplistWords, ['w3'], 'nor does the list that it was given')
  model.dispose()
})

t.test('a loop of its own: batches and checkpoints of another recipe are refused', async (t) => {
  const [a, b] = [await load(withPrompts), await load(without)]
  const data = await openData({ data: pairs, model: b, batch: 4, seed: 1 })
  const loss: BatchLoss = ({ queries, documents }) => contrastive(queries, documents)
  const options = { seed: 1, step: 0, microBatchTokens: 4096 }
  await t.rejects(gradCacheAsync(a, await data.at(0), loss, options), {
    code: 'ERR_RECIPE',
    message: /queryPrompt: "w1 " of the model, "" of the batch/,
  })
  ;(await gradCacheAsync(b, await data.at(0), loss, options)).dispose()
  data.close()

  const [optA, optB] = [
    new AdamW([{ parameters: a.parameters, learningRate: 0 }]),
    new AdamW([{ parameters: b.parameters, learningRate: 0 }]),
  ]
  const path = await saveState(join(dir, 'states'), { model: a, opt: optA, step: 1 })
  const before = await b.parameters.values.values()
  await t.rejects(loadState(path, { model: b, opt: optB }), {
    code: 'ERR_RECIPE',
    message: /"w1 " in training, "" now/,
  })
  t.same(await b.parameters.values.values(), before, 'and nothing was loaded')
  const fresh = await load(base, { queryPrompt: 'w1 ', documentPrompt: 'w2 ', queryLength: 11 })
  const opt = new AdamW([{ parameters: fresh.parameters, learningRate: 0 }])
  await loadState(path, { model: fresh, opt })
  t.equal(fresh.recipe.queryLength, 11, 'lengths may differ')
  t.throws(() => fresh.setRecipe({ queryPrompt: '' }), { code: 'ERR_RECIPE' }, 'its weights have learned the prompts')
  for (const each of [optA, optB, opt, a, b, fresh]) each.dispose()
})
