// Whose hard negatives train best? BM25's, the dense model's, the ColBERT's own: the same rows of one collection (tldr), the
// same phase, from the model that prompts.mjs trained first, without prompts. docs/quality.md has the results.
//
// usage: node bench/quality/miners.mjs MODEL DATA OUT SEED…      after prompts.mjs with the same OUT and seeds
import { mined, openColbert, prepareData, scoreModel, trained } from './common.mjs'
import * as recipe from './recipe.mjs'

const [modelDir, data, out, ...seeds] = process.argv.slice(2)
const where = { out, data }
const collections = [['tldr', 'test']]
const { toMine } = await prepareData({ data, out, mined: { tldr: recipe.minedRows.tldr } })
for (const given of seeds) {
  const seed = Number(given)
  const first = await trained(where, `short-without-${seed}`)
  const openFirst = () => openColbert(first.models.unsupervised, { precision: 'int8' })
  await scoreModel(where, `short-${seed}`, collections, openFirst)
  const miners = {
    bm25: async () => 'bm25',
    dense: () => recipe.openPlain(modelDir),
    colbert: () => openColbert(first.models.unsupervised),
  }
  for (const [name, open] of Object.entries(miners)) {
    const { files } = await mined(where, `${name}-${seed}`, toMine, async () => ({
      ...{ by: await open(), ...recipe.mining(seed) },
    }))
    const { models } = await trained(where, `by-${name}-${seed}`, {
      ...{ model: first.models.unsupervised, seed },
      phases: [{ ...recipe.supervisedPhase(files), ...recipe.short.second }],
    })
    await scoreModel(where, `by-${name}-${seed}`, collections, () =>
      openColbert(models.supervised, { precision: 'int8' }),
    )
  }
}
