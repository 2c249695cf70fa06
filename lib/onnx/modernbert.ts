import type { ModernBertConfig } from '../models/networks/modernbert.js'
import { ropeTable } from '../tensor/ops.js'
import { attention, type Tokens } from './attention.js'
import type { Value } from './graph.js'
import type { Layers } from './layers.js'

/**
 * ModernBERT as `lib/models/networks/modernbert.ts` computes it: rows [T, width] of the last layer.
 * @param unattended the longest sequence with tokens after those that are attended to
 */
export function modernBertGraph(c: ModernBertConfig, layers: Layers, tokens: Tokens, unattended: number): Value {
  const { graph } = tokens
  const dim = c.width / c.heads
  const rows = tokens.rows(layers.embedding('embeddings.tok_embeddings.weight', tokens.ids), c.width)
  let x = layers.layerNorm('embeddings.norm', rows, c.normEps)
  const turn = { global: rotation(c, tokens, 'global'), local: rotation(c, tokens, 'local') }
  for (let i = 0; i < c.layers; i++) {
    const at = `layers.${i}`
    const before = i > 0 ? layers.layerNorm(`${at}.attn_norm`, x, c.normEps) : x
    const global = c.global[i]!
    const attended = attention(tokens, layers.linear(`${at}.attn.Wqkv`, before), {
      ...{ heads: c.heads, dim, window: global ? null : c.window },
      mayBeBlind: unattended > c.window,
      rotate: global ? turn.global : turn.local,
    })
    x = graph.op('Add', [layers.linear(`${at}.attn.Wo`, attended), x])
    const inner = layers.linear(`${at}.mlp.Wi`, layers.layerNorm(`${at}.mlp_norm`, x, c.normEps))
    const sizes = graph.ints([c.intermediate, c.intermediate])
    const [input, gate] = graph.ops('Split', [inner, sizes], 2, { axis: -1 }) as [Value, Value]
    const gated = graph.op('Mul', [layers.activation(c.activation, input), gate])
    x = graph.op('Add', [layers.linear(`${at}.mlp.Wo`, gated), x])
  }
  return layers.layerNorm('final_norm', x, c.normEps)
}

/** Turns x [batch, heads, sequence, dim]: dimension j with j + dim / 2, by the angle of the position. */
function rotation(c: ModernBertConfig, tokens: Tokens, kind: 'global' | 'local'): (x: Value) => Value {
  const { graph } = tokens
  const dim = c.width / c.heads
  const half = dim / 2
  const theta = kind === 'global' ? c.globalTheta : c.localTheta
  // Tables, and no cosines in the graph: an angle in float32 is off by 5e-4 at position 8192.
  const table = (name: string, from: number): Value => {
    const read = async (): Promise<Float32Array> => {
      const both = ropeTable(c.positions, dim, theta)
      return Float32Array.from(
        { length: c.positions * half },
        (_, i) => both[Math.floor(i / half) * dim + from + (i % half)]!,
      )
    }
    return graph.weight(`${name}_${theta}`, { type: 'float', shape: [c.positions, half], read })
  }
  const [cosine, sine] = [tokens.positions(table('cosine', 0)), tokens.positions(table('sine', half))]
  return (x) => {
    const [a, b] = graph.ops('Split', [x, graph.ints([half, half])], 2, { axis: -1 }) as [Value, Value]
    const times = (u: Value, v: Value): Value => graph.op('Mul', [u, v])
    const first = graph.op('Sub', [times(a, cosine), times(b, sine)])
    const second = graph.op('Add', [times(b, cosine), times(a, sine)])
    return graph.op('Concat', [first, second], { axis: -1 })
  }
}
