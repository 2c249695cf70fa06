/** Models of every architecture and of every kind of recipe, small and with nothing at its default of 0 or 1. */
import { Colbert } from '../../lib/models/colbert.js'
import type { CreateConfig } from '../../lib/models/create.js'
import { uniform } from '../../lib/nn/initializers.js'
import { tokenizer } from '../models/words.js'

const bert = { architecture: 'bert', layers: 2, width: 48, heads: 2, positions: 64, tokenizer } as const
const roberta = { ...bert, architecture: 'roberta', width: 64, heads: 4 } as const
const modernbert = { ...bert, architecture: 'modernbert', layers: 4, width: 72, heads: 3, localAttention: 8 } as const

export const cases: Readonly<Record<string, CreateConfig>> = {
  bert: { ...bert, dim: 24 },
  roberta: { ...roberta, dim: 32 },
  'xlm-roberta': { ...roberta, architecture: 'xlm-roberta', dim: 32 },
  modernbert: { ...modernbert, dim: 40 },
  'bert, attended expansion': { ...bert, dim: 24, recipe: { attendToExpansionTokens: true } },
  'modernbert, attended expansion': { ...modernbert, dim: 24, recipe: { attendToExpansionTokens: true } },
  'roberta, expansion to 12': { ...roberta, dim: 24, recipe: { queryExpansion: 12, queryPrompt: 'late ' } },
  'modernbert, no expansion': { ...modernbert, dim: 24, recipe: { queryExpansion: false, skiplistWords: [] } },
  'bert, head of three layers': {
    ...bert,
    head: [
      { out: 96, residual: true, bias: true, activation: 'gelu' },
      { out: 96, residual: true, activation: 'silu' },
      { out: 24, bias: true, activation: 'tanh' },
    ],
  },
  'modernbert, head of two layers': {
    ...modernbert,
    head: [
      { out: 64, activation: 'relu', bias: true },
      { out: 32, activation: 'sigmoid', residual: true },
    ],
  },
  'bert, dense, mean': { ...bert, recipe: { pooling: 'mean' } },
  'roberta, dense, first token': { ...roberta, recipe: { pooling: 'cls' } },
  'modernbert, dense, mean, projected': { ...modernbert, dim: 24, recipe: { pooling: 'mean' } },
}

/** One of them, with every parameter moved: a bias of 0 that a graph has forgotten would not be missed. */
export async function makeCase(name: string, seed: number): Promise<Colbert> {
  const config = cases[name]!
  const model = await Colbert.create({ ...config, recipe: { documentLength: 60, ...config.recipe } }, { seed })
  const values = Float32Array.from(await model.parameters.values.values())
  const noise = new Float32Array(values.length)
  for (const _ of uniform(0.2)(noise, seed, 'noise'));
  model.parameters.write(values.map((value, i) => value + noise[i]!))
  return model
}
