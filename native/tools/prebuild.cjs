// Makes prebuilds/<platform>-<arch>/ with the addon and its libraries, by prebuildify, and checks what was made.
// Usage: node native/tools/prebuild.cjs [target …]      default: all of targets.cjs
'use strict'
const fs = require('node:fs')
const path = require('node:path')
const prebuildify = require('prebuildify')
const { checkPrebuild } = require('./check-prebuild.cjs')
const { filesOf, targets } = require('./targets.cjs')

const root = path.resolve(__dirname, '../..')

function prebuild(name) {
  const { platform, arch, libc } = targets[name]
  // A folder of its own, and empty: prebuildify takes every library that lies beside the addon, in build/Release those of
  // tests too.
  const cwd = path.join(root, 'build', name, 'tree')
  fs.rmSync(path.dirname(cwd), { recursive: true, force: true })
  fs.mkdirSync(cwd, { recursive: true })
  const { folder, files } = filesOf(name)
  for (const file of files) fs.rmSync(path.join(folder, file))
  const options = { name: 'lateforge', cwd, out: root, platform, arch, libc, tagLibc: libc !== undefined, napi: true }
  return new Promise((resolve, reject) =>
    prebuildify({ ...options, nodeGyp: path.join(__dirname, 'gyp.cjs') }, (error) =>
      error ? reject(error) : resolve(),
    ),
  )
}

async function main() {
  const names = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(targets)
  const unknown = names.filter((name) => !targets[name])
  if (unknown.length > 0) throw new Error(`unknown ${unknown.join(', ')}, expected ${Object.keys(targets).join(', ')}`)
  for (const name of names) {
    await prebuild(name)
    checkPrebuild(name)
  }
}

main().catch((error) => {
  process.stderr.write(`prebuild: ${error.message}\n`)
  process.exitCode = 1
})
