// Finds a CUDA toolkit, or fetches NVIDIA's own wheels (cuda-wheels.txt: pinned, by hash) into a cache outside the clone.
// Usage: node native/tools/cuda-toolkit.cjs [--no-fetch]     prints the folder, or why there is none (exit code 1)
'use strict'
const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')

const release = '13.0'
const oldest = [12, 4]
const wheels = path.join(__dirname, 'cuda-wheels.txt')

const cacheOf = (name) => path.join(process.env.XDG_CACHE_HOME || path.join(os.homedir(), '.cache'), 'lateforge', name)
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

function python(args, options = {}) {
  return spawnSync('python3', args, { encoding: 'utf8', maxBuffer: 1 << 26, ...options })
}

/** Downloads and unpacks a list into a folder of its own, which takes its final name only when `works` says so of it. */
function fetchWheels(list, target, works, notes) {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    notes.push(`the pinned wheels are for Linux on x86-64, this is ${process.platform} ${process.arch}`)
    return undefined
  }
  fs.mkdirSync(path.dirname(target), { recursive: true })
  const folder = fs.mkdtempSync(`${target}.partial-`)
  try {
    const options = ['--disable-pip-version-check', '--no-deps', '--only-binary=:all:', '--require-hashes', '--retries=1', '--timeout=30', '-q']
    const download = python(['-m', 'pip', 'download', ...options, '-r', list, '-d', folder], { timeout: 900_000 })
    if (download.status !== 0) {
      const lines = (download.stderr || download.error?.message || 'no answer').trim().split('\n')
      notes.push(`pip cannot fetch the wheels: ${lines.filter((l) => /error/i.test(l)).at(-1) ?? lines.at(-1)}`)
      return undefined
    }
    let bytes = 0
    for (const name of fs.readdirSync(folder).filter((file) => file.endsWith('.whl'))) {
      const file = path.join(folder, name)
      bytes += fs.statSync(file).size
      const unpacked = python(['-m', 'zipfile', '-e', file, folder])
      if (unpacked.status !== 0) {
        notes.push(`${name} cannot be unpacked: ${unpacked.stderr.trim().split('\n').at(-1)}`)
        return undefined
      }
      fs.rmSync(file)
    }
    const toolkit = path.join(folder, 'nvidia/cu13')
    for (const bin of ['bin', 'nvvm/bin'].map((name) => path.join(toolkit, name)).filter(fs.existsSync))
      for (const entry of fs.readdirSync(bin, { withFileTypes: true }))
        if (entry.isFile()) fs.chmodSync(path.join(bin, entry.name), 0o755)
    if (!works(toolkit)) {
      notes.push('what the wheels hold does not run here')
      return undefined
    }
    process.stderr.write(`cuda-toolkit: fetched ${(bytes / 1e6).toFixed(0)} MB into ${target}\n`)
    try {
      fs.renameSync(toolkit, target)
    } catch (error) {
      if (!fs.existsSync(target)) throw error // another process was faster: theirs is whole too
    }
    return target
  } finally {
    fs.rmSync(folder, { recursive: true, force: true })
  }
}

/** { folder, version } of a toolkit, or { reason }. */
function findToolkit({ fetch = true } = {}) {
  const notes = []
  let folder = installed(notes)
  if (!folder && releaseOf(cache())) folder = cache()
  if (!folder && fetch) folder = fetchWheels(wheels, cache(), (toolkit) => releaseOf(toolkit)?.join('.') === release, notes)
  if (folder) return { folder, version: releaseOf(folder).join('.') }
  return { reason: ['no CUDA toolkit (CUDA_HOME, nvcc on PATH, /usr/local/cuda)', ...notes].join('; ') }
}

module.exports = { cacheOf, fetchWheels, findToolkit }

if (require.main === module) {
  const { folder, reason } = findToolkit({ fetch: !process.argv.includes('--no-fetch') })
  if (folder) process.stdout.write(`${folder}\n`)
  else {
    process.stderr.write(`cuda-toolkit: ${reason}\n`)
    process.exit(1)
  }
}
