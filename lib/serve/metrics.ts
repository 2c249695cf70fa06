/**
 * Counts in the text format of Prometheus. Ours and no package: prom-client brings a global registry and two packages more for
 * what is a page of lines here.
 */

type Labels = Readonly<Record<string, string | number>>

interface Metric {
  help: string
  lines(name: string): string[]
}

const escaped = (value: string | number): string =>
  `${value}`.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')

const labelled = (name: string, labels: Labels, value: number): string => {
  const all = Object.entries(labels).map(([key, text]) => `${key}="${escaped(text)}"`)
  return `${name}${all.length > 0 ? `{${all.join(',')}}` : ''} ${value}`
}

/** A number for each set of labels. */
abstract class Family<T> implements Metric {
  readonly help: string
  protected readonly values = new Map<string, { labels: Labels; value: T }>()
  constructor(help: string) {
    this.help = help
  }
  protected at(labels: Labels, fresh: () => T): { value: T } {
    const key = Object.values(labels).join('\n')
    let entry = this.values.get(key)
    if (!entry) this.values.set(key, (entry = { labels, value: fresh() }))
    return entry
  }
  abstract lines(name: string): string[]
}

/** What only grows. */
export class Counter extends Family<number> {
  add(labels: Labels = {}, by = 1): void {
    this.at(labels, () => 0).value += by
  }
  lines(name: string): string[] {
    const all = [...this.values.values()].map(({ labels, value }) => labelled(name, labels, value))
    return [`# TYPE ${name} counter`, ...all]
  }
}

/** What is asked for when somebody looks. */
export class Gauge implements Metric {
  readonly help: string
  private readonly read: () => number
  constructor(help: string, read: () => number) {
    this.help = help
    this.read = read
  }
  lines(name: string): string[] {
    return [`# TYPE ${name} gauge`, labelled(name, {}, this.read())]
  }
}

/** How often a value was at most so much. */
export class Histogram extends Family<{ counts: number[]; sum: number; count: number }> {
  private readonly bounds: readonly number[]
  constructor(help: string, bounds: readonly number[]) {
    super(help)
    this.bounds = bounds
  }
  observe(labels: Labels, value: number): void {
    const entry = this.at(labels, () => ({ counts: this.bounds.map(() => 0), sum: 0, count: 0 })).value
    for (const [i, bound] of this.bounds.entries()) if (value <= bound) entry.counts[i]!++
    entry.sum += value
    entry.count++
  }
  lines(name: string): string[] {
    const lines = [`# TYPE ${name} histogram`]
    for (const { labels, value } of this.values.values()) {
      for (const [i, le] of this.bounds.entries())
        lines.push(labelled(`${name}_bucket`, { ...labels, le }, value.counts[i]!))
      lines.push(
        labelled(`${name}_bucket`, { ...labels, le: '+Inf' }, value.count),
        labelled(`${name}_sum`, labels, value.sum),
        labelled(`${name}_count`, labels, value.count),
      )
    }
    return lines
  }
}

/** All of it, by name. */
export const exposition = (metrics: Readonly<Record<string, Metric>>): string =>
  Object.entries(metrics)
    .flatMap(([name, metric]) => [`# HELP ${name} ${metric.help}`, ...metric.lines(name)])
    .join('\n')
    .concat('\n')
