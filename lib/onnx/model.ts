import { UnsupportedError } from '../errors.js'
import type { Colbert } from '../models/colbert.js'
import type { BertConfig } from '../models/networks/bert.js'
import { type DenseConfig, denseFolder } from '../models/networks/dense.js'
import type { EncoderConfig } from '../models/networks/encoder.js'
import type { ModernBertConfig } from '../models/networks/modernbert.js'
import { type Expansion, Tokens } from './attention.js'
import { bertGraph, robertaGraph } from './bert.js'
import { Graph, type Value } from './graph.js'
import { Layers, type OnnxPrecision } from './layers.js'
import { modernBertGraph } from './modernbert.js'

type EncoderGraph = (c: EncoderConfig, layers: Layers, tokens: Tokens, unattended: number) => Value

/** By the name of the architecture. */
const encoders: Readonly<Record<string, EncoderGraph>> = {
  bert: (c, layers, tokens) => bertGraph(c as BertConfig, layers, tokens),
  roberta: (c, layers, tokens) => robertaGraph(c as BertConfig, layers, tokens),
  'xlm-roberta': (c, layers, tokens) => robertaGraph(c as BertConfig, layers, tokens),
  modernbert: (c, layers, tokens, unattended) => modernBertGraph(c as ModernBertConfig, layers, tokens, unattended),
}

/** As l2Normalize has it. */
const least = 1e-12

/** How a graph is made. */
export interface GraphOptions {
  precision: OnnxPrecision
  /** Name of the output. */
  output: string
  /** Tokens that the recipe leaves out of scoring become zeros: for those who cannot leave rows out. */
  zeroSkipped?: boolean
}

/**
 * A model as one graph: `input_ids` and `attention_mask`, int64 [batch, sequence], to unit vectors, [batch, sequence, dim]
 * or, of a dense model, [batch, dim]. Rows of padding mean nothing.
 * @throws UnsupportedError ERR_UNSUPPORTED for a model of int8 weights, and for an architecture that has no graph
 */
export function modelGraph(model: Colbert, { precision, output, zeroSkipped = false }: GraphOptions): Graph {
  const { architecture, config, head } = model.parts
  const encoder = Object.hasOwn(encoders, architecture.name) ? encoders[architecture.name] : undefined
  if (!encoder)
    throw new UnsupportedError('ERR_UNSUPPORTED', `there is no ONNX graph of ${architecture.name} models`, {
      architecture: architecture.name,
    })
  if (model.parameters.encodesOnly)
    throw new UnsupportedError(
      'ERR_UNSUPPORTED',
      'a model of precision int8 cannot be exported; load it as float32, from which an int8 graph is made too',
    )
  const graph = new Graph()
  const dims = ['batch', 'sequence']
  const tokens = new Tokens(
    graph,
    graph.input('input_ids', dims),
    graph.input('attention_mask', dims),
    expansionOf(model),
  )
  const layers = new Layers(graph, model.parameters, precision)
  const { recipe, featurizer } = model
  const unattended = recipe.attendToExpansionTokens ? 0 : featurizer.expandTo
  const hidden = encoder(config, layers, tokens, unattended)
  if (recipe.pooling !== 'none') {
    const rows = pooled(tokens, hidden, config.width, recipe.pooling)
    graph.output(output, unit(graph, projected(layers, head, rows)), ['batch', model.dim])
    return graph
  }
  const rows = tokens.apart(unit(graph, projected(layers, head, hidden)), [model.dim])
  graph.output(output, zeroSkipped ? withoutSkipped(model, tokens, rows) : rows, [...dims, model.dim])
  return graph
}

/**
 * How a graph knows expansion tokens by their ids, which takes that every text ends with a special token of its own, and where
 * they are attended to, that padding is another token. Undefined where there are none, or the mask alone tells.
 */
export function expansionOf({ recipe, featurizer, tokenizer }: Colbert): Expansion | undefined {
  const { maskId: id, expandTo } = featurizer
  const attended = recipe.attendToExpansionTokens
  if (expandTo === 0 || (tokenizer.trailing.at(-1) ?? id) === id) return undefined
  return attended && (tokenizer.pad ?? id) === id ? undefined : { id, attended }
}

/** Rows [batch, sequence, dim], zeros for tokens that do not score: which those are, a text's marker token says. */
function withoutSkipped(model: Colbert, tokens: Tokens, rows: Value): Value {
  const { graph } = tokens
  const { skip, querySkip, tokenizer, recipe } = model.featurizer
  if (!querySkip && !skip.includes(1)) return rows
  const factors = (name: string, skipped: Uint8Array | null): Value => {
    const shape = [model.parts.config.vocabulary, 1]
    const read = async () => Float32Array.from({ length: shape[0]! }, (_, id) => (skipped?.[id] === 1 ? 0 : 1))
    return graph.op('Gather', [graph.weight(name, { type: 'float', shape, read }), tokens.ids])
  }
  const marker = graph.op('Gather', [tokens.ids, graph.ints([1])], { axis: 1 })
  const isDocument = graph.op('Equal', [marker, graph.ints(tokenizer.tokenToId(recipe.documentPrefix)!)])
  const here = graph.op('Unsqueeze', [isDocument, graph.ints([2])])
  const kept = graph.op('Where', [here, factors('document_tokens', skip), factors('query_tokens', querySkip)])
  return graph.op('Mul', [rows, kept])
}

/** As `dense` of lib/models/networks/dense.ts. */
function projected(layers: Layers, head: readonly DenseConfig[], x: Value): Value {
  let current = x
  for (const [index, c] of head.entries()) {
    const folder = denseFolder(index)
    const straight = layers.linear(`${folder}.linear`, current)
    const activated = c.activation === 'identity' ? straight : layers.activation(c.activation, straight)
    const residual = () => (c.in === c.out ? current : layers.linear(`${folder}.residual`, current))
    current = c.residual ? layers.graph.op('Add', [activated, residual()]) : activated
  }
  return current
}

/** One row a text: its first, or the mean of those that are attended to. */
function pooled(tokens: Tokens, rows: Value, width: number, how: 'cls' | 'mean'): Value {
  const { graph } = tokens
  const apart = tokens.apart(rows, [width])
  if (how === 'cls') return graph.op('Gather', [apart, graph.ints(0)], { axis: 1 })
  const real = graph.op('Unsqueeze', [graph.op('Cast', [tokens.mask], { to: 1 }), graph.ints([2])])
  const sum = graph.op('ReduceSum', [graph.op('Mul', [apart, real]), graph.ints([1])], { keepdims: 0 })
  return graph.op('Div', [sum, graph.op('ReduceSum', [real, graph.ints([1])], { keepdims: 0 })])
}

function unit(graph: Graph, rows: Value): Value {
  const length = graph.op('ReduceL2', [rows], { axes: [-1], keepdims: 1 })
  return graph.op('Div', [rows, graph.op('Max', [length, graph.real(least)])])
}
