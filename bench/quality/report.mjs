// The tables of docs/quality.md, from the scores that the other scripts left under OUT.
//
// usage: node bench/quality/report.mjs OUT SEED…
// nDCG@10: a query's value is its mean over the seeds. Intervals are of the macro-mean over the headline's collections, by
// resampling queries within each; differences are paired by query. Seeds: the smallest and the largest macro-mean.
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { macroInterval, macroTest } from 'lateforge/eval'
import { headline } from './common.mjs'

const [out, ...seeds] = process.argv.slice(2)
const read = (name) => {
  const file = path.join(out, 'scores', `${name}.json`)
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : null
}
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length
const show = (value) => value.toFixed(4)

/** A system's values by collection, each query's the mean over its seeds; null where a seed or a collection is missing. */
function system(name, seeded) {
  const runs = seeded ? seeds.map((seed) => read(`${name}-${seed}`)) : [read(name)]
  if (runs.length === 0 || runs.some((run) => !run || [...headline, 'tldr'].some((collection) => !run[collection])))
    return null
  const over = (collection) => runs[0][collection].map((_, q) => mean(runs.map((run) => run[collection][q])))
  const macros = runs.map((run) => mean(headline.map((collection) => mean(run[collection]))))
  return { name, sets: headline.map(over), tldr: over('tldr'), macros }
}

function table(title, rows, baselines) {
  const found = rows.map(([name, seeded]) => system(name, seeded))
  const missing = rows.filter((_, i) => !found[i]).map(([name]) => name)
  console.log(`\n${title}${missing.length > 0 ? ` (not there yet: ${missing.join(', ')})` : ''}\n`)
  const against = baselines.map((name) => found.find((row) => row?.name === name)).filter(Boolean)
  const heads = [
    'system',
    ...headline,
    'mean of five, 95 %',
    'seeds',
    ...against.map(({ name }) => `− ${name}`),
    'tldr',
  ]
  console.log(`| ${heads.join(' | ')} |\n|${'---|'.repeat(heads.length)}`)
  for (const row of found.filter(Boolean)) {
    const { low, high, mean: macro } = macroInterval(row.sets)
    const differences = against.map((other) => {
      if (other === row) return ''
      const {
        low,
        high,
        mean: gap,
      } = macroInterval(row.sets.map((values, c) => values.map((value, q) => value - other.sets[c][q])))
      return `${show(gap)} [${show(low)}, ${show(high)}], p ${macroTest(row.sets, other.sets).p.toFixed(3)}`
    })
    const range = row.macros.length > 1 ? `${show(Math.min(...row.macros))} to ${show(Math.max(...row.macros))}` : ''
    const cells = [
      ...row.sets.map((values) => show(mean(values))),
      `${show(macro)} [${show(low)}, ${show(high)}]`,
      range,
    ]
    console.log(`| ${[row.name, ...cells, ...differences, show(mean(row.tldr))].join(' | ')} |`)
  }
}

table(
  'Three phases',
  [['bm25'], ['dense'], ['teacher'], ['start', 1], ['unsupervised', 1], ['supervised', 1], ['distillation', 1]],
  ['start', 'dense'],
)
table(
  'Miners',
  [
    ['unsupervised', 1],
    ['by-bm25', 1],
    ['by-dense', 1],
    ['by-colbert', 1],
  ],
  ['unsupervised', 'by-bm25'],
)
const ways = ['with', 'without']
table(
  'Prompts, in training and in tuning',
  ways.flatMap((a) => ways.map((b) => [`${a}-${b}`, 1])),
  ['without-without'],
)
