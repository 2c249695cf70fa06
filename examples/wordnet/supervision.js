// @ts-check
import { graphSimilarity } from './graph.js'
import { seeded, shuffled } from './random.js'

/**
 * @typedef {import('./wordnet.js').Synset} Synset
 * @typedef {import('./dataset.js').Collection} Collection
 *
 * @typedef {{ query: string, document: string }} Pair
 * @typedef {{ query: string, positive: string, negatives: string[] }} Triplet
 * @typedef {{ query: string, documents: string[], scores: number[] }} Row
 */

/**
 * Phase 1: every query with each of its documents.
 * @param {Collection} train
 * @returns {Pair[]}
 */
export function trainingPairs({ documents, queries }) {
  return queries.flatMap(({ text, relevant }) => relevant.map((d) => ({ query: text, document: documents[d].text })))
}

/**
 * For each query the documents of its sister synsets (those with a hypernym in common), none of them relevant.
 * Only documents of the collection are named, so nothing held out can come in. An empty list has to be mined.
 * @param {readonly Synset[]} synsets
 * @param {Collection} train
 * @returns {number[][]} indices into `train.documents`, one list per query
 */
export function sisters(synsets, { documents, queries }) {
  /** @type {Map<number, number[]>} */
  const children = new Map()
  documents.forEach((document, d) => {
    for (const hypernym of new Set(document.synsets.flatMap((i) => synsets[i].hypernyms))) {
      const known = children.get(hypernym)
      if (known) known.push(d)
      else children.set(hypernym, [d])
    }
  })
  return queries.map((query) => {
    const found = new Set(query.synsets.flatMap((i) => synsets[i].hypernyms).flatMap((h) => children.get(h) ?? []))
    return [...found].filter((d) => !query.relevant.includes(d))
  })
}

/**
 * Phase 2: up to `fromSisters` sisters drawn by seed, then mined documents in their order, then more sisters, and where
 * all that is not enough random documents, until there are `negatives`. Relevant documents are never negatives.
 * @param {readonly Synset[]} synsets
 * @param {Collection} train
 * @param {{ negatives: number, fromSisters?: number, mined?: readonly ArrayLike<number>[], queries?: readonly number[], seed?: number }} options
 *   `mined`: for each query of the collection document indices, best first; empty lists are allowed.
 *   `queries`: which queries to make triplets of, all by default.
 * @returns {Triplet[]}
 */
export function triplets(synsets, train, options) {
  const { negatives, fromSisters = negatives, mined, queries = [...train.queries.keys()], seed = 1 } = options
  const { documents } = train
  const random = seeded(seed, 'negatives')
  const family = sisters(synsets, { documents, queries: queries.map((q) => train.queries[q]) })
  return queries.flatMap((q, i) => {
    const { text, relevant } = train.queries[q]
    const drawn = shuffled(family[i], random)
    const chosen = new Set(drawn.slice(0, fromSisters))
    for (const d of [...Array.from(mined?.[q] ?? []), ...drawn]) {
      if (chosen.size < negatives && !relevant.includes(d)) chosen.add(d)
    }
    fill(chosen, negatives, relevant, documents.length, random)
    const texts = [...chosen].map((d) => documents[d].text)
    return relevant.map((d) => ({ query: text, positive: documents[d].text, negatives: texts }))
  })
}

/**
 * Phase 3: per query its own document first, then documents drawn by seed from the candidates (BM25's and the phase-1
 * model's best), scored by the likeness of their synsets in WordNet's graph. The own document has score 1.
 * @param {readonly Synset[]} synsets
 * @param {Collection} train
 * @param {{ candidates: ReadonlyMap<number, ArrayLike<number>>, documents: number, seed?: number }} options
 *   `candidates`: query index → document indices, a query missing here makes no row; `documents`: per row.
 * @returns {Row[]}
 */
export function distillationRows(synsets, train, { candidates, documents: size, seed = 1 }) {
  const random = seeded(seed, 'candidates')
  const similarity = graphSimilarity(synsets)
  return [...candidates].map(([q, list]) => {
    const { text, synsets: own, relevant } = train.queries[q]
    const others = [...new Set(Array.from(list))].filter((d) => !relevant.includes(d))
    const chosen = new Set([relevant[0], ...shuffled(others, random).slice(0, size - 1)])
    fill(chosen, size, relevant, train.documents.length, random)
    const picked = [...chosen].map((d) => train.documents[d])
    return {
      query: text,
      documents: picked.map((document) => document.text),
      scores: picked.map((document) => Math.max(...own.flatMap((x) => document.synsets.map((y) => similarity(x, y))))),
    }
  })
}

/**
 * The control of phase 3: the same rows with the scores shuffled within each row, so that any gain left comes from
 * training longer or from the loss, not from what the teacher says.
 * @param {readonly Row[]} rows
 * @param {number} [seed]
 * @returns {Row[]}
 */
export function shuffledTeacher(rows, seed = 1) {
  const random = seeded(seed, 'shuffled teacher')
  return rows.map((row) => ({ ...row, scores: shuffled(row.scores, random) }))
}

/**
 * Adds random documents until there are `size`.
 * @param {Set<number>} chosen @param {number} size @param {readonly number[]} relevant
 * @param {number} count @param {() => number} random
 */
function fill(chosen, size, relevant, count, random) {
  while (chosen.size < Math.min(size, count - relevant.length)) {
    const d = Math.floor(random() * count)
    if (!relevant.includes(d)) chosen.add(d)
  }
}
