import { readFileSync } from 'node:fs'
import path from 'node:path'
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
