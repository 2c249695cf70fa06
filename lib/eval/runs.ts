import { join } from 'node:path'
import { ArgumentError, DataError } from '../errors.js'
import { writeAtomic } from '../io/atomic.js'
import { eachLine } from '../lines.js'
import { addJudgment } from './collections.js'
import { evaluate, type Metric, type Qrels, type RankOptions, type Run, rankHits } from './metrics.js'

/**
 * Reads a TREC run (`query Q0 document rank score tag`, separated by blanks; `.gz` allowed). The rank is ignored: the
 * scores order. Lines starting with `#` are comments. `tag` is the last one seen.
 * Throws `DataError` (`ERR_DATA`) with file and line for malformed lines and repeated documents.
 */
export async function readRun(file: string): Promise<{ readonly run: Run; readonly tag: string }> {
  const run = new Map<string, { id: string; score: number }[]>()
  const seen = new Map<string, Set<string>>()
  let tag = ''
  await eachRow(file, 6, 'query Q0 document rank score tag', (fields, line) => {
    const [query, , id, , digits] = fields
    const score = Number(digits)
    if (Number.isNaN(score))
      throw new DataError('ERR_DATA', `${file}:${line}: found the score "${digits}", expected a number.`, {
        file,
        line,
      })
    let hits = run.get(query)
    let ids = seen.get(query)
    if (!hits || !ids) {
      run.set(query, (hits = []))
      seen.set(query, (ids = new Set()))
    }
    if (ids.size === ids.add(id).size)
      throw new DataError(
        'ERR_DATA',
        `${file}:${line}: query "${query}" lists document "${id}" twice, expected once.`,
        {
          file,
          line,
          query,
          id,
        },
      )
    hits.push({ id, score })
    tag = fields[5]
  })
  return { run, tag }
}

/** Reads TREC judgments (`query 0 document grade`, separated by blanks). Throws `DataError` with file and line. */
export async function readQrels(file: string): Promise<Qrels> {
  const qrels = new Map<string, Map<string, number>>()
  await eachRow(file, 4, 'query 0 document grade', ([query, , id, grade], line) =>
    addJudgment(qrels, query, id, grade, file, line),
  )
  return qrels
}

/**
 * Writes a TREC run, all or nothing, in trec_eval's order with ranks from 1; scores keep every digit.
 * Throws `DataError` (`ERR_DATA`) for ids with blanks, which the format cannot hold, and as `rankHits` does.
 */
export async function writeRun(file: string, run: Run, options: RankOptions & { tag?: string } = {}): Promise<void> {
  const { tag = 'lateforge', scorePrecision, ignoreIdenticalIds = false } = options
  if (!/^\S+$/.test(tag))
    throw new ArgumentError('ERR_ARGUMENT', `The tag is ${JSON.stringify(tag)}, expected a word without blanks.`)
  await writeAtomic(file, runLines(run, tag, { scorePrecision, ignoreIdenticalIds }))
}

function* runLines(run: Run, tag: string, options: RankOptions): Generator<string> {
  for (const [query, hits] of run) {
    let position = 0
    for (const { id, score } of rankHits(query, hits, options)) {
      if (!/^\S+$/.test(query) || !/^\S+$/.test(id))
        throw new DataError(
          'ERR_DATA',
          `Query ${JSON.stringify(query)}, document ${JSON.stringify(id)}: a TREC run holds no empty ids or ids with blanks.`,
          { query, id },
        )
      yield `${query} Q0 ${id} ${++position} ${score} ${tag}\n`
    }
  }
}

async function eachRow(
  file: string,
  width: number,
  layout: string,
  visit: (fields: string[], line: number) => void,
): Promise<void> {
  await eachLine(file, (text, line) => {
    const trimmed = text.trim()
    if (trimmed === '' || trimmed.startsWith('#')) return
    const fields = trimmed.split(/\s+/)
    if (fields.length !== width)
      throw new DataError('ERR_DATA', `${file}:${line}: found ${fields.length} fields, expected ${width}: ${layout}.`, {
        file,
        line,
      })
    visit(fields, line)
  })
}

const mtebCuts = [1, 3, 5, 10, 20, 100, 1000]
const mtebNames = {
  ndcg: 'ndcg',
  map: 'map',
  recall: 'recall',
  precision: 'precision',
  mrr: 'mrr',
  success: 'hit_rate',
} as const

export interface MtebOptions extends RankOptions {
  /** The task's name, as `SciFact`. */
  readonly task: string
  /** Default `test`. */
  readonly split?: string
  /** Revision of the data set. Default `local`. */
  readonly datasetRevision?: string
  /** Default `['eng-Latn']`. */
  readonly languages?: readonly string[]
  /** Seconds. */
  readonly evaluationTime?: number
}

export interface MtebResult {
  readonly dataset_revision: string
  readonly task_name: string
  readonly mteb_version: string
  readonly scores: Readonly<Record<string, readonly Readonly<Record<string, unknown>>[]>>
  readonly evaluation_time: number
  readonly kg_co2_emissions: null
}

/**
 * A run's scores as MTEB's task result (format 1.11 and later), rounded to 5 digits as MTEB does; means are over all
 * judged queries, also those without results, which MTEB leaves out. The `nauc_*` fields are not computed.
 */
export function mtebResult(run: Run, qrels: Qrels, options: MtebOptions): MtebResult {
  const { task, split = 'test', datasetRevision = 'local', languages = ['eng-Latn'], evaluationTime = 0 } = options
  const kinds = Object.keys(mtebNames) as (keyof typeof mtebNames)[]
  const { means } = evaluate(
    run,
    qrels,
    kinds.flatMap((kind) => mtebCuts.map((cut): Metric => `${kind}@${cut}`)),
    options,
  )
  const scores: Record<string, unknown> = {}
  for (const kind of kinds)
    for (const cut of mtebCuts) scores[`${mtebNames[kind]}_at_${cut}`] = round5(means[`${kind}@${cut}`])
  return {
    dataset_revision: datasetRevision,
    task_name: task,
    mteb_version: '1.11.0',
    scores: { [split]: [{ ...scores, main_score: scores.ndcg_at_10, hf_subset: 'default', languages }] },
    evaluation_time: evaluationTime,
    kg_co2_emissions: null,
  }
}

/**
 * Writes results where MTEB looks for them, `{dir}/{org}__{model}/{revision}/{Task}.json` with `model_meta.json` beside.
 * `model` is the name with its organisation, as `lightonai/ColBERT-Zero`. Returns the folder.
 */
export async function writeMteb(
  dir: string,
  model: { readonly name: string; readonly revision?: string },
  results: readonly MtebResult[],
): Promise<string> {
  const { name, revision = 'local' } = model
  for (const part of [name.replaceAll('/', '__'), revision, ...results.map((result) => result.task_name)])
    if (!/^[\w.-]*\w[\w.-]*$/.test(part))
      throw new ArgumentError(
        'ERR_ARGUMENT',
        `Found the name ${JSON.stringify(part)}, expected one fit for a file name.`,
      )
  const folder = join(dir, name.replaceAll('/', '__'), revision)
  for (const result of results) await writeAtomic(join(folder, `${result.task_name}.json`), [json(result)])
  await writeAtomic(join(folder, 'model_meta.json'), [json({ name, revision, framework: ['lateforge'] })])
  return folder
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`
}

function round5(value: number): number {
  return Math.round(value * 1e5) / 1e5
}
