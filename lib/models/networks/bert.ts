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
import { constant, normal } from '../../nn/initializers.js'
import { type ActivationName, activation, add, attention, dropout, embedding } from '../../tensor/ops.js'
import { scope } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import { activationOf } from './activations.js'
import {
  type Architecture,
  dropoutAt,
  type Encoder,
  type EncoderConfig,
  maxLayers,
  type StoredPart,
} from './encoder.js'

export interface BertConfig extends EncoderConfig {
  types: number
  activation: ActivationName
  normEps: number
  hiddenDropout: number
  attentionDropout: number
  initializerRange: number
}

const matrices = ['query', 'key', 'value'] as const

/** BERT (Devlin et al. 2018) as `modeling_bert.py` of transformers computes it, for one segment: token type 0 throughout. */
export const bert: Architecture<BertConfig> = {
  name: 'bert',
  className: 'BertModel',
  embeddings: 'embeddings.word_embeddings.weight',
  prefix: 'bert.',

  configOf(json, file = 'config.json') {
    const f = new JsonReader(json, file)
    const width = f.count('hidden_size')
    const heads = f.count('num_attention_heads')
    if (width % heads !== 0) throw f.bad('num_attention_heads', heads, `a divisor of hidden_size ${width}`)
    const positionType = f.text('position_embedding_type', 'absolute')
    if (positionType !== 'absolute') throw f.bad('position_embedding_type', positionType, '"absolute"')
    if (f.flag('is_decoder', false)) throw f.bad('is_decoder', true, 'false: an encoder')
    return {
      vocabulary: f.count('vocab_size'),
      width,
      layers: f.count('num_hidden_layers', undefined, 1, maxLayers),
      heads,
      intermediate: f.count('intermediate_size'),
      positions: f.count('max_position_embeddings', 512),
      types: f.count('type_vocab_size', 2),
      activation: activationOf(f, 'hidden_act'),
      normEps: f.real('layer_norm_eps', 1e-12, Number.MIN_VALUE),
      hiddenDropout: f.real('hidden_dropout_prob', 0.1, 0, 1),
      attentionDropout: f.real('attention_probs_dropout_prob', 0.1, 0, 1),
      initializerRange: f.real('initializer_range', 0.02),
    }
  },

  jsonOf(c): Json {
    return {
      model_type: 'bert',
      vocab_size: c.vocabulary,
      hidden_size: c.width,
      num_hidden_layers: c.layers,
      num_attention_heads: c.heads,
      intermediate_size: c.intermediate,
      max_position_embeddings: c.positions,
      type_vocab_size: c.types,
      hidden_act: c.activation === 'geluTanh' ? 'gelu_new' : c.activation,
      layer_norm_eps: c.normEps,
      hidden_dropout_prob: c.hiddenDropout,
      attention_probs_dropout_prob: c.attentionDropout,
      initializer_range: c.initializerRange,
      position_embedding_type: 'absolute',
    }
  },

  parameters(c) {
    const list: ParameterShape[] = []
    const pair = (name: string, shape: number[]) => {
      list.push({ name: `${name}.weight`, shape }, { name: `${name}.bias`, shape: shape.slice(0, 1) })
    }
    list.push(
      { name: 'embeddings.word_embeddings.weight', shape: [c.vocabulary, c.width] },
      { name: 'embeddings.position_embeddings.weight', shape: [c.positions, c.width] },
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
  },

  initializer(c, name) {
    if (name.endsWith('.bias')) return constant(0)
    return name.endsWith('LayerNorm.weight') ? constant(1) : normal(c.initializerRange)
  },

  /** q, k and v are three tensors in files and one matrix here: one matrix product instead of three. */
  stored(c, { name, shape }): StoredPart[] {
    if (!name.includes('.self.qkv.')) return [{ name, shape, offset: 0 }]
    const size = shape.reduce((product, d) => product * d, 1) / 3
    return matrices.map((which, i) => ({
      name: name.replace('qkv', which),
      shape: [c.width, ...shape.slice(1)],
      offset: i * size,
    }))
  },

  encoder: (config, params) => new Bert(config, params),
}

/** Dropout sites within a layer. */
const site = { embedding: 0, probabilities: 1, attention: 2, mlp: 3 }

class Bert implements Encoder {
  private readonly config: BertConfig
  private readonly params: Parameters

  constructor(config: BertConfig, params: Parameters) {
    this.config = config
    this.params = params
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

  /** Words + positions, which restart with every sequence, + type 0, normalised. */
  private embed({ ids, segments }: Packed): Tensor {
    const { config: c, params } = this
    const positions = new Int32Array(segments.rowCount)
    for (let i = 0; i < segments.count; i++) {
      const start = segments.offsets[i]!
      for (let row = start; row < segments.offsets[i + 1]!; row++) positions[row] = row - start
    }
    const at = Tensor.fromInt32(params.device, positions)
    const type = Tensor.fromInt32(params.device, new Int32Array(positions.length))
    const words = embedding(params.get(bert.embeddings), ids)
    const summed = add(words, embedding(params.get('embeddings.position_embeddings.weight'), at))
    const types = embedding(params.get('embeddings.token_type_embeddings.weight'), type)
    return layerNorm(params, 'embeddings.LayerNorm', summed, c.normEps, types).y
  }

  dispose(): void {}
}
