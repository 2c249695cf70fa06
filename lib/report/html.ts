/**
 * HTML in which everything is text unless it was made by `html` itself: what comes from data, texts, names and settings
 * alike, cannot become markup. Ours and no package: a template language would be more than the forty lines this takes.
 */

/** Markup that is safe to put into a page. */
export class Html {
  /** The markup. */
  readonly markup: string

  /** Use the template `html`; only what holds no data is made by hand. */
  constructor(markup: string) {
    this.markup = markup
  }
}

/** What a template takes: markup as it is, all else as text; of lists each entry, of nothing nothing. */
export type Value = Html | string | number | false | null | undefined | readonly Value[]

/** A template whose values are escaped. */
export function html(strings: TemplateStringsArray, ...values: readonly Value[]): Html {
  return new Html(strings.reduce((all, part, i) => all + markupOf(values[i - 1]) + part))
}

function markupOf(value: Value): string {
  if (value === null || value === undefined || value === false) return ''
  if (value instanceof Html) return value.markup
  if (typeof value === 'object') return value.map(markupOf).join('')
  return visible(String(value)).replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`)
}

/** Text of data, whose direction is its own: it does not turn what stands beside it. */
export const own = (text: string): Html => html`<bdi>${text}</bdi>`

/** JSON to stand inside a script element, which nothing in it can end. */
export function jsonScript(id: string, value: unknown): Html {
  const json = JSON.stringify(value).replace(/[<>&\u2028\u2029]/g, (char) => unicode(char, '\\u'))
  return new Html(`<script type="application/json" id="${id}">${json}</script>`)
}

/**
 * A text that does nothing to a terminal or to the text around it: control characters are shown as pictures of them, and
 * characters that change the direction of writing by their numbers. Line ends and tabs stay.
 */
export function visible(text: string): string {
  return text.replace(/[\p{Cc}\p{Bidi_Control}]/gu, (char) => {
    if (char === '\n' || char === '\t') return char
    const code = char.charCodeAt(0)
    if (code < 0x20) return String.fromCharCode(0x2400 + code)
    return code === 0x7f ? '\u2421' : `\u27e8${unicode(char, 'U+')}\u27e9`
  })
}

const unicode = (char: string, before: string): string => before + char.charCodeAt(0).toString(16).padStart(4, '0')
