// clang-format and clang-tidy over all C++ and CUDA sources; their wheels, pinned by hash, lie in a cache outside the clone.
// Usage: node native/tools/clang.cjs format [--write]      says what is not formatted; --write formats it
//        node native/tools/clang.cjs tidy [part of a path …]      .clang-tidy's checks, after a build (build/cmake)
'use strict'
const { spawn, spawnSync } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { cacheOf, fetchWheels } = require('./wheels.cjs')

const root = path.resolve(__dirname, '../..')
const releases = { format: '21.1.8', tidy: '21.1.6' }

/** The program, fetched when it is not there. */
function program(tool) {
  const name = `clang-${tool}`
  const target = cacheOf(`${name}-${releases[tool]}`)
  const file = path.join(target, 'bin', name)
  const runs = (folder) => spawnSync(path.join(folder, 'bin', name), ['--version'], { stdio: 'ignore' }).status === 0
  const notes = []
  if (
    !runs(target) &&
    !fetchWheels(path.join(__dirname, `${name}-wheel.txt`), `clang_${tool}/data`, target, runs, notes)
  )
    throw new Error(notes.join('; '))
  return file
}

function format(...options) {
  const patterns = ['*.cc', '*.h', '*.cu', '*.cuh']
  const listed = spawnSync('git', ['ls-files', '-co', '--exclude-standard', '--', ...patterns], {
    cwd: root,
    encoding: 'utf8',
  })
  // Git lists what was removed and not yet committed too.
  const files = listed.stdout.split('\n').filter((file) => file && fs.existsSync(path.join(root, file)))
  if (files.length === 0) throw new Error(`git lists no sources: ${listed.stderr}`)
  const how = options.includes('--write') ? ['-i'] : ['--dry-run', '-Werror']
  return spawnSync(program('format'), [...how, ...files], { cwd: root, stdio: 'inherit' }).status ?? 1
}

async function tidy(...parts) {
  const commands = JSON.parse(fs.readFileSync(path.join(root, 'build/cmake/compile_commands.json'), 'utf8'))
  // Kernels are compiled for every instruction set: once is enough.
  const first = new Map(commands.toReversed().map((entry) => [entry.file, entry]))
  const files = [...first.keys()].filter(
    (file) =>
      file.startsWith(path.join(root, 'native/')) && (parts.length === 0 || parts.some((part) => file.includes(part))),
  )
  const database = path.join(root, 'build/tidy')
  fs.mkdirSync(database, { recursive: true })
  fs.writeFileSync(path.join(database, 'compile_commands.json'), JSON.stringify([...first.values()]))
  const tool = program('tidy')
  let worst = 0
  const work = async () => {
    for (let file = files.pop(); file; file = files.pop()) {
      const child = spawn(tool, ['-p', database, '--quiet', file], { cwd: root, stdio: ['ignore', 'pipe', 'ignore'] })
      let said = ''
      child.stdout.setEncoding('utf8').on('data', (text) => (said += text))
      const status = await new Promise((resolve) => child.on('close', resolve))
      process.stdout.write(said)
      if (status !== 0) worst = 1
      if (status !== 0 && said === '') process.stdout.write(`clang-tidy ended with ${status} on ${file}\n`)
    }
  }
  await Promise.all(Array.from({ length: os.availableParallelism() }, work))
  return worst
}

async function main([tool, ...options]) {
  const run = { format, tidy }[tool]
  if (!run) throw new Error(`unknown tool "${tool}", expected format or tidy`)
  process.exitCode = await run(...options)
}

main(process.argv.slice(2)).catch((error) => {
  process.stderr.write(`clang: ${error.message}\n`)
  process.exitCode = 1
})
