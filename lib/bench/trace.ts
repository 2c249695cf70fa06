import type { TracedOp } from '../native.js'

/** What the calls of one op cost together. */
export interface OpCost {
  op: string
  calls: number
  /** Milliseconds in all. */
  milliseconds: number
}

/** Where the time of a trace went, the most expensive first, and milliseconds in which no op ran. */
export function costsOf(traced: readonly TracedOp[]): { ops: OpCost[]; idle: number } {
  const costs = new Map<string, OpCost>()
  let [busy, first, last] = [0, Infinity, 0]
  for (const call of traced) {
    const { op } = call
    const cost = costs.get(op) ?? { op, calls: 0, milliseconds: 0 }
    cost.calls++
    cost.milliseconds += call.end - call.begin
    costs.set(op, cost)
    busy += call.end - call.begin
    first = Math.min(first, call.begin)
    last = Math.max(last, call.end)
  }
  const ops = [...costs.values()].sort((a, b) => b.milliseconds - a.milliseconds)
  return { ops, idle: traced.length > 0 ? last - first - busy : 0 }
}

/** The trace as Chrome's tracing pages, Perfetto and speedscope read it: JSON, times in microseconds. */
export function chromeTrace(traced: readonly TracedOp[]): string {
  const events = traced.map(({ op, operands, begin, end }) => ({
    ...{ name: op, ph: 'X', pid: 1, tid: 1, ts: begin * 1000, dur: (end - begin) * 1000 },
    args: { operands },
  }))
  return JSON.stringify({ displayTimeUnit: 'ms', traceEvents: events })
}
