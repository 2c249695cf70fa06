// What the experiments of this folder share: rows to train on, collections to judge by, and scores that are kept.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { Colbert, train } from 'lateforge'
import { bm25Run, evaluate, loadBeir, modelRun } from 'lateforge/eval'
import { mineNegatives } from 'lateforge/mining'
import { fileSource, showProgress } from 'lateforge/train'

/** Collections of the headline, a macro-mean; tldr stands apart, since its train split is trained on. */
export const headline = ['cacm', 'cosqa-dev', 'cranfield', 'medline', 'scifact-sub']
export const say = (text) => process.stderr.write(`${text}\n`)
const quiet = () => {}

/** How all models read texts here: queries of CACM and medline are longer than the usual 32 tokens. */
export const lengths = { queryLength: 128, documentLength: 256 }

export const openColbert = (folder, options = {}) => Colbert.load(folder, { onNote: quiet, ...options })
export const openDense = (folder, recipe = {}) =>
  Colbert.load(folder, { dense: true, onNote: quiet, recipe: { ...lengths, ...recipe } })

const readRows = (file) =>
  gunzipSync(readFileSync(file))
    .toString()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
function writeRows(file, rows) {
  mkdirSync(path.dirname(file), { recursive: true })
  writeFileSync(file, gzipSync(rows.map((row) => `${JSON.stringify(row)}\n`).join('')))
  return file
}

/** Every k-th row, so that `most` are left at least. */
const thinned = (rows, most) =>
  rows.filter((_, i) => i % Math.max(1, Math.floor(rows.length / most)) === 0).slice(0, most)

/**
 * Files of rows: all pairs and tldr's train split for contrastive training, and the sources that are mined, some rows each.
 */
export async function prepareData({ data, out, mined }) {
  const pairs = readdirSync(path.join(data, 'pairs')).map((file) => path.join(data, 'pairs', file))
  const tldr = path.join(out, 'data', 'tldr-train.jsonl.gz')
  if (!existsSync(tldr)) {
    const { documents, queries, qrels } = await loadBeir(path.join(data, 'collections', 'tldr'), { split: 'train' })
    const text = new Map(documents.ids.map((id, i) => [id, documents.texts[i]]))
    const rows = queries.ids.flatMap((id, i) =>
      [...qrels.get(id)]
        .filter(([, grade]) => grade > 0)
        .map(([document]) => ({ query: queries.texts[i], document: text.get(document) })),
    )
    writeRows(tldr, rows)
  }
  const toMine = Object.entries(mined).map(([name, most]) => {
    const file = path.join(out, 'data', 'mined', `${name}.jsonl.gz`)
    if (!existsSync(file))
      writeRows(file, thinned(readRows(name === 'tldr' ? tldr : path.join(data, 'pairs', `${name}.jsonl.gz`)), most))
    return file
  })
  return { pairs: [...pairs, tldr], toMine }
}

/** nDCG@10 of every query, by collection; kept under a name. @param run of a collection, as `modelRun` gives it */
async function scored({ out, data }, name, collections, run) {
  const file = path.join(out, 'scores', `${name}.json`)
  const known = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {}
  for (const [collection, split] of collections) {
    const key = split === 'test' ? collection : `${collection}/${split}`
    if (known[key]) continue
    const loaded = await loadBeir(path.join(data, 'collections', collection), { split })
    const { run: found } = await run(loaded)
    const { perQuery, means } = evaluate(found, loaded.qrels, ['ndcg@10'])
    known[key] = Array.from(perQuery['ndcg@10'], (value) => Number(value.toFixed(6)))
    say(`${name}, ${key}: ${means['ndcg@10'].toFixed(4)}`)
    mkdirSync(path.dirname(file), { recursive: true })
    writeFileSync(file, JSON.stringify(known))
  }
  return known
}

export const scoreBm25 = (where, collections) => scored(where, 'bm25', collections, (c) => bm25Run(c, { topK: 10 }))

export async function scoreModel(where, name, collections, open) {
  const done = path.join(where.out, 'scores', `${name}.json`)
  const known = existsSync(done) ? JSON.parse(readFileSync(done, 'utf8')) : {}
  if (collections.every(([c, split]) => known[split === 'test' ? c : `${c}/${split}`])) return known
  const model = await open()
  try {
    model.setRecipe(lengths)
    return await scored(where, name, collections, (c) => modelRun(model, c, { topK: 10 }))
  } finally {
    model.dispose()
  }
}

/** Trains, or goes on where it was cut off; what was trained is kept. @returns folders of the models and tokens, by phase */
export async function trained({ out }, name, config) {
  const file = path.join(out, 'runs', `${name}.json`)
  if (existsSync(file)) return JSON.parse(readFileSync(file, 'utf8'))
  const folder = path.join(out, 'runs', name)
  const run = train(
    { ...config, out: folder, cacheDir: path.join(out, 'cache') },
    { resume: existsSync(folder) ? 'auto' : undefined },
  )
  const tokens = {}
  const told = showProgress(run)
  for await (const event of run)
    if (event.type === 'step') tokens[event.phase] = (tokens[event.phase] ?? 0) + event.tokens
  await told
  const { model, phases } = await run.result
  model.dispose()
  const found = {
    tokens,
    models: Object.fromEntries(phases.map(({ name, checkpoint }) => [name, path.join(checkpoint, 'model')])),
  }
  writeFileSync(file, JSON.stringify(found))
  return found
}

const negativesOf = ({ out }, name, file) => path.join(out, 'negatives', name, path.basename(file))

/** Files of negatives that are there already. */
export const minedFiles = (where, name, files) => files.map((file) => negativesOf(where, name, file))

/** Mines negatives for each file, each among its own documents; what was mined is kept. @param open miner and options */
export async function mined(where, name, files, open) {
  const targets = minedFiles(where, name, files)
  if (!targets.every((target) => existsSync(`${target}.json`))) {
    const options = await open()
    for (const [i, file] of files.entries()) {
      mkdirSync(path.dirname(targets[i]), { recursive: true })
      const found = await mineNegatives({ data: fileSource(file), out: targets[i], overwrite: true, ...options })
      say(`${name}: ${JSON.stringify(found)}`)
      writeFileSync(`${targets[i]}.json`, JSON.stringify(found))
    }
    for (const model of [options.by, options.teacher]) model?.dispose?.()
  }
  return { files: targets, counts: targets.map((target) => JSON.parse(readFileSync(`${target}.json`, 'utf8'))) }
}
