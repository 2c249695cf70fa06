// @ts-check
/** The demo: a ColBERT from random weights through three phases, against BM25. README.md says what and why. */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Colbert, Tokenizer, train, trainWordPiece } from 'lateforge'
import { bm25Run, compareRuns, formatText, loadBeir, modelRun } from 'lateforge/eval'
import { showProgress } from 'lateforge/train'
import { mineCandidates } from './candidates.js'
import { buildDataset } from './dataset.js'
import { writeBeir, writeRows } from './files.js'
import { seeded, shuffled } from './random.js'
import * as settings from './settings.js'
import { distillationRows, shuffledTeacher, trainingPairs, triplets } from './supervision.js'
import { readWordnet } from './wordnet.js'

const usage = `npm run demo -- [--seed N] [--controls] [--device NAME] [--out FOLDER]
  --seed N      initial weights, order of the data, negatives; the split of WordNet stays. Default 1
  --controls    also trains the two controls of phase 3
  --device NAME where models run: cpu, or cuda. Default cpu
  --out FOLDER  default runs/wordnet
`

/**
 * @typedef {{ name: string } & import('lateforge/eval').SystemRun} Row
 * @typedef {import('lateforge/eval').Collection<import('lateforge/eval').Texts>} Test
 * @typedef {Awaited<ReturnType<typeof mineCandidates>>} Candidates
 */

/** @param {string} text */
const say = (text) => process.stderr.write(`${text}\n`)
const started = performance.now()
const seconds = (/** @type {number} */ since) => ((performance.now() - since) / 1000).toFixed(0)

/** @param {AbortSignal} signal */
async function main(signal) {
  const { values: options } = parseArgs({
    options: {
      seed: { type: 'string', default: '1' },
      controls: { type: 'boolean', default: false },
      device: { type: 'string', default: 'cpu' },
      out: { type: 'string', default: 'runs/wordnet' },
      help: { type: 'boolean', default: false },
    },
  })
  if (options.help) return process.stdout.write(usage)
  const seed = Number(options.seed)
  if (!Number.isSafeInteger(seed) || seed < 0) throw new Error(`--seed is ${options.seed}, expected a whole number`)
  const { out, device } = options
  const own = join(out, `seed-${seed}`)

  say('WordNet: reading, splitting')
  const synsets = readWordnet()
  const data = buildDataset(synsets)
  const test = await loadBeir(writeBeir(join(out, 'test'), data.test))
  const pairs = writeRows(join(out, 'pairs.jsonl.gz'), trainingPairs(data.train))
  const tokenizer = await cachedTokenizer(join(out, 'tokenizer'), pairs, data.train)

  /** @type {Row[]} */
  const runs = []
  const evaluate = async (/** @type {string} */ name, /** @type {Colbert} */ model) => {
    const since = performance.now()
    runs.push({ name, ...(await modelRun(model, test, { topK: 100, signal })) })
    say(`${name}: searched ${test.documents.ids.length} test documents in ${seconds(since)} s`)
  }
  runs.push({ name: 'BM25', ...(await bm25Run(test, { topK: 100, signal })) })

  const model = await Colbert.create({ ...settings.architecture, tokenizer }, { seed, device })
  await evaluate('random init', model)

  let trainingSeconds = 0
  /**
   * One phase, from the model as it is.
   * @param {Colbert} model @param {string} name @param {string} file @param {any} phase
   */
  const runPhase = async (model, name, file, { label, ...phase }) => {
    const since = performance.now()
    const folder = join(own, name)
    rmSync(folder, { recursive: true, force: true }) // of an earlier demo
    const run = train(
      {
        ...settings.training,
        cacheDir: join(out, 'cache'),
        model,
        device,
        out: folder,
        seed,
        phases: [{ name, data: file, ...phase }],
      },
      { signal },
    )
    let tokens = 0
    const count = async () => {
      for await (const event of run) if (event.type === 'step') tokens += event.tokens
    }
    const [done] = await Promise.allSettled([run.result, showProgress(run), count()])
    if (done.status === 'rejected') throw done.reason
    trainingSeconds += (performance.now() - since) / 1000
    await evaluate(label, model)
    return { tokens, model: join(folder, 'model') }
  }
  const first = await runPhase(model, 'phase-1', pairs, { label: 'phase 1: contrastive', ...settings.contrastive })

  say('Mining candidates')
  const candidates = await mineCandidates(model, data.train, { ...settings.mining, seed, signal })
  const { fromSisters, minedRanks, ...hard } = settings.hardNegatives
  const mined = minedLists(candidates, minedRanks, seed)
  const hardRows = triplets(synsets, data.train, {
    negatives: hard.negatives,
    fromSisters,
    mined,
    queries: [...candidates.keys()],
    seed,
  })
  const second = await runPhase(model, 'phase-2', writeRows(join(own, 'triplets.jsonl.gz'), hardRows), {
    label: 'phase 2: hard negatives',
    ...hard,
  })

  const rows = distillationRows(synsets, data.train, {
    candidates: new Map([...candidates].map(([q, { model, bm25 }]) => [q, [...model, ...bm25]])),
    documents: 1 + settings.graphSupervision.negatives,
    seed,
  })
  const { teacherScale, ...distillation } = settings.graphSupervision
  /** @param {string} name @param {typeof rows} rows */
  const teacherFile = (name, rows) =>
    writeRows(
      join(own, name),
      rows.map((row) => ({ ...row, scores: row.scores.map((score) => score * teacherScale) })),
    )
  const final = 'phase 3: graph supervision'
  const { tokens } = await runPhase(model, 'phase-3', teacherFile('graph.jsonl.gz', rows), {
    label: final,
    ...distillation,
  })
  const trained = trainingSeconds.toFixed(0) // without the controls

  if (options.controls) {
    const shuffledFile = teacherFile('graph-shuffled.jsonl.gz', shuffledTeacher(rows, seed))
    const control = async (/** @type {string} */ name, /** @type {string} */ file, /** @type {any} */ phase) => {
      const copy = await Colbert.load(second.model, { device })
      await runPhase(copy, name, file, phase)
      copy.dispose()
    }
    await control('control-shuffled', shuffledFile, { label: 'control: teacher shuffled', ...distillation })
    const perStep = first.tokens / settings.contrastive.steps
    await control('control-continued', pairs, {
      label: 'control: phase 1 continued',
      ...settings.contrastive,
      learningRate: distillation.learningRate,
      steps: Math.round(tokens / perStep),
    })
  }

  const comparison = compareRuns(runs, test.qrels, {
    metrics: ['ndcg@10', 'mrr@10', 'recall@100'],
    baseline: 'BM25',
    primary: final,
    collection: { name: 'WordNet reverse dictionary, test', counts: test.counts },
  })
  const won = isBetter(comparison, final)
  process.stdout.write(`${formatText(comparison)}\n`)
  process.stdout.write(answers(test, runs, final, seed))
  process.stdout.write(
    `The final model ${won ? 'beats' : 'does NOT beat'} BM25 significantly. ${trained} s of training, ${seconds(started)} s in all.\n`,
  )
  writeFileSync(join(own, 'comparison.json'), `${JSON.stringify(comparison, null, 2)}\n`)
  model.dispose()
  if (!won) process.exitCode = 1
}

/**
 * The vocabulary is trained on training text; it is made once.
 * @param {string} folder @param {string} pairs @param {import('./dataset.js').Collection} text
 */
async function cachedTokenizer(folder, pairs, text) {
  const digest = readFileSync(`${pairs}.sha256`, 'utf8').slice(0, 12)
  const dir = join(folder, `${settings.vocabulary}-${digest}`)
  if (existsSync(join(dir, 'special_tokens_map.json'))) return Tokenizer.load(dir) // the file that is written last
  say(`WordPiece: training a vocabulary of ${settings.vocabulary}`)
  const texts = [...text.queries, ...text.documents].map((item) => item.text)
  const tokenizer = await trainWordPiece(texts, { vocabSize: settings.vocabulary })
  await tokenizer.save(dir)
  return tokenizer
}

/**
 * What the model found for each mined query between two ranks, in an order drawn by seed.
 * @param {Candidates} candidates @param {number[]} ranks @param {number} seed
 */
function minedLists(candidates, [first, last], seed) {
  const random = seeded(seed, 'mined')
  /** @type {number[][]} */
  const lists = []
  for (const [q, { model }] of candidates) lists[q] = shuffled(model.slice(first, last), random)
  return lists
}

/** @param {import('lateforge/eval').Comparison} comparison @param {string} name */
function isBetter({ rows }, name) {
  const test = rows.find((row) => row.name === name)?.test
  return test !== undefined && test.difference > 0 && test.p < 0.05
}

/**
 * A few test queries, drawn by seed whatever became of them, with the final model's best answers.
 * @param {Test} test @param {Row[]} runs @param {string} final @param {number} seed
 */
function answers({ queries, documents, qrels }, runs, final, seed) {
  const textOf = new Map(documents.ids.map((id, d) => [id, documents.texts[d]]))
  const show = (/** @type {string} */ id) => {
    const text = textOf.get(id) ?? ''
    return text.length > 100 ? `${text.slice(0, 99)}…` : text
  }
  const drawn = shuffled([...queries.ids.keys()], seeded(seed, 'answers')).slice(0, 6)
  const lines = ['Test queries drawn by seed, with the answers of the final model (+ right, - wrong)', '']
  for (const q of drawn) {
    const id = queries.ids[q]
    const right = qrels.get(id)
    const place = (/** @type {string} */ name) => {
      const hits = runs.find((row) => row.name === name)?.run.get(id) ?? []
      const at = hits.findIndex((hit) => right?.has(hit.id))
      return at < 0 ? 'not in the best 100' : `at ${at + 1}`
    }
    lines.push(`"${queries.texts[q]}"`, `  right answer: ${place(final)}; BM25: ${place('BM25')}`)
    const hits = runs.find((row) => row.name === final)?.run.get(id) ?? []
    for (const hit of hits.slice(0, 3)) lines.push(`  ${right?.has(hit.id) ? '+' : '-'} ${show(hit.id)}`)
    if (!hits.slice(0, 3).some((hit) => right?.has(hit.id)))
      for (const wanted of right?.keys() ?? []) lines.push(`  right: ${show(wanted)}`)
    lines.push('')
  }
  return `${lines.join('\n')}\n`
}

const controller = new AbortController()
/** @type {Record<string, number>} */
const codes = { SIGINT: 130, SIGTERM: 143 }
for (const [name, code] of Object.entries(codes))
  process.on(name, () => {
    if (controller.signal.aborted) process.exit(code)
    say(`\n${name}: stopping after this step; once more stops at once`)
    process.exitCode = code
    controller.abort()
  })
try {
  await main(controller.signal)
} catch (error) {
  if (!controller.signal.aborted) throw error
}
