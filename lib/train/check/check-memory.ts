/** Whether a step of a phase fits into the device's memory. */
import type { ResolvedPhase } from '../config/types.js'
import type { PhaseCheck, PhaseContext } from './check-phase.js'
import type { Found } from './check-source.js'
import { estimateMemory, gibibytes, type MemoryEstimate } from './memory.js'
import { batchSizes } from './texts.js'

/** A usual batch that needs so much more than there is does not fit, whatever the estimate is off by. */
const CERTAIN = 1.1

/** What a step of a phase needs, and the source, by its place, whose longest rows need the most. */
export interface MemoryCheck {
  needed: NonNullable<PhaseCheck['memory']>
  heaviest: number
}

export function checkMemory(
  { config, index, model, graphBytes, faults, warnings, ranks = 1 }: PhaseContext,
  found: readonly Found[],
  guideBytes: number,
): MemoryCheck | null {
  const phase = config.phases[index]!
  if (!model || !graphBytes) return null
  const { limit } = model.device.memory()
  const estimates = found.flatMap(({ survey, measured }, source) => {
    if (!measured) return []
    const sizes = batchSizes(measured, phase.batch, survey.rows)
    const of = (which: keyof typeof sizes) =>
      estimateMemory(model, config, phase, { sizes: sizes[which], graphBytes, guideBytes, ranks })
    return [{ source, worst: of('worst'), usual: of('usual') }]
  })
  if (estimates.length === 0) return null
  const most = (which: 'worst' | 'usual') => estimates.reduce((a, b) => (b[which].bytes > a[which].bytes ? b : a))
  const heaviest = most('worst')
  const memory = { worst: heaviest.worst, usual: most('usual').usual, limit }
  const details = { ...memory }
  if (memory.usual.bytes > CERTAIN * limit)
    faults.add(index, 'batch', 'ERR_OUT_OF_MEMORY', needs(memory.usual, limit, 'a step', phase), details)
  else if (memory.worst.bytes > limit)
    warnings.push({
      type: 'warning',
      code: 'memory',
      message: `phase "${phase.name}": ${needs(memory.worst, limit, 'a step of the longest rows', phase)}`,
      details: { phase: phase.name, ...details },
    })
  return { needed: memory, heaviest: heaviest.source }
}

function needs(
  { bytes, base, embeddings, graphs, loss }: MemoryEstimate,
  limit: number,
  what: string,
  phase: ResolvedPhase,
): string {
  const parts = [
    { name: 'parameters, gradients and moments', bytes: base, lower: 'a smaller model' },
    { name: 'graphs', bytes: graphs, lower: 'microBatchTokens, activationMemory' },
    {
      name: 'embeddings',
      bytes: embeddings,
      lower: `batch${phase.negatives === 0 ? '' : ', negatives'}, documentLength`,
    },
    { name: 'scores', bytes: loss, lower: 'batch, negatives' },
  ].sort((a, b) => b.bytes - a.bytes)
  return (
    `${what} needs about ${gibibytes(bytes)} GiB, the device has ${gibibytes(limit)} ` +
    `(${parts.map((part) => `${part.name} ${gibibytes(part.bytes)}`).join(', ')}). To lower it: ${parts[0]!.lower}`
  )
}
