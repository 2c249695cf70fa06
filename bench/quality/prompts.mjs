// Must prompts be the same in training and in tuning? Each with and without: two first phases, and from each two second ones,
// all on the same negatives, mined by the dense model. Every model is used as it was tuned. docs/quality.md has the results.
//
// usage: node bench/quality/prompts.mjs MODEL DATA OUT SEED…      MODEL and DATA as for three-phases.mjs
import { headline, mined, openColbert, prepareData, scoreModel, trained } from './common.mjs'
import * as recipe from './recipe.mjs'

const [modelDir, data, out, ...seeds] = process.argv.slice(2)
const where = { out, data }
const collections = headline.map((name) => [name, 'test'])
const { pairs, toMine } = await prepareData({ data, out, mined: recipe.minedRows })
const { files } = await mined(where, 'dense', toMine, async () => ({
  ...{ by: await recipe.openPlain(modelDir), ...recipe.mining(0) },
}))
const ways = { with: recipe.prompted, without: { prompts: { query: '', document: '' } } }
for (const given of seeds) {
  const seed = Number(given)
  for (const [before, how] of Object.entries(ways)) {
    const first = await trained(where, `short-${before}-${seed}`, {
      ...{ model: modelDir, ...recipe.startOf(seed) },
      phases: [{ ...recipe.unsupervisedPhase(pairs), ...recipe.short.first, ...how }],
    })
    for (const [after, then] of Object.entries(ways)) {
      const name = `${before}-${after}-${seed}`
      const { models } = await trained(where, name, {
        ...{ model: first.models.unsupervised, seed },
        phases: [{ ...recipe.supervisedPhase(files), ...recipe.short.second, ...then }],
        ...(before !== after && { acceptRecipeChange: ['queryPrompt', 'documentPrompt'] }),
      })
      await scoreModel(where, name, collections, () => openColbert(models.supervised, { precision: 'int8' }))
    }
  }
}
