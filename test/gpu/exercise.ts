/** Every op of the suite in both types, and two training steps, once: what runs under a slow tool (sanitizer.ts). */
import { Device } from '../../lib/tensor/index.js'
import { fiftySteps } from '../cuda/fifty-steps.js'
import { Random } from '../random.js'
import { cases } from '../tensor/cases.js'
import { evaluate, inputsOf } from '../tensor/evaluate.js'

const device = Device.open(process.argv[2]!)
for (const c of cases) {
  const values = inputsOf(c, new Random(1))
  await evaluate(c, device, values, 1, true)
  await evaluate(c, device, values, 1, true, 'bfloat16')
}
await fiftySteps(device, 1, 2)
console.log(`${cases.length} cases`)
