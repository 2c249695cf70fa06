/** What sections of a report are put together from. */
import { count } from '../io/amounts.js'
import { type Html, html, own, type Value } from './html.js'

/** A column of a table. */
export interface Column {
  head: string
  /** Numbers stand to the right. */
  number?: boolean
}

/** A row, marked where it is one to look at. */
export interface Row {
  cells: readonly Value[]
  differs?: boolean
}

/** A table with a head of its own in each row; wide ones scroll, by keyboard too. */
export function table(caption: string, columns: readonly Column[], rows: readonly Row[]): Html {
  const kind = (i: number): Value => columns[i]!.number && html` class="number"`
  return html`<div class="scroll" tabindex="0" role="region" aria-label="${caption}"><table>
<thead><tr>${columns.map(({ head }, i) => html`<th scope="col"${kind(i)}>${own(head)}</th>`)}</tr></thead>
<tbody>${rows.map(
    ({ cells: [head, ...cells], differs }) =>
      html`<tr${differs && html` class="differs"`}><th scope="row">${head}</th>${cells.map((cell, i) => html`<td${kind(i + 1)}>${cell}</td>`)}</tr>\n`,
  )}</tbody></table></div>`
}

/** Facts side by side. */
export const facts = (entries: readonly (readonly [name: string, value: Value])[]): Html =>
  html`<dl class="facts">${entries.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`

/** What is folded away at first. */
export const folded = (id: string, summary: Value, content: Value): Html =>
  html`<details id="${id}"><summary>${summary}</summary>${content}</details>`

/** A number with four digits that count. */
export function short(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return '–'
  const size = Math.abs(value)
  if (size >= 1e3) return count(Math.round(value))
  if (Number.isInteger(value)) return String(value)
  return size < 1e-3 ? value.toExponential(2) : value.toPrecision(4)
}

/** What stands in a stored config for an object of the program that was given: a model, a source, a loss. */
export const isStandIn = (value: unknown): value is { object: string } =>
  typeof value === 'object' && value !== null && 'object' in value && typeof value.object === 'string'

/** Any value of a setting as text. */
export function settingText(value: unknown): string {
  if (value === undefined) return '–'
  if (isStandIn(value)) return `${value.object} (given as an object)`
  return typeof value === 'string' && value !== '' ? value : JSON.stringify(value)
}

export const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b)
