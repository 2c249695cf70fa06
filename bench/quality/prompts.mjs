// Must prompts be the same in training and in fine-tuning? Each with and without: two first phases, and from each two second
// ones, on the negatives that three-phases.mjs mined. Every model is used as it was tuned. docs/quality.md has the results.
//
// usage: node bench/quality/prompts.mjs MODEL DATA OUT SEED…      after three-phases.mjs with the same OUT and seeds
import { headline, minedFiles, openColbert, prepareData, scoreModel, trained } from './common.mjs'
import * as recipe from './recipe.mjs'

const [modelDir, data, out, ...seeds] = process.argv.slice(2)
const where = { out, data }
const collections = [...headline, 'tldr'].map((name) => [name, 'test'])
const { pairs, toMine } = await prepareData({ data, out, mined: recipe.minedRows })
const none = { prompts: { query: '', document: '' } }
const ways = { with: recipe.prompted, without: none }
for (const given of seeds) {
  const seed = Number(given)
  const files = minedFiles(where, `own-${seed}`, toMine)
  for (const [before, how] of Object.entries(ways)) {
    const first = await trained(where, before === 'without' ? `pairs-${seed}` : `prompted-pairs-${seed}`, {
      ...{ model: modelDir, ...recipe.startOf(seed), phases: [{ ...recipe.unsupervisedPhase(pairs), ...how }] },
    })
    for (const [after, then] of Object.entries(ways)) {
      if (before === 'without' && after === 'without') continue // three-phases.mjs trained it
      const name = `${before}-${after}-${seed}`
      const { models } = await trained(where, name, {
        ...{ model: first.models.unsupervised, seed, phases: [{ ...recipe.supervisedPhase(files), ...then }] },
        ...(before !== after && { acceptRecipeChange: ['queryPrompt', 'documentPrompt'] }),
      })
      await scoreModel(where, name, collections, () => openColbert(models.supervised))
    }
  }
}
