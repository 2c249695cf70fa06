import { ArgumentError } from '../errors.js'
import { count, duration } from '../io/amounts.js'
import { ProgressLine } from '../io/progress-line.js'
import type { RunCheck } from '../train/check/check.js'
import type { PhaseCheck } from '../train/check/check-phase.js'
import { type Fault, faultsError } from '../train/check/faults.js'
import type { Leak, LeakCount } from '../train/check/leaks.js'
import { gibibytes } from '../train/check/memory.js'
import type { Repeats } from '../train/check/repeats.js'
import type { TrainEvent } from '../train/events.js'
import { checkRun } from '../train/loop/check-run.js'
import { progressOf, stepLine } from '../train/loop/progress.js'
import { foundAt, opened } from './collections.js'
import { interruptible, print, printJson } from './common.js'
import { evaluatorOf } from './evaluator.js'
import { lengthTable, sampleRow, table } from './tables.js'
import { type Accepted, readArguments } from './train.js'

interface Options extends Accepted {
  json?: boolean
  steps?: number
  test?: readonly string[]
  split?: string
}

/** `lateforge check [config.yaml] [key=value …]` */
export async function check(args: readonly string[], options: Options): Promise<void> {
  const { steps, test = [], split } = options
  if (split !== undefined && test.length === 0)
    throw new ArgumentError('ERR_ARGUMENT', '--split has no effect without --test', { option: 'split' })
  const config = await readArguments(args, options)
  const { faults: evaluation, collections } = await evaluatorOf(config, true)
  if (test.length > 0)
    for (const one of await foundAt(test, { split, cacheDir: config.cacheDir }))
      collections.push(await opened(one, { stream: true }))
  const progress = checkProgress()
  const checked = await checkRun(config, {
    ...{ steps, signal: interruptible('stopping'), onProgress: progress.show },
    ...(collections.length > 0 && { collections }),
  }).finally(progress.close)
  const faults: Fault[] = [...checked.faults, ...evaluation]
  const result: RunCheck = { ...checked, ok: faults.length === 0, faults }
  for (const { message } of checked.warnings) process.stderr.write(`warn  ${message}\n`)
  if (options.json) printJson(result)
  else print([runText(result), ...result.phases.map(phaseText), ...timeText(result)].join('\n\n'))
  if (faults.length > 0) throw faultsError(faults)
}

/** How far a check is, on standard error. */
function checkProgress(): {
  show(event: TrainEvent): void
  close(): void
} {
  const line = new ProgressLine()
  return {
    show(event) {
      if (event.type === 'progress') line.show(progressOf(event))
      if (event.type === 'step') line.draw(`trying ${stepLine(event)}`)
    },
    close: () => line.close(),
  }
}

function runText({ out, model }: RunCheck): string {
  const state =
    out.lastCheckpoint !== null
      ? `has a run up to step ${out.lastCheckpoint}: train refuses it, resume goes on`
      : out.exists
        ? 'is there, without checkpoints'
        : 'is new'
  const lines = [`out    ${out.path} ${state}; ${gibibytes(out.freeBytes)} GiB free`]
  if (model)
    lines.push(
      `model  ${count(model.parameters)} parameters, ${count(model.positions)} positions, dim ${model.dim}, ` +
        `${model.precision} on ${model.device}`,
    )
  return lines.join('\n')
}

function phaseText(phase: PhaseCheck): string {
  const { name, rows, batch, steps, stepsPerEpoch, recipe, memory, sources, samples, trial, leaks } = phase
  const epoch = stepsPerEpoch === null ? '' : ` (an epoch has ${count(stepsPerEpoch)})`
  const lines = [`${name}: ${steps === null ? '?' : count(steps)} steps of ${batch}${epoch}, ${count(rows)} rows`]
  for (const { field, model, phase } of recipe)
    lines.push(`  ${field}: ${JSON.stringify(phase)}, the model has ${JSON.stringify(model)}`)
  if (memory)
    lines.push(
      `  memory: ${gibibytes(memory.usual.bytes)} GiB at the peak of a step, ${gibibytes(memory.worst.bytes)} for the ` +
        `longest rows, of ${gibibytes(memory.limit)}`,
    )
  if (trial)
    lines.push(
      `  measured: ${gibibytes(trial.memory.usual)} GiB at the peak, ${gibibytes(trial.memory.worst)} for the longest rows; ` +
        `${count(Math.round(trial.tokensPerSecond))} tokens/s, ${duration(trial.secondsPerStep)} a step, ` +
        `${duration(trial.seconds)} for the phase`,
    )
  if (sources.length > 0) lines.push('', sourceTable(phase))
  for (const source of sources) {
    const unused = Object.entries(source.unusedColumns).map(([column, n]) => `${column} (${count(n)} rows)`)
    if (unused.length > 0) lines.push(`  ${source.name}: columns not used: ${unused.join(', ')}`)
    if (source.missing > 0) lines.push(`  ${source.name}: negatives null or empty, left out: ${count(source.missing)}`)
  }
  if (sources.some(({ repeats }) => repeats)) lines.push('', repeatTable(phase))
  if (leaks) lines.push('', leakTable(leaks))
  if (sources.some(({ lengths }) => lengths)) lines.push('', lengthTable(sources))
  for (const sample of samples) lines.push('', sampleRow(sample))
  return lines.join('\n')
}

/** The whole run, where its steps were tried. */
function timeText({ phases }: RunCheck): string[] {
  const tried = phases.flatMap(({ trial }) => trial ?? [])
  if (tried.length === 0) return []
  const seconds = tried.reduce((sum, trial) => sum + trial.seconds, 0)
  return [`about ${duration(seconds)} for all steps; evaluations and checkpoints not counted`]
}

function sourceTable({ sources }: PhaseCheck): string {
  return table([
    [
      'source',
      'rows',
      'batches',
      'documents a row',
      'used',
      'not used',
      'short rows',
      'scores',
      'own negatives',
      'of the batch',
    ],
    ...sources.map(({ name, rows, batches, documents, scores, compared }) => [
      name,
      count(rows),
      count(batches),
      documents.fewest === documents.most ? count(documents.most) : `${documents.fewest} to ${documents.most}`,
      count(documents.used),
      count(documents.unused + documents.dropped),
      count(documents.shortRows),
      scores ? 'yes' : 'no',
      compared.own.toFixed(1),
      compared.others.toFixed(1),
    ]),
  ])
}

/** What comes more than once; a phase without any says so in a line. */
function repeatTable({ sources }: PhaseCheck): string {
  const rows = sources.flatMap(({ name, repeats }) => (repeats && anyOf(repeats) ? [{ name, repeats }] : []))
  if (rows.length === 0) return '  no query and no positive comes twice'
  return table([
    ['source', 'rows again', 'queries again', 'positives again', 'negatives = positive', 'pairs in a batch'],
    ...rows.map(({ name, repeats }) => [
      name,
      count(repeats.rows),
      count(repeats.queries),
      count(repeats.positives),
      count(repeats.falseNegatives),
      repeats.pairsInBatch.toFixed(2),
    ]),
  ])
}

const anyOf = ({ queries, positives, falseNegatives }: Repeats): boolean => queries + positives + falseNegatives > 0

/** How much of each collection is in the data. */
function leakTable(leaks: readonly Leak[]): string {
  const part = ({ found, of }: LeakCount): string => `${count(found)} of ${count(of)}`
  return table([
    ['collection', 'queries in the data', 'relevant documents', 'pairs', 'first at'],
    ...leaks.map(({ collection, split, queries, documents, pairs, first }) => [
      `${collection}, ${split}`,
      part(queries),
      part(documents),
      part(pairs),
      first ? `${first.source}, row ${count(first.row)}` : '',
    ]),
  ])
}
