// `npm install` in a checkout, and an install from a git URL: compiles what the package is made of for this machine,
// prebuilds/<platform>-<arch>/ and dist/. Installs no system package; says what is missing.
'use strict'
const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')

const root = path.resolve(__dirname, '../..')

for (const [command, debian] of Object.entries({ cmake: 'cmake', 'c++': 'g++', make: 'make' }))
  if (spawnSync(command, ['--version'], { stdio: 'ignore' }).error) {
    process.stderr.write(`lateforge: building from source needs ${command} (on Debian: apt-get install ${debian})\n`)
    process.exit(1)
  }

function run(...args) {
  const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: ['ignore', 2, 2] })
  if (status !== 0) process.exit(status ?? 1)
}

run('native/tools/cmake.cjs', '--product', path.join('prebuilds', `${process.platform}-${process.arch}`))
fs.rmSync(path.join(root, 'dist'), { recursive: true, force: true })
run(require.resolve('typescript/bin/tsc'), '-p', 'tsconfig.build.json')
