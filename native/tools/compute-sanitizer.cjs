// Fetches NVIDIA's compute-sanitizer (a wheel, pinned by hash, 14 MB) into a cache outside the clone.
// Usage: node native/tools/compute-sanitizer.cjs      prints its folder, or why there is none (exit code 1)
'use strict'
const { spawnSync } = require('node:child_process')
const path = require('node:path')
const { cacheOf, fetchWheels } = require('./wheels.cjs')

const wheels = path.join(__dirname, 'compute-sanitizer-wheel.txt')
const runs = (folder) =>
  spawnSync(path.join(folder, 'bin/compute-sanitizer'), ['--version'], { stdio: 'ignore' }).status === 0

const target = cacheOf('compute-sanitizer-13.0')
const notes = []
const folder = runs(target) ? target : fetchWheels(wheels, 'nvidia/cu13', target, runs, notes)
if (folder) process.stdout.write(`${folder}\n`)
else {
  process.stderr.write(`compute-sanitizer: ${notes.join('; ')}\n`)
  process.exit(1)
}
