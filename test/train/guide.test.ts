/** A phase with a guide: what it leaves out, the same rows in tokens of its own, and what is refused. */
import { rmSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import type { TrainBatch } from '../../lib/data/collate.js'
import { Colbert } from '../../lib/models/colbert.js'
import { openData } from '../../lib/train/data.js'
import { embedBatch } from '../../lib/train/gradcache.js'
import { train } from '../../lib/train/loop/run.js'
import { folder, saveGuide, saveTinyModel, threePhases, tinyModel, tinyRun, todaysPhases, writeData } from './tiny.js'

t.test('a margin leaves out all negatives, none, or some', async (t) => {
  const dir = folder(t)
  const guide = await saveGuide(dir)
  const [, two] = threePhases(dir, 1)
  /** What a training without a guide leaves: tables of positions. */
  let left = 0
  const lossWith = async (name: string, margin?: number): Promise<number> => {
    const model = await tinyModel()
    const before = model.device.memory().tensors
    const phase = { ...two!, ...(margin !== undefined && { guide: { model: guide, margin } }) }
    const { phases } = await train(tinyRun(dir, model, name, [phase])).result
    left ||= model.device.memory().tensors - before
    t.equal(model.device.memory().tensors - before, left, 'nothing of the guide is left')
    model.dispose()
    return phases[0]!.loss
  }
  const alone = await lossWith('alone')
  t.equal(await lossWith('none', -1e6), alone)
  t.equal(await lossWith('all', 1e6), 0)
  const some = await lossWith('some', 0)
  t.ok(some > 0 && some < alone, `${some} of ${alone}`)
})

t.test('a guide on several ranks has the rows that the model has, in its own tokens', async (t) => {
  const dir = folder(t)
  const { scored: data } = writeData(dir)
  const models = [await tinyModel(), await Colbert.load(await saveGuide(dir))]
  const options = { data, batch: 13, seed: 3, sampleNegatives: 2, workers: 0, cacheDir: path.join(dir, 'cache') }
  const [own, other] = await Promise.all(models.map((model) => openData({ ...options, model })))
  let unlike = 0
  for (const [step, ranks] of [1, 2, 3, 4].entries())
    for (let rank = 0; rank < ranks; rank++) {
      const rows = ({ queries, documents, documentsPerQuery, counts, scores }: TrainBatch) =>
        JSON.stringify([[...queries.rows], [...documents.rows], [...documentsPerQuery], counts, [...scores!]])
      const batch = await own!.at(step, { rank, ranks })
      const guided = await other!.at(step, { rank, ranks, like: batch })
      t.equal(rows(guided), rows(batch), `rank ${rank} of ${ranks}`)
      t.notSame(guided.documents.ids, batch.documents.ids, 'other tokens')
      if (rows(await other!.at(step, { rank, ranks })) !== rows(batch)) unlike++
    }
  t.ok(unlike > 0, 'its own lengths would deal out the rows otherwise')
  for (const each of [own!, other!]) each.close()
  for (const model of models) model.dispose()
})

t.test('the embeddings of a batch do not depend on micro-batches, nor on dropout', async (t) => {
  const dir = folder(t)
  const { pairs: data } = writeData(dir)
  const model = await tinyModel()
  const batches = await openData({ data, batch: 8, seed: 1, model, workers: 0, cacheDir: path.join(dir, 'cache') })
  const batch = await batches.at(0)
  const made: Float32Array[] = []
  let before = 0
  for (const microBatchTokens of [1, 40, 1e6]) {
    const { queries, documents } = await embedBatch(model, batch, { microBatchTokens })
    made.push(Float32Array.from([...(await queries.tokens.values()), ...(await documents.tokens.values())]))
    for (const { tokens, segments } of [queries, documents]) for (const each of [tokens, segments]) each.dispose()
    before ||= model.device.memory().tensors // with the model's tables of positions
  }
  for (const each of made.slice(1))
    t.ok(each.every((x, i) => Math.abs(x - made[0]![i]!) < 1e-6) && each.length === made[0]!.length)
  t.equal(model.device.memory().tensors, before)
  await t.rejects(embedBatch(model, batch, { microBatchTokens: 1, gather: 'queries' }), { code: 'ERR_ARGUMENT' })
  await t.rejects(embedBatch(model, batch, { microBatchTokens: 1, signal: AbortSignal.abort() }), {
    code: 'ERR_ABORTED',
  })
  model.dispose()
  batches.close()
})

t.test('a dense guide', async (t) => {
  const dir = folder(t)
  const guide = { model: `${await saveGuide(dir)}-dense`, margin: 0 }
  const [, two] = threePhases(dir, 2)
  const model = await tinyModel()
  const run = (out: string, more: object) =>
    train(tinyRun(dir, model, out, [{ ...two!, guide: { ...guide, ...more } }])).result
  await t.rejects(run('refused', {}), { message: /dense: true/ })
  const { phases } = await run('dense', { dense: true })
  t.ok(phases[0]!.loss > 0)
  model.dispose()
})

t.test('what cannot guide is refused before the first step, another guide on the way', async (t) => {
  const dir = folder(t)
  const base = path.join(dir, 'base')
  await saveTinyModel(base)
  const [, , three] = todaysPhases(dir, 6)
  const refused = async (out: string, phase: object, model: string | Colbert = base) => {
    const error = await train(tinyRun(dir, model, out, [{ ...three!, ...phase }])).result.catch((error) => error)
    return { code: error.code, message: error.message, path: error.details.issues?.[0]?.path }
  }
  t.match(await refused('a', {}), { path: 'phases[0].guide (phase "three")', message: /guide/ })
  const model = await tinyModel()
  t.match(await refused('b', { guide: { model } }, model), { message: /the guide is the model that is trained/ })
  model.dispose()

  await saveGuide(dir)
  const stop = new AbortController()
  const config = tinyRun(dir, base, 'run', [three!])
  const run = train(config, { signal: stop.signal })
  const stopped = (async () => {
    for await (const event of run) if (event.type === 'step' && event.step === 2) stop.abort()
  })()
  await t.rejects(stopped, { code: 'ERR_ABORTED' })
  rmSync(path.join(dir, 'guide'), { recursive: true })
  await saveTinyModel(path.join(dir, 'guide'), 6, {
    documentLength: 9,
    queryExpansion: false,
    documentPrompt: 'w1 w2 ',
  })
  await t.rejects(train(config, { resume: 'auto' }).result, {
    code: 'ERR_CHECKPOINT',
    message: /the guide is another model/,
  })
  rmSync(path.join(dir, 'guide'), { recursive: true })
  await saveGuide(dir)
  const { model: trained, phases } = await train(config, { resume: 'auto' }).result
  t.equal(phases[0]!.steps, 6)
  trained.dispose()
})
