import { join } from 'node:path'
import { ArgumentError, DataError } from '../errors.js'
import { writeAtomic } from '../io/atomic.js'
import { eachLine } from '../io/lines.js'
import { checkOptions, either, kind, number, oneOf, required, strings, text, whole } from '../options.js'
import {
  type Depth,
  evaluate,
  type Metric,
  type Qrels,
  type RankOptions,
  rankHits,
  rankOptions,
  type TrecRun,
} from '../retrieval/metrics.js'

/** What a TREC run file holds. */
export interface RunFile {
  /** Its content. */
  readonly run: TrecRun
  /** All tags there are, in the order of the file: more than one means that files were put together. */
  readonly tags: readonly string[]
  /** Queries whose ranks are in another order than their scores. */
  readonly reordered: number
}

/**
 * Reads a TREC run (`query Q0 document rank score tag`, separated by blanks; `.gz` allowed). The scores order, as in
 * trec_eval, whatever the ranks say. A line that starts with `#` and is no such row is a comment.
 * Throws `DataError` (`ERR_DATA`) with file and line for malformed lines and repeated documents.
 */
export async function readRun(file: string): Promise<RunFile> {
  interface Query {
    hits: { id: string; score: number }[]
    ids: Set<string>
    rank: number
    isReordered: boolean
  }
  const queries = new Map<string, Query>()
  const tags = new Set<string>()
  await eachLine(file, (text, line) => {
    const fields = text.trim().split(/\s+/)
    if (text.trim() === '' || (fields.length !== 6 && text.startsWith('#'))) return
    const fail = (found: string, details = {}) =>
      new DataError('ERR_DATA', `${file}:${line}: ${found}`, { file, line, ...details })
    if (fields.length !== 6) throw fail(`found ${fields.length} fields, expected 6: query Q0 document rank score tag.`)
    const [query, , id, rank, digits, tag] = fields as [string, string, string, string, string, string]
    const score = Number(digits)
    if (Number.isNaN(score)) throw fail(`found the score "${digits}", expected a number.`)
    let entry = queries.get(query)
    if (!entry) queries.set(query, (entry = { hits: [], ids: new Set(), rank: Number(rank), isReordered: false }))
    const { hits, ids } = entry
    if (ids.size === ids.add(id).size)
      throw fail(`query "${query}" lists document "${id}" twice, expected once.`, { query, id })
    const before = hits.at(-1)?.score ?? score
    entry.isReordered ||= (Number(rank) - entry.rank) * (score - before) > 0
    entry.rank = Number(rank)
    hits.push({ id, score })
    tags.add(tag)
  })
  const all = [...queries]
  return {
    run: new Map(all.map(([query, { hits }]) => [query, hits])),
    tags: [...tags],
    reordered: all.filter(([, { isReordered }]) => isReordered).length,
  }
}

/**
 * Writes a TREC run, all or nothing, in trec_eval's order with ranks from 1; scores keep every digit.
 * Throws `DataError` (`ERR_DATA`) for ids with blanks, which the format cannot hold, and as `rankHits` does.
 */
export async function writeRun(
  file: string,
  run: TrecRun,
  options: RankOptions & { tag?: string } = {},
): Promise<void> {
  checkOptions('writeRun', options, { ...rankOptions, tag: kind('a word', (v) => typeof v === 'string') })
  const { tag = 'lateforge', scorePrecision, ignoreIdenticalIds = false } = options
  if (!/^\S+$/.test(tag))
    throw new ArgumentError('ERR_ARGUMENT', `The tag is ${JSON.stringify(tag)}, expected a word without blanks.`)
  await writeAtomic(file, runLines(run, tag, { scorePrecision, ignoreIdenticalIds }))
}

function* runLines(run: TrecRun, tag: string, options: RankOptions): Generator<string> {
  for (const [query, hits] of run) {
    checkRunIds('query', [query])
    let position = 0
    for (const { id, score } of rankHits(query, hits, options)) {
      checkRunIds('document', [id])
      yield `${query} Q0 ${id} ${++position} ${score} ${tag}\n`
    }
  }
}

/** Throws `DataError` (`ERR_DATA`) for an id that a TREC run cannot hold: an empty one, or one with blanks. */
export function checkRunIds(what: string, ids: Iterable<string>): void {
  for (const id of ids)
    if (!/^\S+$/.test(id))
      throw new DataError(
        'ERR_DATA',
        `The ${what} id ${JSON.stringify(id)} cannot stand in a TREC run, which holds no empty ids or ids with blanks.`,
        { what, id },
      )
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

/** Options of `mtebResult`. */
export interface MtebOptions extends RankOptions {
  /** The task's name, as `SciFact`. */
  readonly task: string
  /** Default `test`. */
  readonly split?: string
  /** Revision of the data set. Default `local`. */
  readonly datasetRevision?: string
  /** Documents the run may hold a query, or `all`: a run's own `depth`. Default: those of its longest list. */
  readonly depth?: Depth
  /** Default `['eng-Latn']`. */
  readonly languages?: readonly string[]
  /** Seconds. */
  readonly evaluationTime?: number
}

/** A task result as MTEB writes it; the names are MTEB's. */
export interface MtebResult {
  /** Revision of the data set. */
  readonly dataset_revision: string
  /** Name of the task. */
  readonly task_name: string
  /** Version of the format. */
  readonly mteb_version: string
  /** By split, one object of metrics per subset. */
  readonly scores: Readonly<Record<string, readonly Readonly<Record<string, unknown>>[]>>
  /** Seconds. */
  readonly evaluation_time: number
  /** Not measured. */
  readonly kg_co2_emissions: null
}

/**
 * A run's scores as MTEB's task result (format 1.11 and later), rounded to 5 digits as MTEB does; means are over all
 * judged queries, also those without results, which MTEB leaves out. The `nauc_*` fields are not computed.
 * Throws `DataError` (`ERR_DATA`) for a run that is shallower than MTEB's cuts, unless `depth` says that it has all.
 */
export function mtebResult(run: TrecRun, qrels: Qrels, options: MtebOptions): MtebResult {
  checkOptions('mtebResult', options, {
    ...rankOptions,
    ...{
      task: text,
      split: text,
      datasetRevision: text,
      languages: strings,
      evaluationTime: number(0),
      depth: either(whole(1), oneOf('all')),
    },
  })
  required('mtebResult', 'task', options?.task, text)
  const { task, split = 'test', datasetRevision = 'local', languages = ['eng-Latn'], evaluationTime = 0 } = options
  const kinds = Object.keys(mtebNames) as (keyof typeof mtebNames)[]
  const metrics = kinds.flatMap((kind) => mtebCuts.map((cut): Metric => `${kind}@${cut}`))
  const { scorePrecision, ignoreIdenticalIds } = options
  const { means, counts } = evaluate(run, qrels, metrics, { scorePrecision, ignoreIdenticalIds })
  const deepest = mtebCuts.at(-1)!
  const depth = options.depth ?? counts.depth
  if (depth !== 'all' && depth < deepest)
    throw new DataError(
      'ERR_DATA',
      `The run holds at most ${depth} documents a query, MTEB's results go down to ${deepest}. Retrieve that many, or ` +
        "say depth: 'all' if these are all that there are.",
      { depth, deepest },
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
  checkOptions('writeMteb', model, { name: text, revision: text })
  required('writeMteb', 'name', model?.name, text)
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
