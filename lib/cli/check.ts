import { styleText } from 'node:util'
import { checkRun, type RunCheck } from '../train/check/check.js'
import type { PhaseCheck, SampleRow } from '../train/check/check-phase.js'
import { type Fault, faultsError } from '../train/check/faults.js'
import { gibibytes } from '../train/check/memory.js'
import type { SampleText, TextLengths } from '../train/check/texts.js'
import { print, printJson } from './common.js'
import { evaluatorOf } from './evaluator.js'
import { type Accepted, readArguments } from './train.js'
import { showingTransfer } from './transfer.js'

/** `lateforge check [config.yaml] [key=value …]` */
export async function check(args: readonly string[], options: { json?: boolean } & Accepted): Promise<void> {
  const config = await readArguments(args, options)
  const checked = await showingTransfer((onDownload) => checkRun(config, { onDownload }))
  const { faults: evaluation } = await evaluatorOf(config, true)
  const faults: Fault[] = [...checked.faults, ...evaluation]
  const result: RunCheck = { ...checked, ok: faults.length === 0, faults }
  for (const { message } of checked.warnings) process.stderr.write(`warn  ${message}\n`)
  if (options.json) printJson(result)
  else print([runText(result), ...result.phases.map(phaseText)].join('\n\n'))
  if (faults.length > 0) throw faultsError(faults)
}

const grey = (text: string): string => (process.stdout.isTTY && !process.env.NO_COLOR ? styleText('dim', text) : text)
const count = (n: number): string => n.toLocaleString('en')

/** Rows of cells under a head, in columns as wide as their widest cell; numbers to the right. */
function table([head, ...rows]: readonly [readonly string[], ...(readonly string[])[]]): string {
  const columns = head.map((title, i) => ({
    width: Math.max(title.length, ...rows.map((row) => row[i]!.length)),
    numbers: rows.every((row) => /^[\d,.]+( %)?$/.test(row[i]!)),
  }))
  const pad = (cell: string, i: number): string => {
    const { width, numbers } = columns[i]!
    return numbers ? cell.padStart(width) : cell.padEnd(width)
  }
  return [head, ...rows].map((row) => `  ${row.map(pad).join('  ')}`.trimEnd()).join('\n')
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
  const { name, rows, batch, steps, stepsPerEpoch, recipe, memory, sources, samples } = phase
  const epoch = stepsPerEpoch === null ? '' : ` (an epoch has ${count(stepsPerEpoch)})`
  const lines = [`${name}: ${steps === null ? '?' : count(steps)} steps of ${batch}${epoch}, ${count(rows)} rows`]
  for (const { field, model, phase } of recipe)
    lines.push(`  ${field}: ${JSON.stringify(phase)}, the model has ${JSON.stringify(model)}`)
  if (memory)
    lines.push(
      `  memory: ${gibibytes(memory.usual.bytes)} GiB at the peak of a step, ${gibibytes(memory.worst.bytes)} for the ` +
        `longest rows, of ${gibibytes(memory.limit)}`,
    )
  if (sources.length > 0) lines.push('', sourceTable(phase))
  for (const source of sources) {
    const unused = Object.entries(source.unusedColumns).map(([column, n]) => `${column} (${count(n)} rows)`)
    if (unused.length > 0) lines.push(`  ${source.name}: columns not used: ${unused.join(', ')}`)
    if (source.missing > 0) lines.push(`  ${source.name}: negatives null or empty, left out: ${count(source.missing)}`)
  }
  if (sources.some(({ lengths }) => lengths)) lines.push('', lengthTable(phase))
  for (const sample of samples) lines.push('', sampleRow(sample))
  return lines.join('\n')
}

function sourceTable({ sources }: PhaseCheck): string {
  return table([
    ['source', 'rows', 'batches', 'documents a row', 'used', 'not used', 'short rows', 'scores'],
    ...sources.map(({ name, rows, batches, documents: { fewest, most, used, unused, dropped, shortRows }, scores }) => [
      name,
      count(rows),
      count(batches),
      fewest === most ? count(most) : `${fewest} to ${most}`,
      count(used),
      count(unused + dropped),
      count(shortRows),
      scores ? 'yes' : 'no',
    ]),
  ])
}

function lengthTable({ sources }: PhaseCheck): string {
  const row = (name: string, rows: number, side: string, lengths: TextLengths): string[] => {
    const { texts, limit, mean, median, longest, cut } = lengths
    const rate = ((100 * cut) / texts).toFixed(1)
    return [
      name,
      side,
      count(rows),
      count(texts),
      mean.toFixed(1),
      count(median),
      count(longest),
      count(limit),
      `${rate} %`,
    ]
  }
  return table([
    ['source', 'tokens of', 'rows seen', 'texts', 'mean', 'median', 'longest', 'limit', 'cut'],
    ...sources.flatMap(({ name, lengths }) =>
      lengths
        ? [row(name, lengths.rows, 'queries', lengths.queries), row(name, lengths.rows, 'documents', lengths.documents)]
        : [],
    ),
  ])
}

/** Negatives of a row that are shown; JSON has all. */
const SHOWN = 3

function sampleRow({ source, row, query, positive, negatives }: SampleRow): string {
  const more = negatives.length > SHOWN ? [grey(`            and ${negatives.length - SHOWN} more`)] : []
  return [
    `  ${source}, row ${row}`,
    `    query     ${textOf(query)}`,
    `    positive  ${textOf(positive)}`,
    ...negatives.slice(0, SHOWN).map((text) => `    negative  ${textOf(text)}`),
    ...more,
  ].join('\n')
}

/** Tokens; those that scoring leaves out in tildes. */
function textOf({ tokens, skipped, cut, expansion, mask }: SampleText): string {
  const left = new Set(skipped)
  const text = tokens.map((token, i) => (left.has(i) ? grey(`~${token.trim()}~`) : token.trim())).join(' ')
  return `${text}${expansion > 0 ? ` ${mask} × ${expansion}` : ''}${cut ? ` … cut at ${tokens.length}` : ''}`
}
