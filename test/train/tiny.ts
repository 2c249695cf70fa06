import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Random } from '../../lib/io/random.js'
import { Colbert } from '../../lib/models/colbert.js'
import { PUNCTUATION, type Recipe } from '../../lib/text/recipe.js'
import { BERT_SPECIAL_TOKENS } from '../../lib/text/tokenizer/bert.js'
import { Tokenizer } from '../../lib/text/tokenizer/tokenizer.js'
import type { PhaseConfig, RunConfig } from '../../lib/train/config/types.js'

/** A folder that is gone after the test; a test may have several, of `t.testdir()` but one. */
export function folder(t: { teardown(fn: () => void): unknown }): string {
  const made = mkdtempSync(path.join(tmpdir(), 'lateforge-train-'))
  t.teardown(() => rmSync(made, { recursive: true, force: true }))
  return made
}

export const words = Array.from({ length: 60 }, (_, i) => `w${i}`)
const tokenizer = Tokenizer.fromVocabulary([...new Set([...BERT_SPECIAL_TOKENS, ...PUNCTUATION, ...words])])

/** A model of two layers with dropout, so that a resume has draws to repeat. */
export function tinyModel(seed = 1, recipe: Partial<Recipe> = {}): Promise<Colbert> {
  return Colbert.create(
    {
      architecture: 'modernbert',
      layers: 2,
      width: 32,
      heads: 1,
      dim: 16,
      positions: 64,
      dropout: 0.1,
      tokenizer,
      recipe: { queryLength: 8, documentLength: 16, ...recipe },
    },
    { seed },
  )
}

/** The same in a folder. */
export async function saveTinyModel(into: string, ...how: Parameters<typeof tinyModel>): Promise<void> {
  const model = await tinyModel(...how)
  await model.save(into)
  model.dispose()
}

/** Data of all three kinds in `dir`: a query shares words with its positive. */
export function writeData(dir: string, seed = 1): { pairs: string; triplets: string; scored: string } {
  const random = new Random(seed)
  const draw = (n: number) => random.integer(n)
  const text = (length: number): string[] => Array.from({ length }, () => words[draw(words.length)]!)
  const rows = Array.from({ length: 60 }, () => {
    const query = text(4)
    return {
      query: query.join(' '),
      documents: [[...query.slice(0, 2), ...text(5)], text(3 + draw(8)), text(5), text(6)].map((d) => d.join(' ')),
    }
  })
  const write = (name: string, lines: object[]): string => {
    const file = path.join(dir, `${name}.jsonl`)
    writeFileSync(file, `${lines.map((line) => JSON.stringify(line)).join('\n')}\n`)
    return file
  }
  return {
    pairs: write(
      'pairs',
      rows.map(({ query, documents: [document] }) => ({ query, document })),
    ),
    triplets: write(
      'triplets',
      rows.map(({ query, documents: [positive, ...negatives] }) => ({ query, positive, negatives })),
    ),
    scored: write(
      'scored',
      rows.map((row) => ({ ...row, scores: [3, 1, 0, draw(3)] })),
    ),
  }
}

/** Three phases of `steps` each: contrastive with a learned temperature, with negatives, distillation with drawn ones. */
export function threePhases(dir: string, steps: number, changes: Partial<PhaseConfig> = {}): PhaseConfig[] {
  const { pairs, triplets, scored } = writeData(dir)
  const common = { batch: 8, steps, checkpoint: { every: 3 }, ...changes }
  return [
    {
      ...common,
      name: 'one',
      loss: 'contrastive',
      data: pairs,
      learningRate: 1e-3,
      temperature: 0.1,
      learnableTemperature: true,
    },
    {
      ...common,
      name: 'two',
      loss: 'contrastive',
      data: triplets,
      negatives: 2,
      learningRate: 5e-4,
      documentLength: 12,
    },
    {
      ...common,
      name: 'three',
      loss: 'distillation',
      data: scored,
      sampleNegatives: 2,
      learningRate: 3e-4,
      weightDecay: 0.01,
    },
  ]
}

/** A guide for `dir`: another model, which reads the same texts otherwise. The same with `-dense` has one vector a text. */
export async function saveGuide(dir: string): Promise<string> {
  const folder = path.join(dir, 'guide')
  await saveTinyModel(folder, 5, { documentLength: 9, queryExpansion: false, documentPrompt: 'w1 w2 ' })
  await saveTinyModel(`${folder}-dense`, 5, { pooling: 'mean', documentLength: 9, documentPrompt: 'w1 w2 ' })
  return folder
}

/** The three phases, the last with all that recipes have today: two losses, both directions, negatives drawn and dropped, a guide. */
export function todaysPhases(dir: string, ...how: [steps: number, changes?: Partial<PhaseConfig>]): PhaseConfig[] {
  const [one, two, three] = threePhases(dir, ...how)
  const today: Partial<PhaseConfig> = {
    loss: { contrastive: 1, distillation: 0.5 },
    dropAbove: 0.6, // where the last of three negatives scores 2 of 3
    scores: 'mean',
    symmetric: true,
    temperature: 0.05,
    learnableTemperature: true,
    studentTemperature: 0.02,
    teacherTemperature: 0.5,
    temperatureSquared: true,
    normalizeScores: false,
    guide: { model: path.join(dir, 'guide'), margin: 0.05, relative: true },
  }
  return [one!, two!, { ...three!, ...today }]
}

export function tinyRun(dir: string, model: RunConfig['model'], out: string, phases: PhaseConfig[]): RunConfig {
  return {
    model,
    out: path.join(dir, out),
    seed: 7,
    microBatchTokens: 64,
    activationMemory: 300_000,
    cacheDir: path.join(dir, 'cache'),
    workers: 0,
    phases,
  }
}

export function hashOf(...files: string[]): string {
  const hash = createHash('sha256')
  for (const file of files) hash.update(readFileSync(file))
  return hash.digest('hex')
}

/** Weights and moments of a checkpoint. */
export const bitsOf = (checkpoint: string): string =>
  hashOf(
    path.join(checkpoint, 'model/model.safetensors'),
    path.join(checkpoint, 'model/1_Dense/model.safetensors'),
    path.join(checkpoint, 'optimizer.safetensors'),
  )
