import type { BertConfig } from '../models/networks/bert.js'
import { attention, type Tokens } from './attention.js'
import type { Value } from './graph.js'
import type { Layers } from './layers.js'

/** BERT as `lib/models/networks/bert.ts` computes it: rows [T, width] of the last layer. */
export function bertGraph(c: BertConfig, layers: Layers, tokens: Tokens): Value {
  return bertLayers(c, layers, tokens, tokens.positions(positionTable(c, layers)))
}

/** RoBERTa: positions go on from the padding id, where all padding is. */
export function robertaGraph(c: BertConfig, layers: Layers, tokens: Tokens): Value {
  const { graph } = tokens
  const padding = graph.ints(c.padding)
  const real = graph.op('Cast', [graph.op('Not', [graph.op('Equal', [tokens.ids, padding])])], { to: 7 })
  const counted = graph.op('Mul', [graph.op('CumSum', [real, graph.ints(1)]), real])
  const positions = graph.op('Add', [counted, padding])
  return bertLayers(c, layers, tokens, graph.op('Gather', [positionTable(c, layers), positions]))
}

/** The table of positions, with the one token type of everything in it: so the graph has no input for types. */
function positionTable(c: BertConfig, layers: Layers): Value {
  const [positions, types] = ['position', 'token_type'].map((kind) => `embeddings.${kind}_embeddings.weight`)
  return layers.made('positions', positions!, async () => {
    const [table, type] = [await layers.values(positions!), await layers.values(types!)]
    for (let i = 0; i < table.length; i++) table[i]! += type[i % c.width]!
    return table
  })
}

function bertLayers(c: BertConfig, layers: Layers, tokens: Tokens, positions: Value): Value {
  const { graph } = tokens
  const words = layers.embedding('embeddings.word_embeddings.weight', tokens.ids)
  const sum = tokens.rows(graph.op('Add', [words, positions]), c.width)
  let x = layers.layerNorm('embeddings.LayerNorm', sum, c.normEps)
  for (let i = 0; i < c.layers; i++) {
    const at = `encoder.layer.${i}`
    const shape = { heads: c.heads, dim: c.width / c.heads, window: null, mayBeBlind: false }
    const attended = attention(tokens, layers.linear(`${at}.attention.self.qkv`, x), shape)
    const mixed = layers.linear(`${at}.attention.output.dense`, attended)
    x = layers.layerNorm(`${at}.attention.output.LayerNorm`, graph.op('Add', [mixed, x]), c.normEps)
    const inner = layers.activation(c.activation, layers.linear(`${at}.intermediate.dense`, x))
    const outer = layers.linear(`${at}.output.dense`, inner)
    x = layers.layerNorm(`${at}.output.LayerNorm`, graph.op('Add', [outer, x]), c.normEps)
  }
  return x
}
