// @ts-check
import { seeded, shuffled } from './random.js'

/** @typedef {import('./wordnet.js').Synset} Synset */

/**
 * @typedef {object} Document
 * @property {string} id        the id of its first synset
 * @property {string} text      lemmas, the hypernyms' lemmas, examples
 * @property {number[]} synsets more than one where synsets have the same text
 *
 * @typedef {object} Query
 * @property {string} id         `q-` and the id of its first synset
 * @property {string} text       a definition
 * @property {number[]} synsets  more than one where synsets have the same definition
 * @property {number[]} relevant indices into the documents of the same collection: those of all its synsets
 *
 * @typedef {{ documents: Document[], queries: Query[] }} Collection
 *
 * @typedef {object} Dataset
 * @property {Collection} train every query has its relevant documents here, and shares nothing with test and dev
 * @property {Collection} dev
 * @property {Collection} test
 * @property {Counts} counts
 *
 * @typedef {object} Counts
 * @property {number} synsets
 * @property {number} documents       different document texts in all of WordNet
 * @property {number} merged          synsets whose document text another one has too
 * @property {number} sharedLemmaList synsets that have the same lemmas as another one, in the same order
 * @property {number} heldOut         synsets behind the test and dev documents
 * @property {{ lemma: number, derivation: number, definition: number }} dropped synsets kept out of training, by first reason
 * @property {number} trained         synsets behind the training documents
 */

export const defaultSplit = {
  seed: 1,
  testDocuments: 10_000,
  testQueries: 2_000,
  devDocuments: 3_000,
  devQueries: 1_000,
}

/**
 * Draws test and dev documents at random from all of WordNet, so that they are a fair sample of it, and trains on what
 * is left after everything that is related to a test or dev document (a distractor too) has been dropped.
 * The same options give the same data set.
 * @param {readonly Synset[]} synsets
 * @param {Partial<typeof defaultSplit>} [options]
 * @returns {Dataset}
 */
export function buildDataset(synsets, options = {}) {
  const { seed, testDocuments, testQueries, devDocuments, devQueries } = { ...defaultSplit, ...options }
  const documents = groupBy(synsets.keys(), (i) => documentText(synsets, i))
  const order = shuffled(documents, seeded(seed, 'documents'))
  const test = order.slice(0, testDocuments)
  const dev = order.slice(testDocuments, testDocuments + devDocuments)
  const heldOut = [...test, ...dev].flat()
  const { reasons, allowed } = leakFilter(synsets, heldOut)
  const train = order.slice(testDocuments + devDocuments).filter((group) => group.every(allowed))

  const lemmaLists = groupBy(synsets.keys(), (i) => synsets[i].lemmas.join('|').toLowerCase())
  return {
    train: collection(synsets, train),
    dev: collection(synsets, dev, devQueries, seeded(seed, 'dev queries')),
    test: collection(synsets, test, testQueries, seeded(seed, 'test queries')),
    counts: {
      synsets: synsets.length,
      documents: documents.length,
      merged: inCompany(documents),
      sharedLemmaList: inCompany(lemmaLists),
      heldOut: heldOut.length,
      dropped: reasons,
      trained: train.flat().length,
    },
  }
}

/**
 * What is searched: `lemma, lemma: hypernym, hypernym. Example. Example.`
 * @param {readonly Synset[]} synsets
 * @param {number} index
 */
export function documentText(synsets, index) {
  const { lemmas, hypernyms, examples } = synsets[index]
  const broader = [...new Set(hypernyms.flatMap((i) => synsets[i].lemmas))]
  const words = lemmas.join(', ') + (broader.length > 0 ? `: ${broader.join(', ')}` : '')
  return [words, ...examples].join('. ')
}

/** Lemmas that differ only in case, blanks, hyphens, dots or apostrophes are the same. @param {string} lemma */
const lemmaKey = (lemma) => lemma.toLowerCase().replace(/[\s\-.'/]/g, '') || lemma

/**
 * Tells which synsets may be trained on: those with no lemma, no derivational link (in either direction) and no
 * definition in common with a held-out synset. `reasons` counts the others, each under its first reason.
 * @param {readonly Synset[]} synsets
 * @param {readonly number[]} heldOut
 */
function leakFilter(synsets, heldOut) {
  const held = new Set(heldOut)
  const lemmas = new Set(heldOut.flatMap((i) => synsets[i].lemmas.map(lemmaKey)))
  const definitions = new Set(heldOut.map((i) => synsets[i].definition))
  const linked = new Set(heldOut.flatMap((i) => synsets[i].derivations))
  const reasons = { lemma: 0, derivation: 0, definition: 0 }
  const banned = synsets.map((synset, i) => {
    if (held.has(i)) return true
    const reason = synset.lemmas.some((lemma) => lemmas.has(lemmaKey(lemma)))
      ? 'lemma'
      : linked.has(i) || synset.derivations.some((j) => held.has(j))
        ? 'derivation'
        : definitions.has(synset.definition)
          ? 'definition'
          : undefined
    if (reason) reasons[reason]++
    return reason !== undefined
  })
  return { reasons, allowed: (/** @type {number} */ i) => !banned[i] }
}

/**
 * The documents of the groups in the order of the files, and their definitions as queries: all of them, or `limit`.
 * @param {readonly Synset[]} synsets
 * @param {readonly number[][]} groups
 * @param {number} [limit]
 * @param {() => number} [random]
 * @returns {Collection}
 */
function collection(synsets, groups, limit, random) {
  const documents = [...groups]
    .sort((a, b) => a[0] - b[0])
    .map((members) => ({ id: synsets[members[0]].id, text: documentText(synsets, members[0]), synsets: members }))
  const documentOf = new Map(documents.flatMap((document, d) => document.synsets.map((i) => [i, d])))
  const queries = groupBy([...documentOf.keys()].sort(ascending), (i) => synsets[i].definition).map((members) => ({
    id: `q-${synsets[members[0]].id}`,
    text: synsets[members[0]].definition,
    synsets: members,
    relevant: [...new Set(members.map((i) => /** @type {number} */ (documentOf.get(i))))].sort(ascending),
  }))
  if (limit === undefined || random === undefined) return { documents, queries }
  const drawn = new Set(shuffled(queries, random).slice(0, limit))
  return { documents, queries: queries.filter((query) => drawn.has(query)) }
}

const stopWords = new Set(
  'a an and are as at be but by for from in into is it its no not of on one or s such that the their they to used was which who with you'.split(
    ' ',
  ),
)

/** @param {string} text */
const wordsOf = (text) => text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []

/**
 * What a reader wants to know of a collection before believing a score on it. Overlap is the share of queries that
 * have a word other than a stop word in common with a relevant document: what a lexical search can use.
 * @param {Collection} collection
 */
export function describe({ documents, queries }) {
  const overlapping = queries.filter(({ text, relevant }) => {
    const words = new Set(wordsOf(text).filter((word) => !stopWords.has(word)))
    return relevant.some((d) => wordsOf(documents[d].text).some((word) => words.has(word)))
  })
  return {
    documents: documents.length,
    mergedDocuments: documents.filter((document) => document.synsets.length > 1).length,
    queries: queries.length,
    queriesWithSeveralRelevant: queries.filter((query) => query.relevant.length > 1).length,
    medianQueryWords: median(queries.map((query) => wordsOf(query.text).length)),
    medianDocumentWords: median(documents.map((document) => wordsOf(document.text).length)),
    overlap: overlapping.length / queries.length,
  }
}

/** @param {number} a @param {number} b */
const ascending = (a, b) => a - b

/** @param {number[]} values */
const median = (values) => values.sort(ascending)[values.length >> 1]

/** How many members share their group with another. @param {number[][]} groups */
const inCompany = (groups) => groups.reduce((sum, group) => sum + (group.length > 1 ? group.length : 0), 0)

/**
 * @param {Iterable<number>} items
 * @param {(item: number) => string} key
 * @returns {number[][]} in order of each group's first member
 */
function groupBy(items, key) {
  /** @type {Map<string, number[]>} */
  const groups = new Map()
  for (const item of items) {
    const name = key(item)
    const group = groups.get(name)
    if (group) group.push(item)
    else groups.set(name, [item])
  }
  return [...groups.values()]
}
