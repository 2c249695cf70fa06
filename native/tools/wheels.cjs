// Python wheels as they come from pip, pinned by hash, unpacked into a cache outside the clone.
'use strict'
const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')

const cacheOf = (name) => path.join(process.env.XDG_CACHE_HOME || path.join(os.homedir(), '.cache'), 'lateforge', name)

function python(args, options = {}) {
  return spawnSync('python3', args, { encoding: 'utf8', maxBuffer: 1 << 26, ...options })
}

/**
 * Downloads and unpacks a list into a folder of its own; what lies `inside` takes the name `target` only when `works` says
 * so of it. Undefined, with the reason in `notes`, when that fails.
 */
function fetchWheels(list, inside, target, works, notes) {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    notes.push(`the pinned wheels are for Linux on x86-64, this is ${process.platform} ${process.arch}`)
    return undefined
  }
  fs.mkdirSync(path.dirname(target), { recursive: true })
  const folder = fs.mkdtempSync(`${target}.partial-`)
  try {
    const options = [
      '--disable-pip-version-check',
      '--no-deps',
      '--only-binary=:all:',
      '--require-hashes',
      '--retries=1',
      '--timeout=30',
      '-q',
    ]
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
    const wanted = path.join(folder, inside)
    // zip files as pip unpacks them keep no permission to run.
    for (const bin of ['', 'bin', 'nvvm/bin'].map((name) => path.join(wanted, name)).filter(fs.existsSync))
      for (const entry of fs.readdirSync(bin, { withFileTypes: true }))
        if (entry.isFile()) fs.chmodSync(path.join(bin, entry.name), 0o755)
    if (!works(wanted)) {
      notes.push('what the wheels hold does not run here')
      return undefined
    }
    process.stderr.write(`wheels: fetched ${(bytes / 1e6).toFixed(0)} MB into ${target}\n`)
    try {
      fs.renameSync(wanted, target)
    } catch (error) {
      if (!fs.existsSync(target)) throw error // another process was faster: theirs is whole too
    }
    return target
  } finally {
    fs.rmSync(folder, { recursive: true, force: true })
  }
}

module.exports = { cacheOf, fetchWheels }
