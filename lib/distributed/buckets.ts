import type { Parameters } from '../nn/parameters.js'
import type { Tensor } from '../tensor/tensor.js'
import type { Pending, ProcessGroup } from './group.js'

interface Bucket {
  /** Elements of the flat gradient buffer. */
  first: number
  last: number
  /** Its parameters that may still get something added to their gradient. */
  open: Set<Tensor>
}

/**
 * Sums the gradients of a model over ranks once, in pieces, each as soon as it is final: backward goes from a model's end
 * to its start, so the pieces at the end of the flat buffer travel while it goes on (Li et al. 2020, "PyTorch
 * distributed", §3.2.3). Pieces start in one fixed order, from the end of the buffer to its start, whatever a rank's
 * backward does, also on a rank that has none. Frozen parameters have no gradient and stay out.
 */
export class Buckets {
  private readonly group: ProcessGroup
  private readonly gradients: Tensor
  private readonly buckets: Bucket[] = []
  private readonly started: Pending[] = []

  /** @param bytes a piece is closed once it has so many; a parameter is never split */
  constructor(group: ProcessGroup, parameters: Parameters, bytes: number) {
    this.group = group
    this.gradients = parameters.gradients
    const most = (bytes / parameters.gradients.bytes) * parameters.gradients.size
    for (const { name, offset, size } of group.size > 1 ? parameters.entries.toReversed() : []) {
      const parameter = parameters.get(name)
      if (!parameter.requiresGradient) continue
      const bucket = this.buckets.at(-1)
      if (bucket?.first === offset + size && bucket.last - bucket.first < most) {
        bucket.first = offset
        bucket.open.add(parameter)
      } else this.buckets.push({ first: offset, last: offset + size, open: new Set([parameter]) })
    }
  }

  /** From now on only these get gradients: everything else is final. */
  expect(parameters: ReadonlySet<Tensor>): void {
    for (const { open } of this.buckets) for (const p of open) if (!parameters.has(p)) open.delete(p)
    this.start()
  }

  /** Nothing will be added to the gradient of this one any more. */
  final(parameter: Tensor): void {
    for (const { open } of this.buckets) open.delete(parameter)
    this.start()
  }

  /** Everything is final: what is issued afterwards sees the sums. */
  finish(): void {
    this.expect(new Set())
    for (const pending of this.started) pending.wait()
  }

  private start(): void {
    for (const { first, last, open } of this.buckets.slice(this.started.length)) {
      if (open.size > 0) return
      const part = this.gradients.view(first, [last - first])
      this.started.push(this.group.allReduceSum(part))
      part.dispose()
    }
  }
}
