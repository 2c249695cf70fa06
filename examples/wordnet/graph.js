// @ts-check

/** @typedef {import('./wordnet.js').Synset} Synset */

/**
 * How alike two synsets are by their place in WordNet's graph, 0 to 1: Lin's measure 2·IC(a) / (IC(x) + IC(y)) at the
 * most specific common ancestor a (Lin, "An information-theoretic definition of similarity", 1998), with information
 * content from the graph alone, IC(x) = 1 - ln(descendants + 1) / ln(synsets) (Seco, Veale, Hayes, 2004).
 * Plain path length would be the same for all sisters of a large family and of a small one. Adjectives and adverbs,
 * which have no hypernyms, hang on their heads.
 * @param {readonly Synset[]} synsets
 * @returns {(x: number, y: number) => number}
 */
export function graphSimilarity(synsets) {
  const ancestors = synsets.map((_, i) => ancestorsOf(synsets, i))
  const family = new Float64Array(synsets.length) // the synset itself and its descendants
  for (const set of ancestors) for (const i of set) family[i]++
  const content = family.map((count) => 1 - Math.log(count) / Math.log(synsets.length))
  return (x, y) => {
    if (x === y) return 1
    const other = ancestors[y]
    let shared = 0
    for (const i of ancestors[x]) if (other.has(i) && content[i] > shared) shared = content[i]
    return shared === 0 ? 0 : (2 * shared) / (content[x] + content[y])
  }
}

/**
 * The synset itself and everything above it. @param {readonly Synset[]} synsets @param {number} start
 * @returns {Set<number>}
 */
function ancestorsOf(synsets, start) {
  const seen = new Set([start])
  for (const i of seen) {
    const { hypernyms, heads } = synsets[i]
    for (const parent of hypernyms.length > 0 ? hypernyms : heads) seen.add(parent) // a set is walked while it grows
  }
  return seen
}
