import { readFileSync } from 'node:fs'
import path from 'node:path'
import type { Test } from 'tap'
import type { SafetensorsFile } from '../../lib/io/safetensors.js'
import type { Colbert } from '../../lib/models/colbert.js'
import { readLayout } from '../../lib/models/formats/layout.js'
import { ModelWeights } from '../../lib/models/formats/load.js'
import { denseParameters } from '../../lib/models/networks/dense.js'
import { Parameters } from '../../lib/nn/index.js'
import type { Device, Precision } from '../../lib/tensor/device.js'

export const fixtures = path.resolve('test/fixtures')

/** biome-ignore lint/suspicious/noExplicitAny: facts about fixtures */
export const json = (...parts: string[]): any => JSON.parse(readFileSync(path.join(fixtures, ...parts), 'utf8'))

/** Encoder, head and parameters of a folder that has no tokenizer. */
export async function loadEncoder(dir: string, device: Device, precision: Precision = 'float32') {
  const layout = await readLayout(dir)
  const weights = await ModelWeights.open(layout)
  const { architecture } = layout
  const { config } = weights
  const head = layout.head.map((layer) => layer.config)
  const shapes = [...architecture.parameters(config), ...head.flatMap((layer, i) => denseParameters(layer, i))]
  const params = new Parameters(device, shapes, device.typeOf(precision))
  await weights.read(params)
  await weights.close()
  return { architecture, config, head, params, encoder: architecture.encoder(config, params) }
}

/** That the first of the models encodes texts as the tool did, and the others to the same bits. */
export async function encodesAs(
  t: Test,
  expected: SafetensorsFile,
  role: 'query' | 'document',
  texts: string[],
  models: Record<string, Colbert>,
): Promise<void> {
  const [first, ...others] = Object.entries(models)
  const encode = (m: Colbert) => (role === 'query' ? m.encodeQueries(texts) : m.encodeDocuments(texts))
  const { data, offsets } = await encode(first![1])
  t.same([...offsets], [...(await expected.numbers(`${role}.embeddingOffsets`))], `${role} rows`)
  const values = await expected.floats(`${role}.embeddings`)
  const worst = data.reduce((most, x, i) => Math.max(most, Math.abs(x - values[i]!)), 0)
  t.ok(data.length === values.length && worst < 1e-5, `${role} embeddings, off by ${worst}`)
  for (const [how, other] of others) t.same((await encode(other)).data, data, `${role}: ${how}, the same bits`)
}
