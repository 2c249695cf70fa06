/** What several verbs print alike: tables, lengths of texts, rows as a model reads them. */
import { styleText } from 'node:util'
import { count } from '../io/amounts.js'
import type { SampleRow } from '../train/check/check-phase.js'
import type { SampleText, TextLengths } from '../train/check/texts.js'

/** Where standard output is a terminal that wants colours. */
export const grey = (text: string): string =>
  process.stdout.isTTY && !process.env.NO_COLOR ? styleText('dim', text) : text

/** Rows of cells under a head, in columns as wide as their widest cell; numbers to the right. */
export function table([head, ...rows]: readonly [readonly string[], ...(readonly string[])[]]): string {
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

/** Names and values, a line each. */
export function facts(entries: readonly (readonly [name: string, value: string])[]): string {
  const width = Math.max(0, ...entries.map(([name]) => name.length))
  return entries.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`).join('\n')
}

/** A text in one line that is not too long. Control characters, which a terminal would obey, are left out. */
export function shortened(text: string, most = 110): string {
  const line = text.replace(/\s+/g, ' ').replace(/\p{Cc}/gu, '')
  return line.length > most ? `${line.slice(0, most - 1)}…` : line
}

/** Lengths of the texts of a source. */
export interface NamedLengths {
  name: string
  lengths: { rows: number; queries: TextLengths; documents: TextLengths } | null
}

/** @param unit what is counted */
export function lengthTable(sources: readonly NamedLengths[], unit = 'tokens'): string {
  const bounded = sources.some(({ lengths }) => lengths && Number.isFinite(lengths.queries.limit))
  const percent = (share: number): string => `${(100 * share).toFixed(1)} %`
  const row = (name: string, rows: number, side: string, lengths: TextLengths): string[] => {
    const { texts, limit, mean, median, p90, p99, longest, cut, lost } = lengths
    return [
      ...[
        name,
        side,
        count(rows),
        count(texts),
        mean.toFixed(1),
        count(median),
        count(p90),
        count(p99),
        count(longest),
      ],
      ...[...(bounded ? [count(limit), percent(cut / texts), percent(lost)] : [])],
    ]
  }
  return table([
    [
      'source',
      `${unit} of`,
      'rows seen',
      'texts',
      'mean',
      'median',
      '90 %',
      '99 %',
      'longest',
      ...(bounded ? ['limit', 'cut', 'tokens lost'] : []),
    ],
    ...sources.flatMap(({ name, lengths }) =>
      lengths
        ? [row(name, lengths.rows, 'queries', lengths.queries), row(name, lengths.rows, 'documents', lengths.documents)]
        : [],
    ),
  ])
}

/** Negatives of a row that are shown; JSON has all. */
const SHOWN = 3

export function sampleRow({ source, row, query, positive, negatives }: SampleRow): string {
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
