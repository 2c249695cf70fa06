// What `check` says of a step's memory, and what the step then takes: three phases, graphs kept or not, with a given model and a
// random one of ettin-17m's shape. docs/check.md has the table.
//
// usage: node bench/check-memory.mjs MODEL DATA NEGATIVES      after npm run setup
//   MODEL      a folder of all-MiniLM-L6-v2, taken as a ColBERT with a new projection
//   DATA       python-doc.jsonl.gz and wordnet-lemma-gloss.jsonl.gz, pairs
//   NEGATIVES  rows with four negatives or more: lateforge mine, as bench/quality does
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Colbert } from 'lateforge'
import { checkRun } from 'lateforge/train'

const [model, data, negatives] = process.argv.slice(2)
const dir = mkdtempSync(path.join(tmpdir(), 'lateforge-memory-'))
process.on('exit', () => rmSync(dir, { recursive: true, force: true }))
const shape = { layers: 7, width: 256, heads: 4, intermediate: 384, dim: 128, positions: 512 }
const random = await Colbert.create({ architecture: 'modernbert', ...shape, tokenizer: model }, { seed: 1 })
await random.save(path.join(dir, 'ettin'))
random.dispose()

const common = { loss: 'contrastive', steps: 20, learningRate: 3e-5, queryLength: 32, documentLength: 180 }
const pairs = (name) => path.join(data, `${name}.jsonl.gz`)
const phases = [
  { ...common, name: 'pairs', data: pairs('python-doc'), batch: 24 },
  { ...common, name: 'short', data: pairs('wordnet-lemma-gloss'), batch: 192, documentLength: 64, symmetric: true },
  { ...common, name: 'hard', data: negatives, batch: 6, negatives: 4 },
]
const models = { MiniLM: { model, freshProjection: true }, ettin: { model: path.join(dir, 'ettin') } }
for (const [name, start] of Object.entries(models))
  for (const activationMemory of [0, 'auto']) {
    const config = { ...start, out: path.join(dir, 'out'), microBatchTokens: 2048, activationMemory, phases }
    for (const { name: phase, memory, trial } of (await checkRun(config, { steps: 1 })).phases)
      for (const rows of ['usual', 'worst']) {
        const [said, measured] = [memory[rows].bytes, trial.memory[rows]]
        const gib = (bytes) => (bytes / 2 ** 30).toFixed(3)
        const off = (100 * (said / measured - 1)).toFixed(1)
        console.log(
          `${name} ${activationMemory} ${phase} ${rows}: said ${gib(said)} GiB, measured ${gib(measured)}, ${off} %`,
        )
      }
  }
