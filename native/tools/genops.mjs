// Writes lib/tensor/ops.gen.ts from the native op list, so that names, operands and params cannot drift apart.
// Usage: node native/tools/genops.mjs [--check]
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))
const target = `${root}lib/tensor/ops.gen.ts`

/** What the list says of each op's operands, in the comment above it: shapes. */
function shapesByOp() {
  const text = readFileSync(`${root}native/ops/list.h`, 'utf8')
  return new Map([...text.matchAll(/\/\* (.+?) \*\/ \\\n {2}OP\((\w+),/g)].map(([, shapes, name]) => [name, shapes]))
}

/** @param {import('../../lib/native.js').OpSpec[]} list */
export function generate(list) {
  const shapes = shapesByOp()
  const lines = [
    '// Made by native/tools/genops.mjs from native/ops/list.h: one function per op, without gradients (ops.ts has those).',
    '// biome-ignore-all format: generated',
    "import { type Operand, run } from './dispatch.js'",
    "import type { Tensor } from './tensor.js'",
    '',
  ]
  list.forEach((op, index) => {
    const inputs = op.inputs.map((i) => `${safe(i.name)}: ${i.optional ? 'Operand' : 'Tensor'}`)
    const params = op.params.map((p) => `${p.name}: number`)
    const signature = [...inputs, ...(params.length ? [`p: { ${params.join('; ')} }`] : [])].join(', ')
    const outputs = op.outputs.map((o) => `${safe(o.name)}: Tensor${o.optional ? ' | null' : ''}`)
    const result =
      outputs.length === 0
        ? 'void'
        : outputs.length === 1 && !op.outputs[0].optional
          ? 'Tensor'
          : `[${outputs.join(', ')}]`
    const call = `run(${index}, [${op.inputs.map((i) => safe(i.name)).join(', ')}], [${op.params.map((p) => `p.${p.name}`).join(', ')}], ${op.outputs.length})`
    const cast =
      result === 'void' ? call : result === 'Tensor' ? `return ${call}[0] as Tensor` : `return ${call} as ${result}`
    if (!shapes.has(op.name))
      throw new Error(`native/ops/list.h: the line above OP(${op.name} is no comment with its shapes`)
    lines.push(`/** ${shapes.get(op.name)} */`)
    lines.push(`export function ${op.name}(${signature}): ${result} {`, `  ${cast}`, '}', '')
  })
  return lines.join('\n')
}

const safe = (name) => (name === 'do' ? 'dout' : name)

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const addon = createRequire(import.meta.url)('node-gyp-build')(root)
  const text = generate(addon.opList())
  if (process.argv.includes('--check')) {
    if (readFileSync(target, 'utf8') !== text) {
      console.error('lib/tensor/ops.gen.ts is out of date: run node native/tools/genops.mjs')
      process.exit(1)
    }
  } else writeFileSync(target, text)
}
