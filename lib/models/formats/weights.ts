import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { FormatError } from '../../errors.js'
import type { Json } from '../../io/json-reader.js'
import { lfsHint } from '../../io/lfs.js'
import { SafetensorsFile, type StoredTensor } from '../../io/safetensors.js'
import { inTurns } from '../../turns.js'

/** The tensors of a folder: `model.safetensors`, or the shards that `model.safetensors.index.json` lists. */
export class Weights {
  readonly dir: string
  private readonly files: readonly SafetensorsFile[]
  private readonly owner: ReadonlyMap<string, SafetensorsFile>

  private constructor(dir: string, files: readonly SafetensorsFile[]) {
    this.dir = dir
    this.files = files
    this.owner = new Map(files.flatMap((file) => [...file.tensors.keys()].map((name) => [name, file] as const)))
  }

  /** @throws FormatError ERR_FORMAT when there are none, only pickles, or an index does not match its shards */
  static async open(dir: string): Promise<Weights> {
    const single = path.join(dir, 'model.safetensors')
    if (existsSync(single)) return new Weights(dir, [await SafetensorsFile.open(single)])
    const index = path.join(dir, 'model.safetensors.index.json')
    if (existsSync(index)) return Weights.sharded(dir, index)
    if (existsSync(path.join(dir, 'pytorch_model.bin'))) throw onlyPickled(dir)
    throw new FormatError('ERR_FORMAT', `${dir} has no model.safetensors`, { dir })
  }

  private static async sharded(dir: string, index: string): Promise<Weights> {
    const entries = await weightMap(index)
    const files: SafetensorsFile[] = []
    try {
      for (const name of new Set(entries.map(([, file]) => file)))
        files.push(await SafetensorsFile.open(path.join(dir, name)))
      for (const [tensor, file] of entries)
        if (!files.some((f) => path.basename(f.path) === file && f.has(tensor)))
          throw new FormatError('ERR_FORMAT', `${index}: tensor "${tensor}" is not in ${file}`, { file: index, tensor })
    } catch (error) {
      for (const file of files) await file.close()
      throw error
    }
    return new Weights(dir, files)
  }

  get names(): Iterable<string> {
    return this.owner.keys()
  }

  has(name: string): boolean {
    return this.owner.has(name)
  }

  tensor(name: string): StoredTensor {
    return this.fileOf(name).tensor(name)
  }

  /** Whether it is the scales of an int8 tensor. */
  isScale(name: string): boolean {
    const of = name.slice(0, -scaleSuffix.length)
    return name === scaleOf(of) && this.owner.has(of) && this.tensor(of).dtype === 'I8'
  }

  /**
   * The tensor as float32; int8 times the scales of its rows.
   * @throws FormatError ERR_FORMAT when it is missing, has another shape, or is int8 without scales
   */
  async floats(name: string, shape: readonly number[]): Promise<Float32Array> {
    const { shape: found, dtype } = this.tensor(name)
    if (found.length !== shape.length || found.some((d, i) => d !== shape[i]))
      throw new FormatError(
        'ERR_FORMAT',
        `${this.dir}: tensor "${name}" has shape [${found}], the config asks for [${shape}]`,
        { dir: this.dir, name, found, expected: shape },
      )
    const values = await this.fileOf(name).floats(name)
    if (dtype !== 'I8') return values
    const scale = scaleOf(name)
    if (shape.length !== 2 || !this.has(scale))
      throw new FormatError(
        'ERR_FORMAT',
        `${this.dir}: tensor "${name}" is int8, and no "${scale}" says of what scale`,
        {
          dir: this.dir,
          name,
        },
      )
    const [rows, width] = shape as [number, number]
    await inTurns(timesScales(values, width, await this.floats(scale, [rows])))
    return values
  }

  async close(): Promise<void> {
    for (const file of this.files) await file.close()
  }

  private fileOf(name: string): SafetensorsFile {
    const file = this.owner.get(name)
    if (!file) throw new FormatError('ERR_FORMAT', `${this.dir} has no tensor "${name}"`, { dir: this.dir, name })
    return file
  }
}

const scaleSuffix = '_scale'

/** What the scales [rows] of an int8 tensor [rows, width] are called: rows of numbers times the scale of each. */
export const scaleOf = (name: string): string => `${name}${scaleSuffix}`

function* timesScales(values: Float32Array, width: number, scales: Float32Array): Generator<void, void> {
  for (const [row, scale] of scales.entries()) {
    for (let i = row * width; i < (row + 1) * width; i++) values[i]! *= scale
    if (row % 256 === 0) yield
  }
}

/** The file of each tensor, by an index of shards. @throws FormatError ERR_FORMAT for an index that names other files */
async function weightMap(index: string): Promise<[tensor: string, file: string][]> {
  const map = (await readJson(index)).weight_map
  if (typeof map !== 'object' || map === null || Array.isArray(map))
    throw new FormatError('ERR_FORMAT', `${index} has no weight_map`, { file: index })
  for (const name of Object.values(map))
    if (typeof name !== 'string' || path.basename(name) !== name)
      throw new FormatError('ERR_FORMAT', `${index}: "${name}" is no file name of this folder`, { file: index })
  return Object.entries(map)
}

/** The files that an index of shards names. Errors as `Weights.open`. */
export async function shardsIn(index: string): Promise<string[]> {
  return [...new Set((await weightMap(index)).map(([, file]) => file))]
}

/** What is said of weights that nobody opens. */
export function onlyPickled(dir: string): FormatError {
  return new FormatError(
    'ERR_FORMAT',
    `${dir} has its weights only as pytorch_model.bin, a pickle, which can run any code and is never opened. ` +
      'Convert it once in Python: model.save_pretrained(dir, safe_serialization=True)',
    { dir },
  )
}

/** A JSON object from a file. @throws FormatError ERR_FORMAT */
export async function readJson(file: string): Promise<Json> {
  let text = ''
  let value: unknown
  try {
    text = await readFile(file, 'utf8')
    value = JSON.parse(text)
  } catch (cause) {
    const reason = lfsHint(text) || (cause as Error).message
    throw new FormatError('ERR_FORMAT', `${file} cannot be read: ${reason}`, { file }, { cause })
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    throw new FormatError('ERR_FORMAT', `${file} holds no JSON object`, { file })
  return value as Json
}
