/**
 * Porter's suffix stripper (M. F. Porter, "An algorithm for suffix stripping", Program 14(3), 1980) with the three
 * departures of his own reference programs, which Lucene's PorterStemFilter keeps: words of one or two letters stay,
 * step 2 maps `bli` to `ble` (not `abli` to `able`) and `logi` to `log`.
 * Expects lower case; any character but a, e, i, o, u and y after a consonant counts as a consonant.
 */
export function porterStem(word: string): string {
  if (word.length < 3) return word
  return step5(replaceSuffix(replaceSuffix(replaceSuffix(step1(word), step2, 0), step3, 0), step4, 1))
}

/** Plurals, -ed and -ing; then a final y after a vowel becomes i. */
function step1(word: string): string {
  let stem = word
  if (stem.endsWith('sses') || stem.endsWith('ies')) stem = stem.slice(0, -2)
  else if (stem.endsWith('s') && !stem.endsWith('ss')) stem = stem.slice(0, -1)

  if (stem.endsWith('eed')) {
    if (measure(stem, stem.length - 3) > 0) stem = stem.slice(0, -1)
  } else {
    const cut = stem.endsWith('ed') ? 2 : stem.endsWith('ing') ? 3 : 0
    if (cut > 0 && hasVowel(stem, stem.length - cut)) stem = tidy(stem.slice(0, -cut))
  }
  return stem.endsWith('y') && hasVowel(stem, stem.length - 1) ? `${stem.slice(0, -1)}i` : stem
}

/** Restores what -ed and -ing hid: conflat(ed) → conflate, hopp(ing) → hop, fil(ing) → file. */
function tidy(stem: string): string {
  const end = stem.length
  if (stem.endsWith('at') || stem.endsWith('bl') || stem.endsWith('iz')) return `${stem}e`
  if (endsInDoubleConsonant(stem)) return /[lsz]$/.test(stem) ? stem : stem.slice(0, -1)
  return measure(stem, end) === 1 && endsInCvc(stem, end) ? `${stem}e` : stem
}

type Rules = readonly (readonly [suffix: string, replacement: string])[]

const step2: Rules = [
  ['ational', 'ate'],
  ['tional', 'tion'],
  ['enci', 'ence'],
  ['anci', 'ance'],
  ['izer', 'ize'],
  ['bli', 'ble'],
  ['alli', 'al'],
  ['entli', 'ent'],
  ['eli', 'e'],
  ['ousli', 'ous'],
  ['ization', 'ize'],
  ['ation', 'ate'],
  ['ator', 'ate'],
  ['alism', 'al'],
  ['iveness', 'ive'],
  ['fulness', 'ful'],
  ['ousness', 'ous'],
  ['aliti', 'al'],
  ['iviti', 'ive'],
  ['biliti', 'ble'],
  ['logi', 'log'],
]

const step3: Rules = [
  ['icate', 'ic'],
  ['ative', ''],
  ['alize', 'al'],
  ['iciti', 'ic'],
  ['ical', 'ic'],
  ['ful', ''],
  ['ness', ''],
]

const step4: Rules = [
  'al',
  'ance',
  'ence',
  'er',
  'ic',
  'able',
  'ible',
  'ant',
  'ement',
  'ment',
  'ent',
  'sion',
  'tion',
  'ou',
  'ism',
  'ate',
  'iti',
  'ous',
  'ive',
  'ize',
].map((suffix) => [suffix, suffix.endsWith('ion') ? suffix[0] : ''])

/** Applies the first rule whose suffix fits, if the stem before it has a measure above `least`; else nothing. */
function replaceSuffix(word: string, rules: Rules, least: number): string {
  for (const [suffix, replacement] of rules) {
    if (!word.endsWith(suffix)) continue
    const stem = word.slice(0, -suffix.length) + replacement
    // In step 4 the s or t of -sion and -tion belongs to the measured stem.
    const measured = least > 0 ? stem.length : word.length - suffix.length
    return measure(word, measured) > least ? stem : word
  }
  return word
}

/** A final e goes where the stem is long enough, and a final ll loses an l. */
function step5(word: string): string {
  let stem = word
  if (stem.endsWith('e')) {
    const end = stem.length - 1
    const m = measure(stem, end)
    if (m > 1 || (m === 1 && !endsInCvc(stem, end))) stem = stem.slice(0, -1)
  }
  return stem.endsWith('ll') && measure(stem, stem.length) > 1 ? stem.slice(0, -1) : stem
}

function isConsonant(word: string, i: number): boolean {
  switch (word[i]) {
    case 'a':
    case 'e':
    case 'i':
    case 'o':
    case 'u':
      return false
    case 'y':
      return i === 0 || !isConsonant(word, i - 1)
    default:
      return true
  }
}

/** Porter's m: the number of vowel-consonant sequences in the first `end` letters. */
function measure(word: string, end: number): number {
  let m = 0
  for (let i = 1; i < end; i++) if (isConsonant(word, i) && !isConsonant(word, i - 1)) m++
  return m
}

function hasVowel(word: string, end: number): boolean {
  for (let i = 0; i < end; i++) if (!isConsonant(word, i)) return true
  return false
}

function endsInDoubleConsonant(word: string): boolean {
  const last = word.length - 1
  return last > 0 && word[last] === word[last - 1] && isConsonant(word, last)
}

/** Consonant, vowel, consonant at the end, the last not w, x or y: -hop, -fil, not -snow. */
function endsInCvc(word: string, end: number): boolean {
  return (
    end > 2 &&
    isConsonant(word, end - 3) &&
    !isConsonant(word, end - 2) &&
    isConsonant(word, end - 1) &&
    !'wxy'.includes(word[end - 1])
  )
}
