// Builds the addon: configure, then build, through cmake-js. The only build description is CMakeLists.txt.
// Usage: node native/tools/cmake.cjs [--product] [output folder]      Options for CMake: LATEFORGE_CMAKE='-DLF_BENCH=ON …'
// --product: without the native tests and what only tests need.
'use strict'
const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { parseArgs } = require('node:util')

const root = path.resolve(__dirname, '../..')
const { values, positionals } = parseArgs({ options: { product: { type: 'boolean' } }, allowPositionals: true })
const output = path.resolve(positionals[0] ?? path.join(root, 'build/Release'))
const options = (process.env.LATEFORGE_CMAKE ?? '').split(/\s+/).filter(Boolean)

function cmakeJs(verb, ...more) {
  const cli = path.join(path.dirname(require.resolve('cmake-js/package.json', { paths: [root] })), 'bin/cmake-js')
  const args = [cli, verb, '-d', root, '-O', path.join(root, 'build/cmake'), `--CDLF_OUTPUT=${output}`, '-p', String(os.availableParallelism()), ...more]
  for (const option of options) args.push(option.replace(/^-D/, '--CD'))
  const result = spawnSync(process.execPath, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] })
  if (result.status !== 0) process.exit(result.status ?? 1)
}

fs.mkdirSync(output, { recursive: true })
cmakeJs('configure')
cmakeJs('build', ...(values.product ? ['-T', 'product'] : []))
