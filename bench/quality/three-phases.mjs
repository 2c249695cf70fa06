// Do three phases end in a better model? From a dense encoder with a new projection: contrastive on pairs, contrastive with
// negatives that the model of the first phase mined, distillation from a dense teacher of other weights. docs/quality.md has
// the results.
//
// usage: node bench/quality/three-phases.mjs MODEL TEACHER DATA OUT SEED… [--tune]      after npm run setup
//   MODEL, TEACHER  dense folders: all-MiniLM-L6-v2, bge-small-en-v1.5 (bench/peers/onnx_weights.py)
//   DATA            pairs/*.jsonl.gz and collections/*, BEIR folders
//   --tune          judges by tldr's dev split alone
// What is done is kept under OUT: call it again to go on, and report.mjs for the tables.
import { headline, mined, openColbert, prepareData, say, scoreBm25, scoreModel, trained } from './common.mjs'
import * as recipe from './recipe.mjs'

const args = process.argv.slice(2)
const [modelDir, teacherDir, data, out, ...seeds] = args.filter((arg) => arg !== '--tune')
const where = { out, data }
const collections = args.includes('--tune') ? [['tldr', 'dev']] : [...headline, 'tldr'].map((name) => [name, 'test'])

const { pairs, toMine } = await prepareData({ data, out, mined: recipe.minedRows })
await scoreBm25(where, collections)
await scoreModel(where, 'dense', collections, () => recipe.openPlain(modelDir))
await scoreModel(where, 'teacher', collections, () => recipe.openTeacher(teacherDir))
await scoreModel(where, 'start', collections, () => recipe.openStart(modelDir, Number(seeds[0])))
for (const given of seeds) {
  const seed = Number(given)
  const first = await trained(where, `pairs-${seed}`, {
    ...{ model: modelDir, ...recipe.startOf(seed), phases: [recipe.unsupervisedPhase(pairs)] },
  })
  await scoreModel(where, `unsupervised-${seed}`, collections, () => openColbert(first.models.unsupervised))
  const { files } = await mined(where, `own-${seed}`, toMine, async () => ({
    ...{ by: await openColbert(first.models.unsupervised), teacher: await recipe.openTeacher(teacherDir) },
    ...recipe.mining(seed),
  }))
  const second = await trained(where, `triplets-${seed}`, {
    ...{ model: first.models.unsupervised, seed },
    phases: [recipe.supervisedPhase(files), recipe.distillationPhase(files)],
  })
  for (const phase of ['supervised', 'distillation'])
    await scoreModel(where, `${phase}-${seed}`, collections, () => openColbert(second.models[phase]))
  say(`seed ${seed}: tokens ${JSON.stringify({ ...first.tokens, ...second.tokens })}`)
}
