import type { Graph, Value } from './graph.js'

/** What the hidden weigh: far below every score, and their weight 0, yet finite, so that rows that see nothing are no NaN. */
const hidden = -1e38

/** Tokens that queries are filled up with, after their last own. */
export interface Expansion {
  id: number
  /** Whether other tokens attend to them. */
  attended: boolean
}

/**
 * What is attended to, as the model was trained, whatever those who run the graph put into the mask for expansion tokens: some
 * have 1 there for every model, some 0. They are the ones after the last token of a text that is none of them.
 */
function expanded(graph: Graph, ids: Value, mask: Value, { id, attended }: Expansion): Value {
  const fills = graph.op('Equal', [ids, graph.ints(id)])
  const own = graph.op('Mul', [graph.op('Cast', [graph.op('Not', [fills])], { to: 7 }), mask])
  const ownFromHere = graph.op('CumSum', [own, graph.ints(1)], { reverse: 1 })
  const after = graph.op('Equal', [ownFromHere, graph.ints(0)])
  const real = graph.op('Cast', [mask], { to: 9 })
  const seen = attended
    ? graph.op('Or', [real, graph.op('And', [after, fills])])
    : graph.op('And', [real, graph.op('Not', [after])])
  return graph.op('Cast', [seen], { to: 7 })
}

/** Token ids and what follows from them, for every layer of an encoder. */
export class Tokens {
  readonly graph: Graph
  /** int64 [batch, sequence] */
  readonly ids: Value
  /** int64 [batch, sequence], 1 where a token is attended to. */
  readonly mask: Value
  /** int64 [1], the length of the sequences. */
  readonly length: Value
  private readonly shape: Value
  private readonly made = new Map<string, Value>()

  /** @param expansion how queries are filled up; without it, what is attended to is what `mask` says */
  constructor(graph: Graph, ids: Value, mask: Value, expansion?: Expansion) {
    this.graph = graph
    this.ids = ids
    this.mask = expansion ? expanded(graph, ids, mask, expansion) : mask
    this.shape = graph.op('Shape', [ids])
    this.length = graph.op('Gather', [this.shape, graph.ints([1])])
  }

  /** Rows [batch · sequence, …] as [batch, sequence, ...dims]. */
  apart(rows: Value, dims: readonly number[]): Value {
    const key = `apart ${dims}`
    const shape = this.once(key, () => this.graph.op('Concat', [this.shape, this.graph.ints(dims)], { axis: 0 }))
    return this.graph.op('Reshape', [rows, shape])
  }

  /** [batch, sequence, …, d] as rows [batch · sequence, width]. */
  rows(x: Value, width: number): Value {
    return this.graph.op('Reshape', [x, this.graph.ints([-1, width])])
  }

  /** The first rows of a table, one a position. */
  positions(table: Value): Value {
    const { graph } = this
    return graph.op('Slice', [table, graph.ints([0]), this.length, graph.ints([0])])
  }

  /**
   * What is added to scores [..., sequence, sequence] of queries by keys: 0 where a key is seen, else far below all.
   * @param window keys further away are not seen; null: all of the sequence are
   */
  bias(window: number | null): Value {
    return this.once(`bias ${window}`, () => {
      const seen = this.seen(window)
      return this.graph.op('Where', [seen, this.graph.real(0), this.graph.real(hidden)])
    })
  }

  /** 1 for queries that see any key, else 0: [batch, 1, sequence, 1]. */
  seeing(window: number): Value {
    return this.once(`seeing ${window}`, () => {
      const seen = this.graph.op('Cast', [this.seen(window)], { to: 1 })
      return this.graph.op('ReduceMax', [seen], { axes: [-1], keepdims: 1 })
    })
  }

  private seen(window: number | null): Value {
    const { graph } = this
    const keys = this.once('keys', () => {
      const real = graph.op('Cast', [this.mask], { to: 9 })
      return graph.op('Unsqueeze', [real, graph.ints([1, 2])])
    })
    if (window === null) return keys
    return this.once(`seen ${window}`, () => {
      const end = graph.op('Squeeze', [this.length])
      const places = graph.op('Range', [graph.ints(0), end, graph.ints(1)])
      const [row, column] = [0, 1].map((axis) => graph.op('Unsqueeze', [places, graph.ints([axis])])) as [Value, Value]
      const away = graph.op('Abs', [graph.op('Sub', [row, column])])
      return graph.op('And', [graph.op('LessOrEqual', [away, graph.ints(window)]), keys])
    })
  }

  private once(key: string, make: () => Value): Value {
    const value = this.made.get(key) ?? make()
    this.made.set(key, value)
    return value
  }
}

interface AttentionShape {
  heads: number
  /** Of one head. */
  dim: number
  window: number | null
  /** Queries may see no key, and are 0 then. */
  mayBeBlind: boolean
  /** Turns queries or keys [batch, heads, sequence, dim] by their positions. */
  rotate?: (x: Value) => Value
}

/** Scaled dot-product attention of rows [T, 3 · heads · dim]: softmax(q · kᵀ / √dim) · v, as rows [T, heads · dim]. */
export function attention(
  tokens: Tokens,
  qkv: Value,
  { heads, dim, window, mayBeBlind, rotate }: AttentionShape,
): Value {
  const { graph } = tokens
  const width = heads * dim
  const parts = graph.ops('Split', [qkv, graph.ints([width, width, width])], 3, { axis: -1 })
  const [q, k, v] = parts.map((part) =>
    graph.op('Transpose', [tokens.apart(part, [heads, dim])], { perm: [0, 2, 1, 3] }),
  ) as [Value, Value, Value]
  const turned = graph.op('Transpose', [rotate ? rotate(k) : k], { perm: [0, 1, 3, 2] })
  const products = graph.op('MatMul', [rotate ? rotate(q) : q, turned])
  const scores = graph.op('Mul', [products, graph.real(1 / Math.sqrt(dim))])
  const weights = graph.op('Softmax', [graph.op('Add', [scores, tokens.bias(window)])], { axis: -1 })
  const mixed = graph.op('MatMul', [weights, v])
  const kept = mayBeBlind && window !== null ? graph.op('Mul', [mixed, tokens.seeing(window)]) : mixed
  return tokens.rows(graph.op('Transpose', [kept], { perm: [0, 2, 1, 3] }), width)
}
