/** Lists that a file keeps as text: `["a", 2]` as JSON has them, or `['a', 2]` as Python prints them. */

/** What the text says, or undefined where it is no list of strings and numbers. */
export function parseList(text: string): (string | number)[] | undefined {
  if (!/^\s*\[/.test(text)) return undefined
  return jsonList(text) ?? pythonList(text)
}

function jsonList(text: string): (string | number)[] | undefined {
  // Integers beyond 2^53 are ids, which must not be rounded.
  if (/(?<![.\d])\d{16,}(?![.\d])/.test(text)) return undefined
  try {
    const list: unknown = JSON.parse(text)
    return Array.isArray(list) && list.every((item) => typeof item === 'string' || typeof item === 'number')
      ? list
      : undefined
  } catch {
    return undefined
  }
}

const number = /[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?/y
const quoted = /'((?:[^'\\\n]|\\[\s\S])*)'|"((?:[^"\\\n]|\\[\s\S])*)"/y
const blank = /\s*/y
const escapes: Readonly<Record<string, string>> = {
  n: '\n',
  t: '\t',
  r: '\r',
  b: '\b',
  f: '\f',
  v: '\v',
  a: '\x07',
  '0': '\0',
  '\n': '',
}

function pythonList(text: string): (string | number)[] | undefined {
  const items: (string | number)[] = []
  let at = 0
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at
    const found = pattern.exec(text)
    if (found) at = pattern.lastIndex
    return found
  }
  const takes = (mark: string): boolean => {
    take(blank)
    if (text[at] !== mark) return false
    at++
    take(blank)
    return true
  }
  if (!takes('[')) return undefined
  while (!takes(']')) {
    if (items.length > 0 && !takes(',')) return undefined
    if (takes(']')) break // a comma may follow the last item
    const string = take(quoted)
    const digits = string ? null : take(number)?.[0]
    if (string) items.push(unescaped(string[1] ?? string[2]!))
    else if (digits) items.push(/^[-+]?\d{16,}$/.test(digits) ? digits.replace(/^\+/, '') : Number(digits))
    else return undefined
  }
  return at === text.length ? items : undefined
}

function unescaped(text: string): string {
  return text.replace(/\\(?:x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8})|([\s\S]))/g, (all, x, u, U, other) => {
    const code = x ?? u ?? U
    if (code !== undefined) return String.fromCodePoint(Math.min(Number.parseInt(code, 16), 0x10ffff))
    return escapes[other] ?? (/['"\\]/.test(other) ? other : all)
  })
}
