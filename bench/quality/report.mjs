// The tables of docs/quality.md, from the scores that the other scripts left under OUT.
//
// usage: node bench/quality/report.mjs OUT SEED…
// nDCG@10: a query's value is its mean over the seeds. Intervals are of the macro-mean over the collections, by resampling
// queries within each; differences are paired by query. Seeds: the smallest and the largest macro-mean.
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
const bounds = ({ low, high }) => `[${show(low)}, ${show(high)}]`

/** A system's values by collection, each query's the mean over its seeds; null where a seed or a collection is missing. */
function system(name, seeded, collections) {
  const runs = seeded ? seeds.map((seed) => read(`${name}-${seed}`)) : [read(name)]
  if (runs.length === 0 || runs.some((run) => !run || collections.some((collection) => !run[collection]))) return null
  const over = (collection) => runs[0][collection].map((_, q) => mean(runs.map((run) => run[collection][q])))
  return {
    ...{ name, sets: collections.map(over) },
    macros: runs.map((run) => mean(collections.map((collection) => mean(run[collection])))),
  }
}

/** How far a system is ahead of another, by query. */
function ahead(row, other) {
  const gaps = macroInterval(row.sets.map((values, c) => values.map((value, q) => value - other.sets[c][q])))
  return `${show(gaps.mean)} ${bounds(gaps)}, p ${macroTest(row.sets, other.sets).p.toFixed(3)}`
}

/** @param rows [name, 1 if it has seeds] @param baselines names that the others are compared with */
function table(title, rows, baselines, collections) {
  const all = rows.map(([name, seeded]) => system(name, seeded, collections))
  const missing = rows.filter((_, i) => !all[i]).map(([name]) => name)
  const found = all.filter(Boolean)
  console.log(`\n${title}${missing.length > 0 ? ` (not there yet: ${missing.join(', ')})` : ''}\n`)
  const against = found.filter(({ name }) => baselines.includes(name))
  const each = collections.length > 1 ? collections : []
  const heads = ['system', ...each, 'mean, 95 %', 'seeds', ...against.map(({ name }) => `− ${name}`)]
  console.log(`| ${heads.join(' | ')} |\n|${'---|'.repeat(heads.length)}`)
  for (const row of found) {
    const macro = macroInterval(row.sets)
    const cells = [
      ...each.map((_, c) => show(mean(row.sets[c]))),
      `${show(macro.mean)} ${bounds(macro)}`,
      row.macros.length > 1 ? `${show(Math.min(...row.macros))} to ${show(Math.max(...row.macros))}` : '',
      ...against.map((other) => (other === row ? '' : ahead(row, other))),
    ]
    console.log(`| ${[row.name, ...cells].join(' | ')} |`)
  }
}

const phases = [
  ['bm25'],
  ['dense'],
  ['teacher'],
  ['start'],
  ['unsupervised', 1],
  ['supervised', 1],
  ['distillation', 1],
]
table('Three phases', phases, ['dense', 'unsupervised', 'supervised'], headline)
table('Three phases, tldr', phases, ['dense', 'unsupervised', 'supervised'], ['tldr'])
const miners = ['short', 'by-bm25', 'by-dense', 'by-colbert'].map((name) => [name, 1])
table('Miners, tldr', miners, ['short', 'by-bm25'], ['tldr'])
const ways = ['without-without', 'without-with', 'with-without', 'with-with']
table(
  'Prompts, in training and in tuning',
  ways.map((name) => [name, 1]),
  [],
  headline,
)
const [oo, ow, wo, ww] = ways.map((name) => system(name, 1, headline))
if (oo && ow && wo && ww) {
  const both = (a, b) => ({
    sets: a.sets.map((values, c) => values.map((value, q) => (value + b.sets[c][q]) / 2)),
  })
  console.log('\n| prompts | with − without |\n|---|---|')
  console.log(`| in tuning | ${ahead(both(ow, ww), both(oo, wo))} |`)
  console.log(`| in training | ${ahead(both(wo, ww), both(oo, ow))} |`)
  console.log(`| the same in both − changed | ${ahead(both(oo, ww), both(ow, wo))} |`)
}
