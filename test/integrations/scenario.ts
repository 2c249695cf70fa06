/** What the integrations are asked, and what a model says to it without them. */
import { Colbert } from '../../lib/models/colbert.js'
import { tinyModel } from '../train/tiny.js'

export const query = 'w3 w4 w5'
export const texts = ['w1 w2 w9', 'w3 w4 w5 w6', 'w3 w8', 'w4 w5', 'w50 w51']

/** The texts in order, with MaxSim and its mean over the query's token vectors. */
export async function expected(model: Colbert): Promise<{ index: number; sum: number; mean: number }[]> {
  const { offsets } = await model.encodeQueries([query])
  const tokens = offsets[1]!
  return (await model.rank(query, texts)).map(({ index, score }) => ({ index, sum: score, mean: score / tokens }))
}

export function close(a: readonly number[], b: readonly number[], within = 1e-5): boolean {
  return a.length === b.length && a.every((x, i) => Math.abs(x - b[i]!) <= within)
}

/** Counts the calls that encode, which the integrations are to make few of. */
export async function countedModel(): Promise<{ model: Colbert; calls: { queries: number; documents: number } }> {
  const model = await tinyModel()
  const calls = { queries: 0, documents: 0 }
  const { encodeQueries, streamDocuments } = Colbert.prototype
  model.encodeQueries = (...given) => {
    calls.queries++
    return encodeQueries.apply(model, given)
  }
  model.streamDocuments = (...given) => {
    calls.documents++
    return streamDocuments.apply(model, given)
  }
  return { model, calls }
}
