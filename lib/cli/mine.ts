import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { ArgumentError, FileError } from '../errors.js'
import { collectionNotes, listed } from '../eval/collections.js'
import { isCollection } from '../eval/find.js'
import { count } from '../io/amounts.js'
import {
  beirRows,
  type MineOptions,
  type MineResult,
  type MiningCorpus,
  mineNegatives,
  miningCorpus,
} from '../mining/index.js'
import { foundAt } from './collections.js'
import { colour, interruptible, joinRanks, outliveReaders, print, printJson } from './common.js'
import { loadModel, type ModelOptions } from './model.js'
import { showing } from './progress.js'
import { openSources, type ReadingOptions } from './sources.js'

/** Those of `mineNegatives` that are options of the command line as they are. */
const passed = [
  ...(['overwrite', 'negatives', 'minNegatives', 'depth', 'dropAbove', 'margin', 'maxScore', 'minScore'] as const),
  ...(['sampling', 'seed', 'minerScores', 'queryBlock', 'microBatchTokens'] as const),
]

interface Options extends ModelOptions, Pick<MineOptions, (typeof passed)[number]>, ReadingOptions {
  by: string
  out: string
  corpus?: string
  teacher?: string
  denseTeacher?: boolean
  json?: boolean
}

/** What is mined for, among which documents, and the file that it goes to. */
type Job = Required<Pick<MineOptions, 'data' | 'out'>> & Pick<MineOptions, 'corpus'>

/** `lateforge mine <data…> --by <model|bm25> --out <path>` */
export async function mine(paths: readonly string[], options: Options): Promise<void> {
  const { by: name, teacher: teacherName, denseTeacher: dense, device, precision, json } = options
  refuseIdle(options)
  const signal = interruptible('stopping; what is not whole is not written')
  outliveReaders()
  const corpus = options.corpus === undefined ? undefined : await corpusOf(options.corpus, signal)
  const jobs = await jobsOf(paths, corpus, options, signal)
  const by = name === 'bm25' ? name : await loadModel(name, options, { signal })
  const teacher =
    teacherName === undefined ? undefined : await loadModel(teacherName, { device, precision, dense }, { signal })
  const rules = Object.fromEntries(passed.map((key) => [key, options[key]]))
  const results: ({ source: string } & MineResult)[] = []
  try {
    for (const job of jobs) {
      const source = job.data.name
      const result = await showing((onProgress) => mineNegatives({ ...job, by, teacher, ...rules, signal, onProgress }))
      results.push({ source, ...result })
      if (!json) print(resultText(source, result))
    }
    if (corpus && corpus.unusedColumns.size > 0)
      note(`${options.corpus}: columns that no text comes from: ${[...corpus.unusedColumns].join(', ')}`)
  } finally {
    if (by !== 'bm25') by.dispose()
    teacher?.dispose()
    if (json && results.length > 0) printJson({ by: name, teacher: teacherName ?? null, results })
  }
}

const note = (text: string): boolean => process.stderr.write(`${colour('dim', text)}\n`)

/** @throws ArgumentError ERR_ARGUMENT for what would do nothing */
function refuseIdle(options: Options): void {
  const fail = (message: string) => new ArgumentError('ERR_ARGUMENT', message)
  const group = joinRanks()
  if (group && group.size > 1) throw fail('mine runs on one rank; start it without mpirun')
  if (options.denseTeacher && options.teacher === undefined)
    throw fail('--dense-teacher has no effect without --teacher')
  if (options.by !== 'bm25') return
  if (options.dense) throw fail('--dense has no effect on BM25')
  if (options.precision && options.teacher === undefined) throw fail('--precision has no effect on BM25')
  if (options.recipe) throw fail('--recipe has no effect on BM25')
  if (options.acceptRecipeChange) throw fail('--accept-recipe-change has no effect on BM25')
  if (options.device !== 'cpu' && options.teacher === undefined) throw fail('--device has no effect on BM25')
}

function corpusOf(path: string, signal: AbortSignal): Promise<MiningCorpus> {
  return showing((onProgress) => miningCorpus(path, { onProgress, signal }))
}

/** All is there, and no file would be lost, before the first model is loaded. */
async function jobsOf(
  paths: readonly string[],
  corpus: MiningCorpus | undefined,
  options: Options,
  signal: AbortSignal,
): Promise<Job[]> {
  const places = paths.filter(isCollection)
  const files = paths.filter((path) => !isCollection(path))
  const found = [...(await judged(places, options, signal)), ...(await sourcesOf(files, options, signal))]
  const { out } = options
  const isFile = /\.jsonl(\.gz)?$/.test(out)
  const names = found.map(({ data }) => data.name)
  if (isFile && names.length > 1)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `--out ${out} is one file, for ${names.length} sources: ${names.join(', ')}. Name a folder, which gets a file for each`,
      { out },
    )
  const twice = names.find((name, i) => names.indexOf(name) < i)
  if (twice !== undefined)
    throw new ArgumentError('ERR_ARGUMENT', `two sources are called "${twice}"; mine them one after the other`)
  const jobs = found.map((job) => ({
    ...job,
    ...(corpus && { corpus: corpus.texts }),
    out: isFile ? out : join(out, `${job.data.name}.jsonl.gz`),
  }))
  const there = jobs.find((job) => !options.overwrite && existsSync(job.out))
  if (there)
    throw new FileError('ERR_FILE', `${there.out} is there already; name another, or say --overwrite`, {
      path: there.out,
    })
  return jobs
}

/** The judgments of BEIR collections, with their documents. */
async function judged(places: readonly string[], options: Options, signal: AbortSignal): Promise<Omit<Job, 'out'>[]> {
  if (places.length === 0) return []
  const idle = (['columns', 'queries', 'documents', 'config', 'revision'] as const).find((key) => options[key])
  if (idle) throw new ArgumentError('ERR_ARGUMENT', `--${idle} has no effect on BEIR's, ${places.join(', ')}`)
  const { split = 'train' } = options
  const collections = await foundAt(places, { split, signal })
  const found: Omit<Job, 'out'>[] = []
  for (const { folder } of collections) {
    const { data, corpus, counts } = await beirRows(folder, { split })
    for (const text of collectionNotes(counts)) note(`${data.name}: ${text}`)
    found.push({ data, corpus })
  }
  return found
}

/** Sources of files, which are mined among their own documents. */
async function sourcesOf(paths: readonly string[], options: Options, signal: AbortSignal): Promise<Omit<Job, 'out'>[]> {
  const sources = await openSources(paths, options, signal)
  for (const { name, unusedFiles, incomplete = [] } of sources) {
    if (unusedFiles) note(`${name}: files of a kind that is not read: ${unusedFiles.join(', ')}`)
    for (const text of incomplete) note(text)
  }
  return sources.map((data) => ({ data }))
}

function resultText(source: string, result: MineResult): string {
  const { rows, written, negatives, documents, queries, dropped, meanPositive, meanNegative, unusedColumns, out } =
    result
  const notes = [
    `mean score of positives ${meanPositive.toFixed(2)}, of negatives ${meanNegative.toFixed(2)}`,
    ...listed([
      ['rows left out for want of negatives (--min-negatives 0 keeps all)', result.droppedRows],
      ['rows with fewer negatives than asked for', result.shortRows],
    ]),
    ...listed([
      ['candidates dropped by --max-score', dropped.maxScore],
      ['candidates dropped by --min-score', dropped.minScore],
      ['candidates dropped by --drop-above', dropped.dropAbove],
      ['candidates dropped by --margin', dropped.margin],
      ['candidates left over', result.notChosen],
      ['positives of the query, and the query itself, among the candidates', result.excluded],
    ]),
    ...listed([
      ['documents with the text of another (left out)', result.repeatedDocuments],
      ['documents without text (left out)', result.emptyDocuments],
      ['negatives of the rows (replaced)', result.replaced],
    ]),
    ...(unusedColumns.length > 0 ? [`columns that are not kept: ${unusedColumns.join(', ')}`] : []),
    ...listed([
      ['queries longer than the miner takes (cut)', result.truncatedQueries],
      ['documents longer than the miner takes (cut)', result.truncatedDocuments],
      ['texts longer than the teacher takes (cut)', result.teacherTruncated],
    ]),
  ]
  return [
    `${source}: ${count(written)} of ${count(rows)} rows (${count(queries)} queries) with ${count(negatives)} negatives ` +
      `of ${count(documents)} documents: ${out}`,
    ...notes.map((text) => `  ${text}`),
  ].join('\n')
}
