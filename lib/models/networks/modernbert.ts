import { FormatError } from '../../errors.js'
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
import { type ActivationName, attention, dropout, embedding, geglu, rope, ropeTable } from '../../tensor/ops.js'
import { ownedBy, scope } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import { activationOf } from './activations.js'
import { type Architecture, dropoutAt, type Encoder, type EncoderConfig, sharedConfigOf } from './encoder.js'

export interface ModernBertConfig extends EncoderConfig {
  /** Which layers attend to everything; the others to tokens at most `window` away, inclusive. */
  global: readonly boolean[]
  window: number
  globalTheta: number
  localTheta: number
  activation: ActivationName
  normEps: number
  normBias: boolean
  attentionBias: boolean
  mlpBias: boolean
  embeddingDropout: number
  attentionDropout: number
  mlpDropout: number
  initializerRange: number
  initializerCutoff: number
}

/**
 * ModernBERT (Warner et al. 2024) as `modeling_modernbert.py` of transformers computes it: pre-norm, rotary positions,
 * global and sliding-window layers, a gated MLP. Layer 0 has no attention norm, and no tensor for one.
 */
export const modernbert: Architecture<ModernBertConfig> = {
  name: 'modernbert',
  className: 'ModernBertModel',
  embeddings: 'embeddings.tok_embeddings.weight',
  prefix: 'model.',

  configOf(json, file = 'config.json') {
    const f = new JsonReader(json, file)
    const shared = sharedConfigOf(f)
    const { width, heads, layers } = shared
    if ((width / heads) % 2 !== 0)
      throw f.bad('num_attention_heads', heads, `a number that gives an even head dimension of ${width}`)
    const globalTheta = thetaOf(f, 'full_attention', f.real('global_rope_theta', 160000, 1))
    const localDefault = f.isNull('local_rope_theta') ? globalTheta : 10000
    return {
      ...shared,
      positions: f.count('max_position_embeddings', 8192),
      global: globalLayers(f, layers),
      window: Math.floor(f.count('local_attention', 128) / 2),
      globalTheta,
      localTheta: thetaOf(f, 'sliding_attention', f.real('local_rope_theta', localDefault, 1)),
      activation: activationOf(f, 'hidden_activation'),
      normEps: f.real('norm_eps', 1e-5, Number.MIN_VALUE),
      normBias: f.flag('norm_bias', false),
      attentionBias: f.flag('attention_bias', false),
      mlpBias: f.flag('mlp_bias', false),
      embeddingDropout: f.real('embedding_dropout', 0, 0, 1),
      attentionDropout: f.real('attention_dropout', 0, 0, 1),
      mlpDropout: f.real('mlp_dropout', 0, 0, 1),
      initializerRange: f.real('initializer_range', 0.02),
      initializerCutoff: f.real('initializer_cutoff_factor', 2),
    }
  },

  jsonOf(c): Json {
    return {
      model_type: 'modernbert',
      vocab_size: c.vocabulary,
      hidden_size: c.width,
      intermediate_size: c.intermediate,
      num_hidden_layers: c.layers,
      num_attention_heads: c.heads,
      max_position_embeddings: c.positions,
      hidden_activation: hiddenActivation(c.activation),
      // transformers 5 reads layer_types and rope_parameters, 4 the spellings below them.
      layer_types: c.global.map((g) => (g ? 'full_attention' : 'sliding_attention')),
      rope_parameters: {
        full_attention: { rope_type: 'default', rope_theta: c.globalTheta },
        sliding_attention: { rope_type: 'default', rope_theta: c.localTheta },
      },
      global_attn_every_n_layers: 3,
      global_rope_theta: c.globalTheta,
      local_rope_theta: c.localTheta,
      local_attention: 2 * c.window,
      norm_eps: c.normEps,
      norm_bias: c.normBias,
      attention_bias: c.attentionBias,
      mlp_bias: c.mlpBias,
      embedding_dropout: c.embeddingDropout,
      attention_dropout: c.attentionDropout,
      mlp_dropout: c.mlpDropout,
      initializer_range: c.initializerRange,
      initializer_cutoff_factor: c.initializerCutoff,
    }
  },

  parameters(c) {
    const list: ParameterShape[] = []
    const matrix = (name: string, out: number, inputs: number, bias: boolean) => {
      list.push({ name: `${name}.weight`, shape: [out, inputs] })
      if (bias) list.push({ name: `${name}.bias`, shape: [out] })
    }
    const norm = (name: string) => {
      list.push({ name: `${name}.weight`, shape: [c.width] })
      if (c.normBias) list.push({ name: `${name}.bias`, shape: [c.width] })
    }
    matrix('embeddings.tok_embeddings', c.vocabulary, c.width, false)
    norm('embeddings.norm')
    for (let i = 0; i < c.layers; i++) {
      if (i > 0) norm(`layers.${i}.attn_norm`)
      matrix(`layers.${i}.attn.Wqkv`, 3 * c.width, c.width, c.attentionBias)
      matrix(`layers.${i}.attn.Wo`, c.width, c.width, c.attentionBias)
      norm(`layers.${i}.mlp_norm`)
      matrix(`layers.${i}.mlp.Wi`, 2 * c.intermediate, c.width, c.mlpBias)
      matrix(`layers.${i}.mlp.Wo`, c.width, c.intermediate, c.mlpBias)
    }
    norm('final_norm')
    return list
  },

  initializer(c, name) {
    if (name.endsWith('.bias')) return constant(0)
    if (name.endsWith('norm.weight')) return constant(1)
    const sigma = name.endsWith('.Wo.weight') ? c.initializerRange / Math.sqrt(2 * c.layers) : c.initializerRange
    return normal(sigma, c.initializerCutoff)
  },

  stored: (_, parameter) => [{ ...parameter, offset: 0 }],

  encoder: (config, params) => new ModernBert(config, params),
}

function hiddenActivation(name: ActivationName): string {
  return name === 'geluTanh' ? 'gelu_pytorch_tanh' : name
}

/** `rope_parameters.KIND.rope_theta` (transformers 5), else the older key's value. */
function thetaOf(f: JsonReader, kind: string, older: number): number {
  if (f.has('rope_scaling'))
    throw new FormatError('ERR_FORMAT', 'rope_scaling is not supported: only plain rotary positions are', { kind })
  const rope = f.object('rope_parameters').object(kind)
  const type = rope.text('rope_type', 'default')
  if (type !== 'default') throw rope.bad('rope_type', type, '"default"')
  return rope.real('rope_theta', older, 1)
}

function globalLayers(f: JsonReader, layers: number): boolean[] {
  if (!f.has('layer_types')) {
    const every = f.count('global_attn_every_n_layers', 3)
    return Array.from({ length: layers }, (_, i) => i % every === 0)
  }
  const types = f.texts('layer_types', [])
  if (types.length !== layers || types.some((t) => t !== 'full_attention' && t !== 'sliding_attention'))
    throw f.bad('layer_types', types, `${layers} times "full_attention" or "sliding_attention"`)
  return types.map((t) => t === 'full_attention')
}

/** Dropout sites within a layer. */
const site = { embedding: 0, probabilities: 1, attention: 2, mlp: 3 }

class ModernBert implements Encoder {
  private readonly config: ModernBertConfig
  private readonly params: Parameters
  private tables: { length: number; global: Tensor; local: Tensor } | null = null

  constructor(config: ModernBertConfig, params: Parameters) {
    this.config = config
    this.params = params
  }

  forward(packed: Packed, training: Training | null): Tensor {
    const { config: c, params } = this
    this.growTables(packed)
    const drop = (x: Tensor, p: number, layer: number, at: number) =>
      dropout(x, packed.segments, dropoutAt(training, p, layer, at))
    // x is the residual stream; `delta`, not yet added to it, is added by the next norm in the same pass over memory.
    let state = scope((): { x: Tensor; delta: Tensor | null } => {
      const rows = embedding(params.get(modernbert.embeddings), packed.ids)
      const { y } = layerNorm(params, 'embeddings.norm', rows, c.normEps)
      return { x: drop(y, c.embeddingDropout, 0, site.embedding), delta: null }
    })
    for (let i = 0; i < c.layers; i++) {
      const at = `layers.${i}`
      state = runLayer(state, ({ x, delta }) => {
        const before = delta ? layerNorm(params, `${at}.attn_norm`, delta, c.normEps, x) : { y: x, sum: x }
        const attended = drop(this.attend(before.y, i, packed, training), c.attentionDropout, i, site.attention)
        const { y, sum } = layerNorm(params, `${at}.mlp_norm`, attended, c.normEps, before.sum)
        const inner = geglu(linear(params, `${at}.mlp.Wi`, y), c.activation)
        return { x: sum, delta: linear(params, `${at}.mlp.Wo`, drop(inner, c.mlpDropout, i, site.mlp)) }
      })
    }
    return runLayer(state, ({ x, delta }) => ({
      x: layerNorm(params, 'final_norm', delta ?? x, c.normEps, delta ? x : null).y,
      delta: null,
    })).x
  }

  private attend(x: Tensor, layer: number, packed: Packed, training: Training | null): Tensor {
    const { config: c, params } = this
    const global = c.global[layer]!
    const qkv = linear(params, `layers.${layer}.attn.Wqkv`, x)
    const rotated = rope(qkv, packed.segments, global ? this.tables!.global : this.tables!.local, c.heads)
    const attended = attention(rotated, packed.segments, packed.keyLengths, {
      heads: c.heads,
      window: global ? null : c.window,
      dropout: dropoutAt(training, c.attentionDropout, layer, site.probabilities),
    })
    return linear(params, `layers.${layer}.attn.Wo`, attended)
  }

  /** Rotation tables as long as the longest sequence seen; they grow by doubling. */
  private growTables({ segments }: Packed): void {
    const { config: c, params } = this
    const longest = longestSequence(segments.offsets)
    if (this.tables && longest <= this.tables.length) return
    this.dispose()
    const length = Math.max(64, 2 ** Math.ceil(Math.log2(longest)))
    const table = (theta: number) =>
      Tensor.from(params.device, ropeTable(length, c.width / c.heads, theta), [length, c.width / c.heads])
    this.tables = ownedBy(params.owner, () => ({ length, global: table(c.globalTheta), local: table(c.localTheta) }))
  }

  dispose(): void {
    this.tables?.global.dispose()
    this.tables?.local.dispose()
    this.tables = null
  }
}

function longestSequence(offsets: Float64Array): number {
  let longest = 1
  for (let i = 1; i < offsets.length; i++) longest = Math.max(longest, offsets[i]! - offsets[i - 1]!)
  return longest
}
