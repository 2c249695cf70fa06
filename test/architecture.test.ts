/** The shape of the project: which folder may use which, file sizes, and the generated ops file. */
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { native } from '../lib/native.js'

/**
 * Arrows point one way. `errors`, `environment`, `packages`, `addon`, `native`, `backends`, `options`, `turns` and `lines`
 * are single files at the bottom of lib.
 */
const allowed: Record<string, string[]> = {
  'lib/errors.ts': [],
  'lib/environment.ts': ['lib/errors.ts'],
  'lib/lines.ts': ['lib/errors.ts'],
  'lib/packages.ts': ['lib/errors.ts'],
  'lib/addon.ts': ['lib/errors.ts', 'lib/packages.ts'],
  'lib/native.ts': ['lib/addon.ts', 'lib/environment.ts', 'lib/errors.ts'],
  'lib/backends.ts': ['lib/addon.ts', 'lib/errors.ts', 'lib/packages.ts'],
  'lib/io': ['lib/errors.ts', 'lib/native.ts'],
  'lib/options.ts': ['lib/errors.ts'],
  'lib/turns.ts': ['lib/errors.ts'],
  'lib/text': ['lib/errors.ts', 'lib/options.ts', 'lib/turns.ts', 'lib/lines.ts', 'lib/packages.ts', 'lib/io'],
  'lib/tensor': ['lib/errors.ts', 'lib/options.ts', 'lib/native.ts', 'lib/backends.ts'],
  'lib/data': [
    'lib/text',
    'lib/turns.ts',
    'lib/io',
    'lib/environment.ts',
    'lib/errors.ts',
    'lib/lines.ts',
    'lib/native.ts',
  ],
  'lib/nn': ['lib/tensor', 'lib/errors.ts'],
  'lib/losses': ['lib/tensor', 'lib/errors.ts', 'lib/options.ts'],
  'lib/retrieval': ['lib/turns.ts', 'lib/native.ts', 'lib/tensor', 'lib/errors.ts', 'lib/lines.ts', 'lib/options.ts'],
  'lib/models': [
    'lib/nn',
    'lib/data',
    'lib/text',
    'lib/retrieval',
    'lib/tensor',
    'lib/io',
    'lib/errors.ts',
    'lib/packages.ts',
    'lib/lines.ts',
    'lib/options.ts',
    'lib/turns.ts',
  ],
  'lib/eval': [
    'lib/retrieval',
    'lib/turns.ts',
    'lib/models',
    'lib/tensor',
    'lib/io',
    'lib/errors.ts',
    'lib/options.ts',
    'lib/lines.ts',
  ],
  'lib/train': [
    'lib/losses',
    'lib/data',
    'lib/models',
    'lib/nn',
    'lib/tensor',
    'lib/text',
    'lib/io',
    'lib/environment.ts',
    'lib/errors.ts',
    'lib/native.ts',
    'lib/packages.ts',
    'lib/lines.ts',
    'lib/options.ts',
  ],
  'lib/bench': [
    'lib/train',
    'lib/losses',
    'lib/data',
    'lib/models',
    'lib/nn',
    'lib/tensor',
    'lib/text',
    'lib/errors.ts',
    'lib/native.ts',
    'lib/backends.ts',
    'lib/packages.ts',
    'lib/options.ts',
    'lib/turns.ts',
  ],
  'lib/index.ts': ['*'],
  'lib/cli': ['*'],
  'native/platform': [],
  'native/core': ['native/platform'],
  'native/cpu': ['native/core', 'native/platform'],
  'native/cuda': ['native/core'],
  'native/data': ['native/core', 'native/platform'],
  'native/mpi': ['native/core'],
  'native/binding': ['native/core', 'native/cpu', 'native/data', 'native/platform'],
}

function files(folder: string, ending: RegExp): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((e) =>
    e.isDirectory() ? files(path.join(folder, e.name), ending) : ending.test(e.name) ? [path.join(folder, e.name)] : [],
  )
}

/** The room a file is in: its folder below lib or native, or itself. */
const roomOf = (file: string) => {
  const [top, room] = file.split(path.sep) as [string, string]
  return `${top}/${room}`
}

t.test('imports and includes follow the layers', async (t) => {
  for (const file of [...files('lib', /\.ts$/), ...files('native', /\.(cc|h|cu|cuh)$/)]) {
    const text = readFileSync(file, 'utf8')
    const pattern = file.endsWith('.ts') ? /(?:from|import)\s*\(?\s*'(\.[^']+)'/g : /#include "([^"]+)"/g
    const room = roomOf(file)
    for (const [, target] of text.matchAll(pattern)) {
      const other = roomOf(path.join(path.dirname(file), target!).replace(/\.js$/, '.ts'))
      const list = allowed[room]
      if (!list) return t.fail(`${room} has no place in the layers`)
      if (other !== room && !list.includes('*') && !list.includes(other)) t.fail(`${file} may not use ${other}`)
    }
  }
})

t.test('no file has outgrown its name', async (t) => {
  for (const file of [
    ...files('lib', /\.ts$/),
    ...files('native', /\.(cc|h|cu|cuh|cjs|mjs)$/),
    ...files('test', /\.(ts|cc|h|cu)$/),
  ]) {
    const lines = readFileSync(file, 'utf8').split('\n').length
    if (lines > 520) t.fail(`${file} has ${lines} lines`)
  }
})

t.test('lib/tensor/ops.gen.ts is what the op list says', async (t) => {
  const { generate } = await import(pathToFileURL(path.resolve('native/tools/genops.mjs')).href)
  t.equal(readFileSync('lib/tensor/ops.gen.ts', 'utf8'), generate(native().opList()))
})

/** What CUDA code may not use, and the one file that may: everything else goes through it, so the twin sees it. */
const bannedOnCuda: [RegExp, string | null][] = [
  [/<<</, 'native/cuda/launch.h'],
  [/__global__/, 'native/cuda/launch.h'],
  [/__shared__/, 'native/cuda/device/shared.cuh'],
  [/\batomic(Add|Sub|Exch|Min|Max|Inc|Dec|CAS|And|Or|Xor)(_\w+)?\(/, 'native/cuda/device/atomic.cuh'],
  [/\b(threadIdx|blockIdx|gridDim|__sync(threads|warp))\b/, 'native/cuda/device/thread.cuh'],
  [/\b__(shfl|ballot|any|all)\w*/, 'native/cuda/device/warp.cuh'],
  [/\.approx\b|\b__expf\b|\b__logf\b|\b__fdividef\b/, 'native/cuda/device/math.cuh'],
  [/\b(__ldg|__activemask|__constant__|__trap|__nanosleep)\b/, null],
  [/\b(grid|cooperative_groups::\w+)\.sync\(/, null],
]

t.test('CUDA code reaches the device through device/ and launch.h only', async (t) => {
  for (const file of files('native/cuda', /\.(cu|cuh|h)$/)) {
    const text = readFileSync(file, 'utf8').replace(/\/\/.*$/gm, '')
    for (const [pattern, home] of bannedOnCuda)
      if (pattern.test(text) && file !== home) t.fail(`${file} uses ${pattern}, which belongs to ${home ?? 'nobody'}`)
    if (!file.startsWith('native/cuda/device/') && /\basm\b/.test(text)) t.fail(`${file} holds assembly`)
  }
})
