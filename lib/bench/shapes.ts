import { ArgumentError, didYouMean } from '../errors.js'
import type { Layout } from '../tensor/ops.js'

/** A MaxSim workload: so many texts of so many tokens each. */
export interface MaxSimShape {
  name: string
  /** What it stands for. */
  use: string
  layout: Layout
  queries: number
  queryTokens: number
  /** All together; for groups each query has documents / queries of its own. */
  documents: number
  documentTokens: number
}

const all = (
  name: string,
  use: string,
  [queries, queryTokens]: [number, number],
  [documents, documentTokens]: [number, number],
): MaxSimShape => ({ name, use, layout: 'all', queries, queryTokens, documents, documentTokens })

/** Every shape that is benched has its name here; the first ones are what runs when none is named. */
export const maxsimShapes: readonly MaxSimShape[] = [
  all('batch-64', 'contrastive batch', [64, 32], [64, 180]),
  all('batch-64-long', 'contrastive batch, long documents', [64, 32], [64, 300]),
  all('rerank-1k', 'rerank a thousand documents', [1, 32], [1000, 300]),
  all('rerank-1k-48', 'the same, a longer query', [1, 48], [1000, 300]),
  {
    name: 'distil-16x32',
    use: 'distillation: 32 documents for each query',
    layout: 'grouped',
    queries: 16,
    queryTokens: 32,
    documents: 512,
    documentTokens: 180,
  },
  all('batch-128', 'contrastive batch', [128, 32], [128, 300]),
  all('batch-512', 'large contrastive batch', [512, 32], [512, 180]),
  all('batch-1024', 'large contrastive batch', [1024, 32], [1024, 180]),
  all('rerank-10k', 'rerank ten thousand documents', [1, 32], [10000, 300]),
  all('pages-1k', 'rerank a thousand page images', [1, 1024], [1000, 1024]),
  all('tiny', 'a fraction of a millisecond, to try the bench', [4, 8], [16, 20]),
]

/** InfoNCE over batches of pairs, 32 tokens a query and 180 a document; the first ones run when none is named. */
export const infoNceShapes: readonly MaxSimShape[] = [
  all('loss-64', 'contrastive batch of a small machine', [64, 32], [64, 180]),
  all('loss-256', 'contrastive batch', [256, 32], [256, 180]),
  all('loss-1024', 'large contrastive batch', [1024, 32], [1024, 180]),
  all('loss-4096', 'large contrastive batch of a GPU', [4096, 32], [4096, 180]),
  all('loss-16384', "the paper's batch", [16384, 32], [16384, 180]),
  all('loss-tiny', 'a millisecond, to try the bench', [8, 8], [8, 20]),
]

/** Floating-point operations of the inner products. */
export function maxsimFlops(shape: MaxSimShape, dim: number): number {
  const pairs = shape.documents * (shape.layout === 'all' ? shape.queries : 1)
  return 2 * dim * pairs * shape.queryTokens * shape.documentTokens
}

/** @throws ArgumentError ERR_ARGUMENT for a name that is not on the list */
export const maxsimShapesByName = (names: readonly string[]): MaxSimShape[] => byName(maxsimShapes, 5, names)
export const infoNceShapesByName = (names: readonly string[]): MaxSimShape[] => byName(infoNceShapes, 2, names)

function byName(shapes: readonly MaxSimShape[], usual: number, names: readonly string[]): MaxSimShape[] {
  if (names.length === 0) return shapes.slice(0, usual)
  return names.map((name) => {
    const shape = shapes.find((s) => s.name === name)
    if (shape) return shape
    const known = didYouMean(
      name,
      shapes.map((s) => s.name),
    )
    throw new ArgumentError('ERR_ARGUMENT', `no shape "${name}"; ${known}`, { name })
  })
}
