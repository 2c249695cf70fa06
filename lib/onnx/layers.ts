import { types } from 'node:util'
import { UnsupportedError } from '../errors.js'
import { toInt8 } from '../io/numbers.js'
import type { ParameterEntry, Parameters } from '../nn/index.js'
import type { ActivationName } from '../tensor/ops.js'
import { Turns } from '../turns.js'
import type { Graph, Value } from './graph.js'

/** Types of weights that a graph is written with. */
export type OnnxPrecision = 'float32' | 'int8'

/** Rows made int8, or turned over, between two looks at the clock. */
const ROWS = 256

/** Layers of a model as ops of a graph, with the model's parameters by their names. */
export class Layers {
  readonly graph: Graph
  private readonly parameters: Parameters
  private readonly precision: OnnxPrecision
  private readonly names: ReadonlySet<string>

  constructor(graph: Graph, parameters: Parameters, precision: OnnxPrecision) {
    this.graph = graph
    this.parameters = parameters
    this.precision = precision
    this.names = new Set(parameters.entries.map((entry) => entry.name))
  }

  /** The values of a parameter, and no more, copied from the device. */
  async values(name: string): Promise<Float32Array> {
    const { offset, shape } = this.parameters.entryOf(name)
    const view = this.parameters.values.view(offset, shape)
    const reading = view.values()
    view.dispose()
    const values = await reading
    return types.isFloat32Array(values) ? values : Float32Array.from(values)
  }

  /** A parameter as it is. */
  parameter(name: string): Value {
    const { shape } = this.parameters.entryOf(name)
    return this.graph.weight(name, { type: 'float', shape, read: () => this.values(name) })
  }

  /** Numbers made of parameters, in the shape of one of them. */
  made(name: string, like: string, read: () => Promise<Float32Array>): Value {
    return this.graph.weight(name, { type: 'float', shape: this.parameters.entryOf(like).shape, read })
  }

  /** Rows of a table of embeddings: [..., width] for ids [...]. */
  embedding(name: string, ids: Value): Value {
    const { graph } = this
    if (this.precision === 'float32') return graph.op('Gather', [this.parameter(name), ids])
    const { data, scales } = this.int8(name, false)
    const rows = graph.op('Cast', [graph.op('Gather', [data, ids])], { to: 1 })
    return graph.op('Mul', [rows, graph.op('Gather', [scales, ids])])
  }

  /** x [T, in] · Wᵀ + b. */
  linear(name: string, x: Value): Value {
    const { graph } = this
    const bias = this.has(`${name}.bias`) ? [this.parameter(`${name}.bias`)] : []
    if (this.precision === 'float32')
      return graph.op('Gemm', [x, this.parameter(`${name}.weight`), ...bias], { transB: 1 })
    const y = this.productInt8(`${name}.weight`, x)
    return bias.length > 0 ? graph.op('Add', [y, bias[0]!]) : y
  }

  /** Over the last dimension. */
  layerNorm(name: string, x: Value, eps: number): Value {
    const bias = this.has(`${name}.bias`) ? [this.parameter(`${name}.bias`)] : []
    return this.graph.op('LayerNormalization', [x, this.parameter(`${name}.weight`), ...bias], {
      axis: -1,
      epsilon: { float: eps },
    })
  }

  activation(kind: ActivationName, x: Value): Value {
    const { graph } = this
    const times = (a: Value, b: number): Value => graph.op('Mul', [a, graph.real(b)])
    switch (kind) {
      case 'gelu': {
        // In the form that onnxruntime knows and computes as one op.
        const e = graph.op('Erf', [graph.op('Div', [x, graph.real(Math.SQRT2)])])
        return times(graph.op('Mul', [x, graph.op('Add', [e, graph.real(1)])]), 0.5)
      }
      case 'geluTanh': {
        const cube = graph.op('Mul', [graph.op('Mul', [x, x]), x])
        const inner = times(graph.op('Add', [x, times(cube, 0.044715)]), Math.sqrt(2 / Math.PI))
        return times(graph.op('Mul', [x, graph.op('Add', [graph.op('Tanh', [inner]), graph.real(1)])]), 0.5)
      }
      case 'relu':
        return graph.op('Relu', [x])
      case 'tanh':
        return graph.op('Tanh', [x])
      case 'sigmoid':
        return graph.op('Sigmoid', [x])
      case 'silu':
        return graph.op('Mul', [x, graph.op('Sigmoid', [x])])
      default:
        throw new UnsupportedError(
          'ERR_UNSUPPORTED',
          `there is no ONNX form of the activation "${kind satisfies never}"`,
        )
    }
  }

  private has(name: string): boolean {
    return this.names.has(name)
  }

  /**
   * x [T, in] · Wᵀ, every row of x made int8 by a scale of its own, so that a text's embeddings do not depend on what is
   * beside it; sums are exact. Rows and weights are uint8 around 128, which every
   * processor multiplies exactly: of uint8 by int8, those with AVX2 only saturate sums of two.
   */
  private productInt8(name: string, x: Value): Value {
    const { graph } = this
    const { data, scales } = this.int8(name, true)
    const middle = this.graph.weight('uint8_128', { type: 'uint8', shape: [], read: async () => Uint8Array.of(128) })
    const most = graph.op('ReduceMax', [graph.op('Abs', [x])], { axes: [-1], keepdims: 0 })
    const scale = graph.op('Mul', [graph.op('Max', [most, graph.real(1e-30)]), graph.real(1 / 127)])
    const middles = graph.op('Expand', [middle, graph.op('Shape', [scale])])
    const rows = graph.op('QuantizeLinear', [x, scale, middles], { axis: 0 })
    const sums = graph.op('Cast', [graph.op('MatMulInteger', [rows, data, middle, middle])], { to: 1 })
    const scaled = graph.op('Mul', [sums, scales])
    return graph.op('Mul', [scaled, graph.op('Unsqueeze', [scale, graph.ints([1])])])
  }

  /** A matrix [out, in] as int8 rows with their scales, or, for products, as columns of uint8 around 128. */
  private int8(name: string, product: boolean): { data: Value; scales: Value } {
    const entry = this.parameters.entryOf(name)
    const [out, width] = entry.shape as [number, number]
    const kept = this.quantized(entry)
    const data = this.graph.weight(`${name}_int8`, {
      type: product ? 'uint8' : 'int8',
      shape: product ? [width, out] : [out, width],
      read: async () => (product ? turned(await kept.rows(), out, width) : kept.rows()),
    })
    const scales = this.graph.weight(`${name}_scale`, {
      type: 'float',
      shape: product ? [out] : [out, 1],
      read: kept.scales,
    })
    return { data, scales }
  }

  /** Made when the file comes to it, and forgotten but for the scales, which come after. */
  private quantized({ name, shape }: ParameterEntry): { rows(): Promise<Int8Array>; scales(): Promise<Float32Array> } {
    const [out, width] = shape as [number, number]
    let scales: Float32Array | undefined
    const rows = async (): Promise<Int8Array> => {
      const values = await this.values(name)
      const made = new Int8Array(out * width)
      const found = new Float32Array(out)
      const turns = new Turns()
      for (let row = 0; row < out; row += ROWS) {
        if (turns.due) await turns.take()
        toInt8(values, width, row, Math.min(out, row + ROWS), made, found)
      }
      scales = found
      return made
    }
    return {
      rows,
      scales: async () => {
        if (!scales) await rows()
        return scales!
      },
    }
  }
}

/** Rows [out, width] of int8 as columns [width, out] of uint8, 128 more each. */
async function turned(rows: Int8Array, out: number, width: number): Promise<Uint8Array> {
  const columns = new Uint8Array(out * width)
  const turns = new Turns()
  for (let first = 0; first < out; first += ROWS) {
    if (turns.due) await turns.take()
    for (let k = 0; k < width; k++)
      for (let row = first; row < Math.min(out, first + ROWS); row++)
        columns[k * out + row] = rows[row * width + k]! + 128
  }
  return columns
}
