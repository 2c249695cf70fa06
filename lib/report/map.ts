/** A map of tokens: which token of a document answers which token of a query, as HTML. */
import { countOf } from '../io/amounts.js'
import type { ExplainedDocument, ExplainedText, ExplainedToken, Explanation } from '../models/explain.js'
import { type Html, html, own, type Value, visible } from './html.js'

/** A document's name, and what is worth a line of its own. */
export interface MapLabel {
  /** Its id, or another name. */
  name: string
  /** As `relevant`, or its score elsewhere. */
  note?: string
}

/** Shades of strength in page.css: 0 is none. */
const SHADES = 10

/** Characters of a text that are shown. */
const GIVEN = 2000

/** The explanation as HTML, and what its script needs: `data` belongs under `key` into the page's data. */
export function tokenMap(
  explanation: Explanation,
  labels: readonly MapLabel[],
  key: string,
): { html: Html; data: unknown } {
  const { query, documents } = explanation
  const most = Math.max(...documents.map((document) => Math.max(0, ...contributions(document))), 1e-9)
  return {
    html: html`<div class="map" data-map="${key}">
<div class="query"><span class="label" id="query-${key}">Query</span>
<div class="tokens" role="toolbar" aria-labelledby="query-${key}">${query.tokens.map(queryToken)}${more(query)}</div></div>
<p class="reading" role="status" aria-live="polite">Shade: how much of the score a token gives. Pick a token of the query to see what each token of the documents says to it.</p>
<div class="documents">${documents.map((document, n) => documentHtml(explanation, document, labels[n]!, n, most))}</div>
</div>`,
    data: {
      query: query.tokens.map(({ text }) => visible(text)),
      documents: documents.map((document, n) => ({
        name: visible(labels[n]!.name),
        tokens: document.tokens.map(({ text }) => visible(text)),
        matches: document.matches.map(({ query, token, score }) => [query, token, round(score)]),
        scoring: document.tokens.flatMap(({ kind }, i) => (kind === 'skipped' || kind === 'cut' ? [] : [i])),
        ...(document.similarities && { similarities: packed(document.similarities) }),
      })),
    },
  }
}

/** Of each token of a document, the sum of what it answers. */
function contributions({ tokens, matches }: ExplainedDocument): number[] {
  const sums = tokens.map(() => 0)
  for (const { token, score } of matches) if (token >= 0) sums[token]! += score
  return sums
}

const scores = ({ kind }: ExplainedToken): boolean => kind !== 'skipped' && kind !== 'cut'

function queryToken(token: ExplainedToken, i: number): Html {
  const told = describe(token)
  return scores(token)
    ? html`<button type="button" class="token ${token.kind}" data-query="${i}" tabindex="-1" aria-pressed="false"${title(told)}>${own(token.text)}</button> `
    : html`<span class="token ${token.kind}"${title(told)}>${own(token.text)}</span> `
}

/** What the look of a token says, in words. */
function describe({ kind, attended }: ExplainedToken): string {
  if (kind === 'expansion') return `expansion${attended ? '' : ', masked: no other token attends to it'}`
  if (kind === 'skipped') return 'skipped: read, and left out of scoring'
  if (kind === 'cut') return 'cut: beyond the length, the model never sees it'
  return kind === 'special' ? 'special token' : ''
}

const title = (text: string): Value => text !== '' && html` title="${text}"`

const more = ({ goesOn }: ExplainedText): Value => goesOn && html`<span class="more">… and more that was cut</span>`

function documentHtml(
  { query, clampNegatives }: Explanation,
  document: ExplainedDocument,
  { name, note }: MapLabel,
  n: number,
  most: number,
): Html {
  const sums = contributions(document)
  const cut = document.tokens.filter(({ kind }) => kind === 'cut').length
  const answering = document.matches.map(({ query: q, token, score }) => ({
    asked: query.tokens[q]!,
    answer: token < 0 ? null : document.tokens[token]!,
    token,
    score,
  }))
  return html`<article class="document" data-document="${n}" aria-label="${name}">
<h3>${own(name)} <span class="score">score ${document.score.toFixed(3)}</span>${note && html` <span class="note">${own(note)}</span>`}</h3>
<p class="tokens">${document.tokens.map((token, i) => documentToken(token, i, sums[i]!, most))}${more(document)}</p>
${cut > 0 && html`<p class="note">${document.goesOn ? 'More than ' : ''}${countOf(cut, 'token')} ${cut === 1 ? 'was' : 'were'} cut: the model reads ${document.tokens.length - cut}.</p>`}
<details><summary>Which token answers which, as a table</summary>
<div class="scroll" tabindex="0" role="region" aria-label="Answers in ${name}"><table><thead><tr><th scope="col">query</th><th scope="col">answered by</th><th scope="col" class="number">similarity</th></tr></thead>
<tbody>${answering.map(
    ({ asked, answer, token, score }) =>
      html`<tr><td>${own(asked.text)}${asked.kind === 'expansion' && html` <span class="note">expansion</span>`}</td><td>${answer ? html`${own(answer.text)} <span class="note">at ${token + 1}</span>` : html`<span class="note">nothing${clampNegatives ? ': negative counts as 0' : ''}</span>`}</td><td class="number">${score.toFixed(3)}</td></tr>`,
  )}</tbody></table></div></details>
<details><summary>The text as it was given</summary><p class="value" dir="auto">${given(document.text)}</p></details>
</article>`
}

/** Tokens are not all of a text: letters are folded, words unknown. */
function given(text: string): Value {
  const rest = text.length - GIVEN
  return rest <= 0
    ? text
    : html`${text.slice(0, GIVEN).replace(/[\ud800-\udbff]$/, '')} <span class="note">… and ${countOf(rest, 'more character')}</span>`
}

function documentToken(token: ExplainedToken, i: number, sum: number, most: number): Html {
  const shade = Math.round((SHADES * Math.max(0, sum)) / most)
  const told = [describe(token), sum !== 0 ? `gives ${sum.toFixed(2)} of the score` : ''].filter(Boolean).join('; ')
  return html`<span class="token ${token.kind} s${shade}" data-token="${i}" data-shade="${shade}"${title(told)}>${own(token.text)}</span> `
}

const round = (value: number): number => Math.round(value * 1e4) / 1e4

/** Similarities in hundredths, a byte each: they are shown as shades. Exact ones are in the matches. */
function packed(rows: readonly (readonly number[])[]): string {
  const bytes = rows.flatMap((row) => row.map((value) => Math.round(100 * Math.max(-1.27, Math.min(1.27, value)))))
  return Buffer.from(Int8Array.from(bytes).buffer).toString('base64')
}
