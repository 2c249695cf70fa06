/** The data of a run: what each source gave, how long its texts are, and some rows as the model reads them. */

import { count, countOf } from '../io/amounts.js'
import type { PhaseCheck, SampleRow } from '../train/check/check-phase.js'
import type { SourceCheck } from '../train/check/check-source.js'
import type { SampleText, TextLengths } from '../train/check/texts.js'
import { type Html, html, own, type Value } from './html.js'
import { folded, type Row, short, table } from './parts.js'
import type { RunRecord } from './run-record.js'

/** Negatives of a row that are shown. */
const SHOWN = 3

export function dataSection(runs: readonly RunRecord[]): Html {
  return html`${runs.map((run, n) => html`${runs.length > 1 && html`<h3>${own(run.label)}</h3>`}${dataOf(run, n)}`)}`
}

function dataOf(run: RunRecord, n: number): Html {
  const { checks, config } = run
  const given = givenRows(run)
  const hidden = (config.card as { samples?: number } | undefined)?.samples === 0
  return html`${
    given.length > 0 &&
    table(
      'What each source gave',
      ['source', 'phase', 'rows', 'steps', 'share', 'tokens', 'mean loss'].map((head, i) => ({ head, number: i > 1 })),
      given,
    )
  }
${checks === null && html`<p class="note">The run is of an earlier version, which keeps no lengths and no samples.</p>`}
${checks && html`<h3>Lengths, in tokens before they are cut</h3>${lengthTable(checks)}<h3>As the model reads them</h3>${hidden && html`<p class="note">The config says card.samples: 0, so no text of the data is shown.</p>`}`}
${checks?.map(({ name, samples }, phase) => samples.length > 0 && folded(`samples-${n}-${phase}`, `${name}: ${countOf(samples.length, 'row')}`, samples.map(sampleHtml)))}`
}

function givenRows({ log, checks }: RunRecord): Row[] {
  const all = new Map<string, number>()
  for (const { phase, steps } of log.given.values()) all.set(phase, (all.get(phase) ?? 0) + steps)
  // A source whose turn has not come is there too.
  const waiting = (checks ?? []).flatMap(({ name: phase, sources }) =>
    log.phases.some(({ name }) => name === phase)
      ? sources
          .filter(({ name: source }) => ![...log.given.values()].some((g) => g.phase === phase && g.source === source))
          .map(({ name: source }) => ({ phase, source, steps: 0, tokens: 0, loss: 0 }))
      : [],
  )
  return [...log.given.values(), ...waiting].map(({ phase, source, steps, tokens, loss }) => {
    const rows = sourceOf(checks, phase, source)?.rows
    return {
      cells: [
        own(source),
        phase,
        rows === undefined ? '–' : count(rows),
        count(steps),
        `${((100 * steps) / (all.get(phase) ?? 1)).toFixed(0)} %`,
        count(tokens),
        steps > 0 ? short(loss / steps) : '–',
      ],
    }
  })
}

const sourceOf = (checks: readonly PhaseCheck[] | null, phase: string, source: string): SourceCheck | undefined =>
  checks?.find(({ name }) => name === phase)?.sources.find(({ name }) => name === source)

function lengthTable(checks: readonly PhaseCheck[]): Html {
  const percent = (share: number): string => `${(100 * share).toFixed(1)} %`
  const row = (name: string, phase: string, side: string, lengths: TextLengths): Row => {
    const { texts, mean, median, p90, p99, longest, limit, cut, lost } = lengths
    return {
      cells: [
        ...[own(name), phase, side, count(texts), mean.toFixed(1), count(median), count(p90), count(p99)],
        ...[count(longest), count(limit), percent(cut / texts), percent(lost)],
      ],
    }
  }
  const rows = checks.flatMap(({ name: phase, sources }) =>
    sources.flatMap(({ name, lengths }) =>
      lengths ? [row(name, phase, 'queries', lengths.queries), row(name, phase, 'documents', lengths.documents)] : [],
    ),
  )
  const heads = ['source', 'phase', 'of', 'texts seen', 'mean', 'median', '90 %', '99 %', 'longest', 'limit']
  return table(
    'Lengths',
    [...heads, 'cut', 'tokens lost'].map((head, i) => ({ head, number: i > 2 })),
    rows,
  )
}

function sampleHtml({ source, row, query, positive, negatives }: SampleRow): Html {
  return html`<div class="sample card"><p class="note">${own(source)}, row ${count(row)}</p>
${sampleText('query', query)}${sampleText('positive', positive)}${negatives.slice(0, SHOWN).map((text) => sampleText('negative', text))}
${negatives.length > SHOWN && html`<p class="note">and ${countOf(negatives.length - SHOWN, 'more negative')}</p>`}</div>`
}

function sampleText(role: string, { tokens, skipped, cut, expansion, mask }: SampleText): Value {
  const left = new Set(skipped)
  return html`<div><span class="label">${role}, ${tokens.length} tokens</span><p class="tokens">${tokens.map(
    (token, i) => html`<span class="token ${left.has(i) ? 'skipped' : 'text'}">${own(token.trim())}</span> `,
  )}${expansion > 0 && html`<span class="token expansion">${own(mask)} × ${expansion}</span>`}${cut && html`<span class="token cut">cut here</span>`}</p></div>`
}
