import { type Json, JsonReader } from '../../io/json-reader.js'
import {
  layerNorm,
  linear,
  type Packed,
  type ParameterShape,
  type Parameters,
  runLayer,
  type Training,
} from '../../nn/index.js'
import { constant, type Initializer, normal } from '../../nn/initializers.js'
import { type ActivationName, activation, add, attention, dropout, embedding } from '../../tensor/ops.js'
import { scope } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import { activationOf } from './activations.js'
import {
  type Architecture,
  dropoutAt,
  type Encoder,
  type EncoderConfig,
  type StoredPart,
  sharedConfigOf,
} from './encoder.js'

export interface BertConfig extends EncoderConfig {
  types: number
  /** Id of the padding token. */
  padding: number
  activation: ActivationName
  normEps: number
  hiddenDropout: number
  attentionDropout: number
  initializerRange: number
}

const wordEmbeddings = 'embeddings.word_embeddings.weight'
const matrices = ['query', 'key', 'value'] as const

/** What tells the members of BERT's family apart. */
interface Family {
  /** `model_type` in config.json, and its class in transformers. */
  name: string
  className: string
  /** Of tensor names in files that hold a task head too. */
  prefix: string
  /** Id of the padding token where config.json names none. */
  padding: number
  /** RoBERTa counts positions from the padding id on, and padding tokens in a text not at all. */
  countsFromPadding: boolean
}

/** BERT (Devlin et al. 2018) as `modeling_bert.py` of transformers computes it, for one segment: token type 0 throughout. */
export const bert = family({
  name: 'bert',
  className: 'BertModel',
  prefix: 'bert.',
  padding: 0,
  countsFromPadding: false,
})
/** RoBERTa (Liu et al. 2019): BERT with other positions. */
export const roberta = family({
  name: 'roberta',
  className: 'RobertaModel',
  prefix: 'roberta.',
  padding: 1,
  countsFromPadding: true,
})
/** XLM-RoBERTa (Conneau et al. 2020): RoBERTa for many languages. */
export const xlmRoberta = family({
  name: 'xlm-roberta',
  className: 'XLMRobertaModel',
  prefix: 'roberta.',
  padding: 1,
  countsFromPadding: true,
})

function family(f: Family): Architecture<BertConfig> {
  const first = (padding: number): number => (f.countsFromPadding ? padding + 1 : 0)
  return {
    name: f.name,
    className: f.className,
    embeddings: wordEmbeddings,
    prefix: f.prefix,

    configOf(json, file = 'config.json') {
      const j = new JsonReader(json, file)
      const positionType = j.text('position_embedding_type', 'absolute')
      if (positionType !== 'absolute') throw j.bad('position_embedding_type', positionType, '"absolute"')
      for (const key of ['is_decoder', 'add_cross_attention'])
        if (j.flag(key, false)) throw j.bad(key, true, 'false: an encoder')
      const padding = f.countsFromPadding ? j.count('pad_token_id', f.padding, 0) : f.padding
      const rows = j.count('max_position_embeddings', 512)
      if (rows <= first(padding)) throw j.bad('max_position_embeddings', rows, `more than ${first(padding)}`)
      return {
        ...sharedConfigOf(j),
        positions: rows - first(padding),
        types: j.count('type_vocab_size', 2),
        padding,
        activation: activationOf(j, 'hidden_act'),
        normEps: j.real('layer_norm_eps', 1e-12, Number.MIN_VALUE),
        hiddenDropout: j.real('hidden_dropout_prob', 0.1, 0, 1),
        attentionDropout: j.real('attention_probs_dropout_prob', 0.1, 0, 1),
        initializerRange: j.real('initializer_range', 0.02),
      }
    },

    jsonOf(c): Json {
      return {
        model_type: f.name,
        vocab_size: c.vocabulary,
        hidden_size: c.width,
        num_hidden_layers: c.layers,
        num_attention_heads: c.heads,
        intermediate_size: c.intermediate,
        max_position_embeddings: c.positions + first(c.padding),
        type_vocab_size: c.types,
        hidden_act: c.activation === 'geluTanh' ? 'gelu_new' : c.activation,
        layer_norm_eps: c.normEps,
        hidden_dropout_prob: c.hiddenDropout,
        attention_probs_dropout_prob: c.attentionDropout,
        initializer_range: c.initializerRange,
        pad_token_id: c.padding,
        position_embedding_type: 'absolute',
      }
    },

    parameters: (c) => parametersOf(c, c.positions + first(c.padding)),
    initializer,
    stored,
    encoder: (c, params) =>
      new Bert(c, params, (packed) => (f.countsFromPadding ? positionsAfter(packed, c.padding) : positionsOf(packed))),
  }
}

function parametersOf(c: BertConfig, positionRows: number): ParameterShape[] {
  const list: ParameterShape[] = []
  const pair = (name: string, shape: number[]) => {
    list.push({ name: `${name}.weight`, shape }, { name: `${name}.bias`, shape: shape.slice(0, 1) })
  }
  list.push(
    { name: wordEmbeddings, shape: [c.vocabulary, c.width] },
    { name: 'embeddings.position_embeddings.weight', shape: [positionRows, c.width] },
    { name: 'embeddings.token_type_embeddings.weight', shape: [c.types, c.width] },
  )
  pair('embeddings.LayerNorm', [c.width])
  for (let i = 0; i < c.layers; i++) {
    const at = `encoder.layer.${i}`
    pair(`${at}.attention.self.qkv`, [3 * c.width, c.width])
    pair(`${at}.attention.output.dense`, [c.width, c.width])
    pair(`${at}.attention.output.LayerNorm`, [c.width])
    pair(`${at}.intermediate.dense`, [c.intermediate, c.width])
    pair(`${at}.output.dense`, [c.width, c.intermediate])
    pair(`${at}.output.LayerNorm`, [c.width])
  }
  return list
}

function initializer(c: BertConfig, name: string): Initializer {
  if (name.endsWith('.bias')) return constant(0)
  return name.endsWith('LayerNorm.weight') ? constant(1) : normal(c.initializerRange)
}

/** q, k and v are three tensors in files and one matrix here: one matrix product instead of three. */
function stored(c: BertConfig, { name, shape }: ParameterShape): StoredPart[] {
  if (!name.includes('.self.qkv.')) return [{ name, shape, offset: 0 }]
  const size = shape.reduce((product, d) => product * d, 1) / 3
  return matrices.map((which, i) => ({
    name: name.replace('qkv', which),
    shape: [c.width, ...shape.slice(1)],
    offset: i * size,
  }))
}

/** Positions of BERT: they restart with every sequence. */
function positionsOf({ segments }: Packed): Int32Array {
  const positions = new Int32Array(segments.rowCount)
  for (let i = 0; i < segments.count; i++) {
    const start = segments.offsets[i]!
    for (let row = start; row < segments.offsets[i + 1]!; row++) positions[row] = row - start
  }
  return positions
}

/** Positions of RoBERTa: they restart after the padding id, where every padding token of a text itself is. */
function positionsAfter({ segments, hostIds }: Packed, padding: number): Int32Array {
  const positions = new Int32Array(segments.rowCount)
  for (let i = 0; i < segments.count; i++) {
    let last = padding
    for (let row = segments.offsets[i]!; row < segments.offsets[i + 1]!; row++)
      positions[row] = hostIds[row] === padding ? padding : ++last
  }
  return positions
}

/** Dropout sites within a layer. */
const site = { embedding: 0, probabilities: 1, attention: 2, mlp: 3 }

class Bert implements Encoder {
  private readonly config: BertConfig
  private readonly params: Parameters
  private readonly positions: (packed: Packed) => Int32Array

  constructor(config: BertConfig, params: Parameters, positions: (packed: Packed) => Int32Array) {
    this.config = config
    this.params = params
    this.positions = positions
  }

  forward(packed: Packed, training: Training | null): Tensor {
    const { config: c, params } = this
    const drop = (x: Tensor, layer: number, at: number) =>
      dropout(x, packed.segments, dropoutAt(training, c.hiddenDropout, layer, at))
    // `stream` is x as the next sum takes it.
    let state = scope(() => {
      const x = drop(this.embed(packed), 0, site.embedding)
      return { x, stream: x }
    })
    for (let i = 0; i < c.layers; i++) {
      const at = `encoder.layer.${i}`
      state = runLayer(state, ({ x, stream }) => {
        const attended = attention(linear(params, `${at}.attention.self.qkv`, x), packed.segments, packed.keyLengths, {
          heads: c.heads,
          window: null,
          dropout: dropoutAt(training, c.attentionDropout, i, site.probabilities),
        })
        const mixed = drop(linear(params, `${at}.attention.output.dense`, attended), i, site.attention)
        const { y, nextResidual } = layerNorm(
          params,
          `${at}.attention.output.LayerNorm`,
          mixed,
          c.normEps,
          stream,
          true,
        )
        const inner = activation(linear(params, `${at}.intermediate.dense`, y), c.activation)
        const outer = drop(linear(params, `${at}.output.dense`, inner), i, site.mlp)
        const last = i === c.layers - 1
        const next = layerNorm(params, `${at}.output.LayerNorm`, outer, c.normEps, nextResidual, !last)
        return { x: next.y, stream: next.nextResidual }
      })
    }
    return state.x
  }

  /** Words + positions + type 0, normalised. */
  private embed(packed: Packed): Tensor {
    const { config: c, params } = this
    const at = Tensor.fromInt32(params.device, this.positions(packed))
    const type = Tensor.fromInt32(params.device, new Int32Array(packed.hostIds.length))
    const words = embedding(params.get(wordEmbeddings), packed.ids)
    const summed = add(words, embedding(params.get('embeddings.position_embeddings.weight'), at))
    const types = embedding(params.get('embeddings.token_type_embeddings.weight'), type)
    return layerNorm(params, 'embeddings.LayerNorm', summed, c.normEps, types).y
  }

  dispose(): void {}
}
