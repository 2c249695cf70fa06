import path from 'node:path'
import t from 'tap'
import { SafetensorsFile } from '../../lib/io/safetensors.js'
import { dense } from '../../lib/models/networks/dense.js'
import type { Packed } from '../../lib/nn/index.js'
import { Device } from '../../lib/tensor/device.js'
import { l2Normalize } from '../../lib/tensor/ops.js'
import { scope } from '../../lib/tensor/scope.js'
import { Tape, withoutTape } from '../../lib/tensor/tape.js'
import { Segments, Tensor } from '../../lib/tensor/tensor.js'
import { fixtures, json, loadEncoder } from './fixture.js'

const cases = ['modernbert/dh32', 'modernbert/dh64', 'modernbert/biases', 'bert/dh32', 'bert/dh64', 'roberta/small']
/** The fixtures hold float32, so the float64 backend is compared at its rounding; sums and losses are float64. */
const bounds = {
  cpu: { output: 1e-4, gradient: 1e-3, loss: 1e-4 },
  'cpu-f64': { output: 2e-6, gradient: 1e-6, loss: 1e-11 },
}

for (const name of ['cpu', 'cpu-f64'] as const)
  for (const folder of cases)
    t.test(`${folder} on ${name}`, async (t) => {
      const device = Device.open(name)
      const bound = bounds[name]
      const before = device.memory()
      const about = json(folder, 'about.json')
      const { architecture, config, head, params, encoder } = await loadEncoder(path.join(fixtures, folder), device)
      const file = await SafetensorsFile.open(path.join(fixtures, folder, 'expected.safetensors'))

      for (const run of ['plain', 'expansion', 'blind']) {
        const prefix = run === 'plain' ? '' : `${run}.`
        const read = (key: string) => file.numbers(prefix + key)
        const hostIds = Int32Array.from(await read('ids'))
        const packed: Packed = {
          ids: Tensor.fromInt32(device, hostIds),
          hostIds,
          segments: Segments.of(device, await read('offsets')),
          keyLengths: run === 'plain' ? null : Tensor.fromInt32(device, Int32Array.from(await read('keys'))),
        }
        const weights = Tensor.from(device, await read('weights'), file.tensor(`${prefix}weights`).shape)
        params.zeroGradients()
        const tape = new Tape()
        const { hidden, embeddings } = scope(() =>
          tape.run(() => {
            const hidden = encoder.forward(packed, null)
            return { hidden, embeddings: l2Normalize(dense(params, head, hidden)) }
          }),
        )
        tape.backward(embeddings, weights)
        const quiet = withoutTape(() => encoder.forward(packed, null))
        const values = Float64Array.from(await embeddings.values())
        const plain = await hidden.values()
        t.same(await quiet.values(), plain, `${run}: the same bits without a tape`)
        t.ok(worst(plain, await read('hidden')) <= bound.output, `${run}: hidden states`)
        t.ok(worst(values, await read('embeddings')) <= bound.output, `${run}: embeddings`)
        const g = await read('weights')
        const loss = values.reduce((sum, x, i) => sum + x * g[i]!, 0)
        t.ok(Math.abs(loss - about[run].loss) <= bound.loss * Math.abs(about[run].loss), `${run}: loss ${loss}`)

        const gradients = Float64Array.from(await params.gradients.values())
        const all = about[run].gradients as Record<string, { sum: number; squares: number }>
        const norm = Math.sqrt(Object.values(all).reduce((sum, { squares }) => sum + squares, 0))
        const left = new Set(Object.keys(all))
        for (const entry of params.entries)
          for (const part of /^\d/.test(entry.name) ? [{ ...entry, offset: 0 }] : architecture.stored(config, entry)) {
            left.delete(part.name)
            const size = part.shape.reduce((product, d) => product * d, 1)
            const mine = gradients.subarray(entry.offset + part.offset, entry.offset + part.offset + size)
            const { squares, sum } = all[part.name]!
            const length = Math.sqrt(squares)
            const slack = bound.gradient * length + 1e-3 * bound.gradient * norm
            if (run === 'plain') {
              const limit = about['gradient samples'] ?? size
              const stride = size <= limit ? 1 : Math.ceil(size / limit) | 1
              const expected = await read(`grad.${part.name}`)
              const sampled = Float64Array.from(expected, (_, i) => mine[i * stride]!)
              t.ok(distance(sampled, expected) <= slack, `gradient of ${part.name}`)
            }
            const [mySum, mySquares] = [mine.reduce((s, x) => s + x, 0), mine.reduce((s, x) => s + x * x, 0)]
            t.ok(Math.abs(Math.sqrt(mySquares) - length) <= slack, `${run}: norm of ${part.name}`)
            t.ok(Math.abs(mySum - sum) <= slack * Math.sqrt(size), `${run}: sum of ${part.name}`)
          }
        t.same([...left], [], `${run}: every parameter was compared`)
        const { ids, segments, keyLengths } = packed
        for (const tensor of [ids, segments, keyLengths, weights, hidden, embeddings, quiet]) tensor?.dispose()
      }
      await file.close()
      encoder.dispose()
      params.dispose()
      await device.synchronize()
      const after = device.memory()
      t.same([after.tensors, after.bytes], [before.tensors, before.bytes], 'memory is given back')
    })

function worst(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let most = a.length === b.length ? 0 : Number.POSITIVE_INFINITY
  for (let i = 0; i < a.length; i++) most = Math.max(most, Math.abs(a[i]! - b[i]!))
  return most
}

function distance(a: Float64Array, b: Float64Array): number {
  return Math.sqrt(a.reduce((sum, x, i) => sum + (x - b[i]!) ** 2, 0))
}
