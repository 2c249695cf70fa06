// Finds a CUDA toolkit, or fetches NVIDIA's own wheels (cuda-wheels.txt: pinned, by hash) into a cache outside the clone.
// Usage: node native/tools/cuda-toolkit.cjs [--no-fetch]     prints the folder, or why there is none (exit code 1)
'use strict'
const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const { cacheOf, fetchWheels } = require('./wheels.cjs')

const release = '13.0'
const oldest = [12, 4]
const wheels = path.join(__dirname, 'cuda-wheels.txt')

const cache = () => cacheOf(`cuda-${release}`)

/** The release of the nvcc in a folder, as [13, 0]; undefined when there is none that runs. */
function releaseOf(folder) {
  const result = spawnSync(path.join(folder, 'bin/nvcc'), ['--version'], { encoding: 'utf8' })
  const found = result.status === 0 && /release (\d+)\.(\d+)/.exec(result.stdout)
  return found ? [Number(found[1]), Number(found[2])] : undefined
}

const newEnough = ([major, minor]) => major > oldest[0] || (major === oldest[0] && minor >= oldest[1])

/** An installed toolkit: CUDA_HOME, CUDA_PATH, the nvcc on PATH, /usr/local/cuda. */
function installed(notes) {
  const onPath = (process.env.PATH ?? '')
    .split(':')
    .map((folder) => path.join(folder, 'nvcc'))
    .find((file) => fs.existsSync(file))
  const folders = [
    process.env.CUDA_HOME,
    process.env.CUDA_PATH,
    onPath && path.dirname(path.dirname(fs.realpathSync(onPath))),
    '/usr/local/cuda',
  ]
  for (const folder of folders) {
    if (!folder || !fs.existsSync(path.join(folder, 'bin/nvcc'))) continue
    const version = releaseOf(folder)
    if (version && newEnough(version)) return folder
    notes.push(`${folder} is ${version ? `CUDA ${version.join('.')}, ${oldest.join('.')} is needed` : 'damaged'}`)
  }
  return undefined
}

/** { folder, version } of a toolkit, or { reason }. */
function findToolkit({ fetch = true } = {}) {
  const notes = []
  let folder = installed(notes)
  if (!folder && releaseOf(cache())) folder = cache()
  if (!folder && fetch)
    folder = fetchWheels(wheels, 'nvidia/cu13', cache(), (toolkit) => releaseOf(toolkit)?.join('.') === release, notes)
  if (folder) return { folder, version: releaseOf(folder).join('.') }
  return { reason: ['no CUDA toolkit (CUDA_HOME, nvcc on PATH, /usr/local/cuda)', ...notes].join('; ') }
}

module.exports = { findToolkit }

if (require.main === module) {
  const { folder, reason } = findToolkit({ fetch: !process.argv.includes('--no-fetch') })
  if (folder) process.stdout.write(`${folder}\n`)
  else {
    process.stderr.write(`cuda-toolkit: ${reason}\n`)
    process.exit(1)
  }
}
