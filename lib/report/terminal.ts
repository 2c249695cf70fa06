/** A map of tokens for a terminal. */
import { styleText } from 'node:util'
import type { ExplainedDocument, ExplainedToken, Explanation } from '../models/explain.js'
import { visible } from './html.js'
import type { MapLabel } from './map.js'

/** How it is shown. */
export interface TerminalOptions {
  /** Whether colours may be used. */
  colours: boolean
  /** Characters of a line. */
  columns: number
}

/** Shades of 256 colours, from weak to strong, that dark and light letters can be read on. */
const SHADES = [null, 236, 58, 94, 136, 214] as const
const BAR = 20

const wide =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Emoji_Presentation}\u3000-\u303f\uff01-\uff60]/u
const joined = /\p{Mark}|\p{Emoji_Modifier}|[\u200b-\u200d]/u

/** Columns that a text takes: letters of East Asia and emoji two, marks on a letter none. */
export function columnsOf(text: string): number {
  let columns = 0
  for (const char of text) columns += joined.test(char) ? 0 : wide.test(char) ? 2 : 1
  return columns
}

/** The explanation in lines. */
export function explanationText(
  { query, documents }: Explanation,
  labels: readonly MapLabel[],
  options: TerminalOptions,
): string {
  const most = Math.max(...documents.flatMap(({ matches }) => matches.map(({ score }) => score)), 1e-9)
  const lines = [`query  ${tokensText(query.tokens, () => 0, options, 7)}`]
  for (const [n, document] of documents.entries()) {
    const { name, note } = labels[n]!
    const sums = document.tokens.map(() => 0)
    for (const { token, score } of document.matches) if (token >= 0) sums[token]! += score
    const strongest = Math.max(...sums, 1e-9)
    lines.push(
      '',
      `${visible(name)}  score ${document.score.toFixed(3)}${note === undefined ? '' : `  ${visible(note)}`}`,
      `  ${tokensText(document.tokens, (i) => sums[i]! / strongest, options, 2)}`,
      '',
      ...answers(query.tokens, document, most),
    )
  }
  return lines.join('\n')
}

/** A line for each query token; expansion tokens in a row that the same token answers are one, with their mean. */
function answers(query: readonly ExplainedToken[], document: ExplainedDocument, most: number): string[] {
  const rows: { asked: string; answer: string; score: number; times: number }[] = []
  for (const { query: q, token, score } of document.matches) {
    const { kind, text } = query[q]!
    const asked = visible(text)
    const answer = token < 0 ? 'nothing' : `${visible(document.tokens[token]!.text)} (${token + 1})`
    const before = rows.at(-1)
    if (kind === 'expansion' && before && before.asked === asked && before.answer === answer) {
      before.score += score
      before.times++
    } else rows.push({ asked, answer, score, times: 1 })
  }
  const shown = rows.map(({ times, ...row }) => ({
    ...row,
    asked: times > 1 ? `${row.asked} × ${times}` : row.asked,
    times,
  }))
  const width = Math.max(...shown.map(({ asked }) => columnsOf(asked)), 0)
  return shown.map(({ asked, answer, score, times }) => {
    const each = score / times
    const bar = '█'.repeat(Math.max(0, Math.round((BAR * each) / most)))
    return `  ${asked}${' '.repeat(width - columnsOf(asked))}  ${each.toFixed(3).padStart(6)}  ${bar.padEnd(BAR)}  ${answer}`
  })
}

/** Tokens in a paragraph: skipped ones in tildes, expansion counted, and what was cut behind a bar. */
function tokensText(
  tokens: readonly ExplainedToken[],
  strength: (token: number) => number,
  { colours, columns }: TerminalOptions,
  indent: number,
): string {
  const dim = (text: string): string => (colours ? styleText('dim', text) : text)
  const words: { text: string; width: number }[] = []
  const add = (text: string, styled = text): void => {
    words.push({ text: styled, width: columnsOf(text) })
  }
  let expansion = 0
  for (const [i, { kind, text: raw, attended }] of tokens.entries()) {
    const text = visible(raw)
    if (kind === 'expansion') {
      expansion++
      if (tokens[i + 1]?.kind !== 'expansion')
        add(
          `${text} × ${expansion}${attended ? '' : ' (masked)'}`,
          dim(`${text} × ${expansion}${attended ? '' : ' (masked)'}`),
        )
      continue
    }
    if (kind === 'cut' && tokens[i - 1]?.kind !== 'cut') add('| cut:')
    if (kind === 'skipped') add(`~${text}~`, dim(`~${text}~`))
    else if (kind === 'text' || kind === 'special') add(text, colours ? shaded(text, strength(i)) : text)
    else add(text, dim(text))
  }
  let [line, used] = ['', indent]
  for (const { text, width } of words) {
    if (used > indent && used + 1 + width > columns) {
      line += `\n${' '.repeat(indent)}`
      used = indent
    } else if (used > indent) {
      line += ' '
      used++
    }
    line += text
    used += width
  }
  return line
}

function shaded(text: string, strength: number): string {
  const shade = SHADES[Math.min(SHADES.length - 1, Math.ceil(strength * (SHADES.length - 1)))]
  if (!shade) return text
  const letters = shade >= 136 ? 16 : 255
  return `\x1b[48;5;${shade}m\x1b[38;5;${letters}m${text}\x1b[0m`
}
