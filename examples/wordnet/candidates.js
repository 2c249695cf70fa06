// @ts-check
import { Bm25 } from 'lateforge/eval'
import { seeded, shuffled } from './random.js'

/** @typedef {import('./dataset.js').Collection} Collection */

/**
 * What BM25 and a model take for the answers of training queries: the material of hard negatives and of teacher rows.
 * Queries, and the documents the model searches, are a random part of the training set, so that it takes seconds.
 * @param {import('lateforge').Colbert} model
 * @param {Collection} train
 * @param {{ queries: number, documents: number, fromModel: number, fromBm25: number, seed: number, signal?: AbortSignal }} options
 * @returns {Promise<Map<number, { model: number[], bm25: number[] }>>} by query; document indices, best first
 */
export async function mineCandidates(model, train, { queries, documents, fromModel, fromBm25, seed, signal }) {
  const draw = (/** @type {readonly unknown[]} */ all, /** @type {number} */ count, /** @type {string} */ label) =>
    shuffled([...all.keys()], seeded(seed, label)).slice(0, count)
  const asked = draw(train.queries, queries, 'mining queries')
  const searched = draw(train.documents, documents, 'mining documents')
  const found = await model.search(
    await model.encodeQueries(
      asked.map((q) => train.queries[q].text),
      { signal },
    ),
    await model.encodeDocuments(
      searched.map((d) => train.documents[d].text),
      { signal },
    ),
    { topK: fromModel, signal },
  )
  const bm25 = new Bm25(train.documents.map(({ text }) => text))
  /** @type {Map<number, { model: number[], bm25: number[] }>} */
  const candidates = new Map()
  for (const [i, q] of asked.entries()) {
    if (i % 256 === 0) await new Promise((resolve) => setImmediate(resolve))
    signal?.throwIfAborted()
    candidates.set(q, {
      model: found[i].map(({ index }) => searched[index]),
      bm25: bm25.search(train.queries[q].text, fromBm25).map(({ index }) => index),
    })
  }
  return candidates
}
