/** How amounts are written for a person. */

/** `2h 5m`, `13s`. No package: pretty-ms writes two hours and five seconds as `2h 5s`. */
export function duration(seconds: number): string {
  const s = Math.round(seconds)
  const parts = [Math.floor(s / 3600), Math.floor(s / 60) % 60, s % 60]
  const first = parts.findIndex((part) => part > 0)
  return parts
    .map((part, i) => `${part}${'hms'[i]}`)
    .slice(first === -1 ? 2 : first, (first === -1 ? 2 : first) + 2)
    .join(' ')
}

/** Bytes in powers of 1,000, as the Hub's pages have it: `436 MB`. */
export function size(bytes: number): string {
  const unit = Math.min(4, Math.floor(Math.log10(Math.max(1, bytes)) / 3))
  const value = bytes / 1000 ** unit
  return `${unit === 0 || value >= 100 ? value.toFixed(0) : value.toPrecision(3)} ${['B', 'kB', 'MB', 'GB', 'TB'][unit]}`
}

/** `12,345`. */
export const count = (n: number): string => n.toLocaleString('en')

/** `1 row`, `1,200 rows`. */
export const countOf = (n: number, what: string): string => `${count(n)} ${what}${n === 1 ? '' : 's'}`

/** A number in three digits: `12.3k`. */
export function short(n: number): string {
  const [unit, by] = n >= 1e6 ? ['M', 1e6] : n >= 1e3 ? ['k', 1e3] : ['', 1]
  return `${(n / (by as number)).toPrecision(3)}${unit}`
}
