// Finds zig, or fetches its wheel (zig-wheel.txt: pinned, by hash) into a cache outside the clone.
// Usage: node native/tools/zig.cjs      prints the program, or why there is none (exit code 1)
'use strict'
const { spawnSync } = require('node:child_process')
const path = require('node:path')
const { cacheOf, fetchWheels } = require('./wheels.cjs')

const release = '0.17.1'
const runs = (folder) => {
  const { status, stdout } = spawnSync(path.join(folder, 'zig'), ['version'], { encoding: 'utf8' })
  return status === 0 && stdout.trim() === release
}

/** { zig: path of the program } or { reason }. */
function findZig() {
  const target = cacheOf(`zig-${release}`)
  const notes = []
  const folder = runs(target)
    ? target
    : fetchWheels(path.join(__dirname, 'zig-wheel.txt'), 'ziglang', target, runs, notes)
  return folder ? { zig: path.join(folder, 'zig') } : { reason: `no zig ${release}: ${notes.join('; ')}` }
}

/** What CMake is told to build for a target, by zig's name of it. Throws where there is no zig. */
function zigVariables(target) {
  const { zig, reason } = findZig()
  if (!zig) throw new Error(reason)
  return { CMAKE_TOOLCHAIN_FILE: path.resolve(__dirname, '../zig.cmake'), LF_TARGET: target, LF_ZIG: zig }
}

module.exports = { findZig, zigVariables }

if (require.main === module) {
  const { zig, reason } = findZig()
  if (zig) process.stdout.write(`${zig}\n`)
  else {
    process.stderr.write(`zig: ${reason}\n`)
    process.exit(1)
  }
}
