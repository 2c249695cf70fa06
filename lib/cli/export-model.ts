import { size } from '../io/amounts.js'
import type { Colbert } from '../models/colbert.js'
import { exportOnnx, exportVespaApp, type OnnxPrecision, type OnnxResult, type VespaCells } from '../onnx/index.js'
import { colour, interruptible, print, printJson } from './common.js'
import { loadModel, type ModelOptions } from './model.js'

interface Options extends ModelOptions {
  type?: OnnxPrecision
  json?: boolean
}

/** `lateforge export onnx <model> <out>` */
export const onnx = (name: string, out: string, options: Options & { output?: string }): Promise<void> =>
  written(name, options, (model, signal) =>
    exportOnnx(model, out, { types: options.type && [options.type], output: options.output, signal }),
  )

/** `lateforge export vespa-app <model> <out>` */
export const vespaApp = (name: string, out: string, options: Options & { cells?: VespaCells[] }): Promise<void> =>
  written(name, options, (model, signal) =>
    exportVespaApp(model, out, { type: options.type, cells: options.cells, signal }),
  )

async function written(
  name: string,
  options: Options,
  write: (model: Colbert, signal: AbortSignal) => Promise<OnnxResult>,
): Promise<void> {
  const signal = interruptible('stopping; nothing of it is kept')
  const model = await loadModel(name, options, { signal })
  try {
    const result = await write(model, signal)
    if (options.json) return printJson(result)
    for (const note of result.notes) process.stderr.write(`${colour('yellow', 'warn')}  ${note}\n`)
    for (const file of result.files) print(`${size(file.size).padStart(8)}  ${file.path}`)
  } finally {
    model.dispose()
  }
}
