/**
 * The shape of the project: which folder may use which, file sizes, and the generated ops file. Ours and no package:
 * dependency-cruiser reads imports only, and one table holds the includes of C++ too.
 */
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { native } from '../lib/native.js'

/**
 * Which folders a folder may use beside itself, all of them above it in this table: so no circle can be. The single files
 * of lib, the ground of the house, may be used by all of lib, and each by those below it. An index.ts only re-exports.
 */
const ground = [
  'errors',
  'environment',
  'packages',
  'addon',
  'native',
  'backends',
  'options',
  'turns',
  'ragged',
  'progress',
].map((name) => `lib/${name}.ts`)
const allowed: Record<string, string[]> = {
  'lib/io': [],
  'lib/hub': ['io'],
  'lib/tensor': [],
  'lib/nn': ['io', 'tensor'],
  'lib/distributed': ['tensor', 'nn'],
  'lib/text': ['io'],
  'lib/data': ['io', 'hub', 'text', 'distributed'],
  'lib/losses': ['tensor', 'distributed'],
  'lib/retrieval': ['io', 'tensor', 'text'],
  'lib/models/networks': ['io', 'tensor', 'nn'],
  'lib/models/formats': ['io', 'hub', 'nn', 'text', 'models/networks'],
  'lib/models': ['io', 'hub', 'tensor', 'nn', 'text', 'data', 'retrieval', 'models/networks', 'models/formats'],
  'lib/eval': ['io', 'hub', 'data', 'models', 'retrieval', 'distributed'],
  'lib/mining': ['io', 'data', 'models', 'retrieval', 'eval'],
  'lib/indexing': ['io', 'tensor', 'text', 'models', 'retrieval'],
  'lib/integrations': ['models', 'retrieval', 'indexing'],
  'lib/export': ['io', 'retrieval', 'indexing', 'integrations'],
  'lib/onnx': ['io', 'nn', 'tensor', 'text', 'models', 'models/networks', 'models/formats', 'export'],
  'lib/serve': ['io', 'text', 'data', 'models', 'retrieval', 'indexing'],
  'lib/train/optim': ['tensor', 'nn'],
  'lib/train/config': ['tensor', 'text', 'data', 'losses', 'models', 'distributed', 'train/optim'],
  'lib/train': ['io', 'hub', 'tensor', 'nn', 'text', 'data', 'losses', 'distributed', 'train/config'],
  'lib/train/checkpoint': ['io', 'tensor', 'nn', 'text', 'models', 'models/formats', 'train/optim'],
  'lib/train/check': [
    'hub',
    'tensor',
    'text',
    'data',
    'models',
    'models/formats',
    'train',
    'train/config',
    'train/checkpoint',
  ],
  'lib/train/loop': ['io', 'hub', 'tensor', 'nn', 'text', 'data', 'models', 'distributed', 'train', 'train/*'],
  'lib/bench': ['io', 'tensor', 'nn', 'text', 'data', 'losses', 'models', 'distributed', 'train', 'train/*'],
  'lib/report': ['io', 'text', 'data', 'models', 'retrieval', 'eval', 'train', 'train/*'],
  'lib/inspect': [
    'io',
    'hub',
    'text',
    'data',
    'models',
    'models/networks',
    'models/formats',
    'eval',
    'report',
    'train',
    'train/*',
  ],
  'lib/cli': ['*'],
  'native/platform': [],
  'native/runtime': ['platform'],
  'native/ops': ['runtime'], // the list and the checks
  'native/distributed': ['runtime', 'platform'],
  'native/distributed/mpi': ['runtime', 'distributed'],
  'native/data': ['runtime', 'platform'],
  'native/cpu': ['runtime', 'ops', 'platform'],
  'native/cuda': ['runtime', 'ops'],
  'native/ops/*': ['runtime', 'ops', 'cpu', 'cuda'], // kernels
  'native/distributed/nccl': ['distributed', 'cuda'],
  'native/binding': ['runtime', 'ops', 'distributed', 'data', 'cpu', 'platform'],
}
const rooms = Object.keys(allowed)

function files(folder: string, ending: RegExp): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((e) =>
    e.isDirectory() ? files(path.join(folder, e.name), ending) : ending.test(e.name) ? [path.join(folder, e.name)] : [],
  )
}

/**
 * The innermost folder of the table that a file is in; a file of the ground is a room by itself, and the kernels of all
 * families of ops are one.
 */
function roomOf(file: string): string {
  if (/^native\/ops\/\w+\/(?!shapes\.cc)/.test(file)) return 'native/ops/*'
  const around = rooms.filter((room) => file.startsWith(`${room}/`))
  return around.sort((a, b) => b.length - a.length)[0] ?? file
}

function mayUse(room: string, other: string): boolean {
  if (other === room) return true
  if (ground.includes(room)) return ground.slice(0, ground.indexOf(room)).includes(other)
  if (ground.includes(other)) return room.startsWith('lib/')
  const above = rooms.slice(0, rooms.indexOf(room))
  const top = room.split('/')[0]
  return (
    above.includes(other) &&
    allowed[room]!.some(
      (name) => other === `${top}/${name}` || (name.endsWith('*') && other.startsWith(`${top}/${name.slice(0, -1)}`)),
    )
  )
}

t.test('imports and includes follow the table', async (t) => {
  const faces = /^lib\/(\w+\/)*index\.ts$/
  for (const file of [...files('lib', /\.ts$/), ...files('native', /\.(cc|h|cu|cuh)$/)]) {
    if (faces.test(file)) continue
    const pattern = file.endsWith('.ts') ? /(?:from|import)\s*\(?\s*'(\.[^']+)'/g : /#include "([^"]+)"/g
    for (const [, target] of readFileSync(file, 'utf8').matchAll(pattern)) {
      const other = path.join(path.dirname(file), target!).replace(/\.js$/, '.ts')
      if (!mayUse(roomOf(file), roomOf(other))) t.fail(`${file} may not use ${other}`)
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

/** What CUDA code may not use, and the one file that may: everything else goes through it, so the host emulation sees it. */
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
  for (const file of [...files('native', /\.(cu|cuh)$/), ...files('native/cuda', /\.h$/)]) {
    const text = readFileSync(file, 'utf8').replace(/\/\/.*$/gm, '')
    for (const [pattern, home] of bannedOnCuda)
      if (pattern.test(text) && file !== home) t.fail(`${file} uses ${pattern}, which belongs to ${home ?? 'nobody'}`)
    if (!file.startsWith('native/cuda/device/') && /\basm\b/.test(text)) t.fail(`${file} holds assembly`)
  }
})
