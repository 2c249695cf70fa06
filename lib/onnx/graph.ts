/**
 * A graph of ONNX, built op by op and written as a stream: weights are read one at a time as the file is. Field numbers
 * and types are those of the public specification, onnx.proto (github.com/onnx/onnx).
 */
import type { Piece } from '../io/atomic.js'
import { packageVersion } from '../packages.js'
import { header, Message } from './proto.js'

/** Of TensorProto.DataType. */
const dataTypes = { float: 1, uint8: 2, int8: 3, int64: 7 } as const
export type OnnxType = keyof typeof dataTypes
const widths: Record<OnnxType, number> = { float: 4, uint8: 1, int8: 1, int64: 8 }

/** The newest that all runtimes of the last three years have; LayerNormalization came with it. */
const opset = 17
const irVersion = 8
/** Bytes that a file may have: readers hold a message of 2 GiB at most. */
const largestFile = 2 ** 31 - 2 ** 20
/** Weights in a file of their own begin at pages, so that they can be mapped. */
const page = 4096

/** A value of the graph, by its name. */
export type Value = string
type Attribute = number | readonly number[] | { float: number }
export interface Weight {
  type: OnnxType
  shape: readonly number[]
  /** Called once a file, when it is its turn. */
  read: () => Promise<ArrayBufferView>
}
interface Initializer extends Weight {
  name: string
  bytes: number
}

/** What a graph is written as. */
export interface GraphFiles {
  /** The file itself. */
  model: AsyncIterable<Piece>
  /** Its weights, where they do not fit into one file with it: a file of the name that was given for them. */
  weights: AsyncIterable<Piece> | null
}

export class Graph {
  private readonly nodes: Message[] = []
  private readonly inputs: Message[] = []
  private readonly outputs: Message[] = []
  private readonly initializers = new Map<string, Initializer>()

  /** A value that a caller gives: whole numbers, by the names of its dimensions. */
  input(name: string, dims: readonly string[]): Value {
    this.inputs.push(valueInfo(name, 'int64', dims))
    return name
  }

  /** Gives a value to the caller, under a name of its own. */
  output(name: string, value: Value, dims: readonly (string | number)[]): void {
    this.add('Identity', [value], [name], {})
    this.outputs.push(valueInfo(name, 'float', dims))
  }

  /** The one output of an op. */
  op(type: string, inputs: readonly Value[], attributes: Readonly<Record<string, Attribute>> = {}): Value {
    return this.ops(type, inputs, 1, attributes)[0]!
  }

  /** All outputs of an op. */
  ops(
    type: string,
    inputs: readonly Value[],
    count: number,
    attributes: Readonly<Record<string, Attribute>> = {},
  ): Value[] {
    const outputs = Array.from({ length: count }, (_, i) => `${type}_${this.nodes.length}${i > 0 ? `_${i}` : ''}`)
    this.add(type, inputs, outputs, attributes)
    return outputs
  }

  /** Numbers that go with the graph; one of a name that is there already is the same. */
  weight(name: string, weight: Weight): Value {
    const bytes = weight.shape.reduce((product, d) => product * d, widths[weight.type])
    if (!this.initializers.has(name)) this.initializers.set(name, { ...weight, name, bytes })
    return name
  }

  /** Whole numbers: one without a shape, or a list. */
  ints(values: number | readonly number[]): Value {
    const [list, shape] = typeof values === 'number' ? [[values], []] : [values, [values.length]]
    const read = async () => BigInt64Array.from(list, BigInt)
    return this.weight(`int_${typeof values === 'number' ? '' : 'list_'}${list.join('_')}`, {
      type: 'int64',
      shape,
      read,
    })
  }

  /** One real number, without a shape. */
  real(value: number): Value {
    return this.weight(`real_${value}`, { type: 'float', shape: [], read: async () => Float32Array.of(value) })
  }

  /**
   * The files.
   * @param weightsFile name of the one that weights go to if need be
   * @param facts what the file says of itself
   */
  files(weightsFile: string, facts: Readonly<Record<string, string>>, largest: number = largestFile): GraphFiles {
    const initializers = [...this.initializers.values()]
    const bytes = initializers.reduce((sum, one) => sum + one.bytes, 0)
    const outside = bytes > largest ? initializers.filter((one) => one.bytes >= page) : []
    const offsets = new Map<string, number>()
    let end = 0
    for (const { name, bytes } of outside) {
      offsets.set(name, end)
      end = Math.ceil((end + bytes) / page) * page
    }
    return {
      model: this.modelPieces(initializers, offsets, weightsFile, facts),
      weights: outside.length > 0 ? weightPieces(outside) : null,
    }
  }

  private add(type: string, inputs: readonly Value[], outputs: readonly Value[], attributes: object): void {
    const node = new Message()
    for (const input of inputs) node.text(1, input)
    for (const output of outputs) node.text(2, output)
    node.text(3, `${type}_${this.nodes.length}`).text(4, type)
    for (const [name, value] of Object.entries(attributes)) node.message(5, attributeOf(name, value))
    this.nodes.push(node)
  }

  private async *modelPieces(
    initializers: readonly Initializer[],
    offsets: ReadonlyMap<string, number>,
    weightsFile: string,
    facts: Readonly<Record<string, string>>,
  ): AsyncGenerator<Piece> {
    const nodes = new Message()
    for (const node of this.nodes) nodes.message(1, node)
    const head = nodes.text(2, 'lateforge').bytes()
    const ends = new Message()
    for (const input of this.inputs) ends.message(11, input)
    for (const output of this.outputs) ends.message(12, output)
    const tail = ends.bytes()
    const tensors = initializers.map((one) => tensorStart(one, weightsFile, offsets.get(one.name)))
    const size = tensors.reduce((sum, { start, data }) => sum + start.byteLength + data, 0)

    const model = new Message().int(1, irVersion).text(2, 'lateforge').text(3, packageVersion())
    model.message(8, new Message().text(1, '').int(2, opset))
    for (const [key, value] of Object.entries(facts)) model.message(14, new Message().text(1, key).text(2, value))
    yield model.bytes()
    yield header(7, head.byteLength + size + tail.byteLength)
    yield head
    for (const [i, { start, data }] of tensors.entries()) {
      yield start
      if (data > 0) yield await valuesOf(initializers[i]!)
    }
    yield tail
  }
}

async function* weightPieces(initializers: readonly Initializer[]): AsyncGenerator<Piece> {
  for (const one of initializers) {
    yield await valuesOf(one)
    yield new Uint8Array((page - (one.bytes % page)) % page)
  }
}

async function valuesOf({ name, bytes, read }: Initializer): Promise<ArrayBufferView> {
  const values = await read()
  if (values.byteLength !== bytes) throw new Error(`${name} has ${values.byteLength} bytes, expected ${bytes}`)
  return values
}

/** A TensorProto up to its values, with its place in the graph; of one whose values lie elsewhere all. */
function tensorStart(
  { name, type, shape, bytes }: Initializer,
  weightsFile: string,
  offset: number | undefined,
): { start: Uint8Array; data: number } {
  const tensor = new Message()
  for (const dim of shape) tensor.int(1, dim)
  tensor.int(2, dataTypes[type]).text(8, name)
  if (offset !== undefined) {
    for (const [key, value] of [
      ['location', weightsFile],
      ['offset', String(offset)],
      ['length', String(bytes)],
    ] as const)
      tensor.message(13, new Message().text(1, key).text(2, value))
    const all = tensor.int(14, 1).bytes()
    return { start: Buffer.concat([header(5, all.byteLength), all]), data: 0 }
  }
  const start = Buffer.concat([tensor.bytes(), header(9, bytes)])
  return { start: Buffer.concat([header(5, start.byteLength + bytes), start]), data: bytes }
}

function attributeOf(name: string, value: Attribute): Message {
  const attribute = new Message().text(1, name)
  if (typeof value === 'number') return attribute.int(3, value).int(20, 2)
  if (!Array.isArray(value)) return attribute.float(2, (value as { float: number }).float).int(20, 1)
  for (const one of value) attribute.int(8, one)
  return attribute.int(20, 7)
}

function valueInfo(name: string, type: OnnxType, dims: readonly (string | number)[]): Message {
  const shape = new Message()
  for (const dim of dims)
    shape.message(1, typeof dim === 'number' ? new Message().int(1, dim) : new Message().text(2, dim))
  const tensor = new Message().int(1, dataTypes[type]).message(2, shape)
  return new Message().text(1, name).message(2, new Message().message(1, tensor))
}
