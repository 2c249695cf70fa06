import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { DataEntry, Source } from '../data/sources.js'
import { fileSources } from '../data/sources.js'
import { ArgumentError, FileError } from '../errors.js'
import { collectionNotes, isBeirFolder, listed } from '../eval/collections.js'
import { duration, ProgressLine } from '../io/progress-line.js'
import { beirRows } from '../mining/beir.js'
import { corpusTexts } from '../mining/corpus.js'
import { type MineOptions, type MineProgress, type MineResult, mineNegatives } from '../mining/mine.js'
import type { Colbert } from '../models/colbert.js'
import { colour, interruptible, outliveReaders, print, printJson } from './common.js'
import { loadModel, type ModelOptions } from './model.js'
import { showingTransfer } from './transfer.js'

interface Options
  extends ModelOptions,
    Pick<DataEntry, 'config' | 'split' | 'revision'>,
    Omit<MineOptions, 'data' | 'by' | 'out' | 'corpus' | 'teacher' | 'signal' | 'onProgress' | 'cacheDir'> {
  by: string
  out: string
  corpus?: string
  teacher?: string
  queries?: string
  documents?: string
  columns?: readonly string[]
  json?: boolean
}

/** A source to mine for, and the documents that go with it. */
interface Job {
  data: Source
  corpus: MineOptions['corpus']
  out: string
}

/** `lateforge mine <data…> --by <model|bm25> --out <file>` */
export async function mine(paths: readonly string[], options: Options): Promise<void> {
  const signal = interruptible()
  outliveReaders()
  const jobs = await jobsOf(paths, options, signal)
  const { by: name, teacher: teacherName, json } = options
  if (name === 'bm25')
    for (const key of ['recipe', 'acceptRecipeChange'] as const)
      if (options[key]) throw new ArgumentError('ERR_ARGUMENT', `--${key} has no effect on BM25`, { option: key })
  const by = name === 'bm25' ? name : await loadModel(name, options, { signal })
  const teacher =
    teacherName === undefined ? undefined : await loadModel(teacherName, { device: options.device }, { signal })
  const results: MineResult[] = []
  try {
    for (const job of jobs) {
      const result = await mined(job, by, teacher, options, signal)
      results.push(result)
      if (!json) print(resultText(job.data.name, result))
    }
  } finally {
    if (by !== 'bm25') by.dispose()
    teacher?.dispose()
    if (json && results.length > 0) printJson({ by: name, ...(teacherName && { teacher: teacherName }), results })
  }
}

async function mined(
  { data, corpus, out }: Job,
  by: Colbert | 'bm25',
  teacher: Colbert | undefined,
  options: Options,
  signal: AbortSignal,
): Promise<MineResult> {
  const line = new ProgressLine()
  const { overwrite, negatives, minNegatives, depth, sampling, seed, dropAbove, margin, maxScore, minScore } = options
  const { minerScores, queryBlock, microBatchTokens } = options
  try {
    return await mineNegatives({
      ...{ data, by, out, corpus, teacher, signal, overwrite, negatives, minNegatives, depth, sampling, seed },
      ...{ dropAbove, margin, maxScore, minScore, minerScores, queryBlock, microBatchTokens },
      onProgress: shower(line, data.name),
    })
  } finally {
    line.close()
  }
}

/** Draws how far a source is, with the time that the rest of the stage takes at this rate. */
function shower(line: ProgressLine, name: string): (progress: MineProgress) => void {
  let stage = ''
  let began = 0
  return (progress) => {
    const { done, total } = progress
    if (progress.stage !== stage) {
      stage = progress.stage
      began = performance.now()
    }
    if (total === undefined) return line.draw(`${name}  ${stage}  ${count(done)}`)
    const seconds = (performance.now() - began) / 1000
    const eta = done > 0 ? `  eta ${duration((seconds * (total - done)) / done)}` : ''
    line.draw(`${name}  ${stage}  ${count(done)} of ${count(total)}  ${((100 * done) / total).toFixed(1)} %${eta}`)
  }
}

/** What is mined, and into which files: all is there, and no file that would be lost, before the first model is loaded. */
async function jobsOf(paths: readonly string[], options: Options, signal: AbortSignal): Promise<Job[]> {
  const corpus = options.corpus === undefined ? undefined : await corpusTexts(options.corpus)
  const found: Omit<Job, 'out'>[] = []
  for (const path of paths) {
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory() && isBeirFolder(path)) {
      const { counts, ...rest } = await beirRows(path, { split: options.split })
      for (const note of collectionNotes(counts))
        process.stderr.write(`${colour('dim', `${rest.data.name}: ${note}`)}\n`)
      found.push(corpus ? { ...rest, corpus } : rest)
    } else for (const data of await sourcesOf(path, options, signal)) found.push({ data, corpus })
  }
  const { out } = options
  const isFile = /\.jsonl(\.gz)?$/.test(out)
  if (isFile && found.length > 1)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `--out ${out} is one file for ${found.length} sources (${found.map(({ data }) => data.name).join(', ')}); name a ` +
        'folder, which gets a file for each',
      { out },
    )
  const jobs = found.map((job) => ({ ...job, out: isFile ? out : join(out, `${job.data.name}.jsonl.gz`) }))
  const there = jobs.find((job) => !options.overwrite && existsSync(job.out))
  if (there)
    throw new FileError('ERR_FILE', `${there.out} is there already; name another, or say --overwrite`, {
      path: there.out,
    })
  return jobs
}

async function sourcesOf(path: string, options: Options, signal: AbortSignal): Promise<Source[]> {
  const { queries, documents, config, split, revision } = options
  const entry = { columns: columnsOf(options.columns), queries, documents, config, split, revision }
  const given = Object.fromEntries(Object.entries(entry).filter(([, value]) => value !== undefined))
  const item = Object.keys(given).length > 0 ? { files: path, ...given } : path
  return showingTransfer((onDownload) => fileSources(item, { onDownload, signal }))
}

/** `query=q` and so on; several negatives between commas. */
function columnsOf(given: readonly string[] | undefined): Record<string, string | string[]> | undefined {
  if (!given) return undefined
  return Object.fromEntries(
    given.map((setting) => {
      const [, role, name] = /^(\w+)=(.+)$/.exec(setting) ?? []
      if (role === undefined)
        throw new ArgumentError('ERR_ARGUMENT', `--columns ${setting}: expected role=column, as query=question`)
      return [role, role === 'negatives' ? name!.split(',') : name!]
    }),
  )
}

const count = (n: number): string => n.toLocaleString('en')

function resultText(name: string, result: MineResult): string {
  const { rows, written, negatives, documents, queries, dropped, out } = result
  const notes = [
    ...listed([
      ['rows left out, with too few negatives', result.droppedRows],
      ['rows with fewer negatives than asked for', result.shortRows],
    ]),
    ...listed([
      ['candidates dropped by dropAbove', dropped.dropAbove],
      ['by margin', dropped.margin],
      ['by maxScore', dropped.maxScore],
      ['by minScore', dropped.minScore],
      ['positives, or the query itself, among them', result.excluded],
    ]),
    ...listed([
      ['documents with the text of another', result.repeatedDocuments],
      ['documents without text', result.emptyDocuments],
      ['negatives that rows had before, replaced', result.replaced],
    ]),
    ...listed([
      ['queries longer than the model takes (cut)', result.truncatedQueries],
      ['documents longer than the model takes (cut)', result.truncatedDocuments],
    ]),
  ]
  return [
    `${name}: ${count(written)} of ${count(rows)} rows with ${count(negatives)} negatives, of ${count(documents)} ` +
      `documents for ${count(queries)} queries: ${out}`,
    ...notes.map((note) => `  ${note}`),
  ].join('\n')
}
