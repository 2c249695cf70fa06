// Makes the tarballs of a release in build/pack/: lateforge with the addons of prebuilds/, and the package of the CUDA
// library. `npm run prebuild` comes first.
// Usage: node native/tools/pack.cjs [--here] [folder]
// --here: with the addon of build/Release for this machine alone, to try the package out (CI does).
'use strict'
const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const { parseArgs } = require('node:util')
const { checkPrebuild } = require('./check-prebuild.cjs')
const { packCuda } = require('./pack-cuda.cjs')
const { targets } = require('./targets.cjs')

const root = path.resolve(__dirname, '../..')
const { values, positionals } = parseArgs({ options: { here: { type: 'boolean' } }, allowPositionals: true })
const out = path.resolve(positionals[0] ?? path.join(root, 'build/pack'))

function run(command, args, cwd = root) {
  const { status, error } = spawnSync(command, args, { cwd, stdio: ['ignore', 2, 2] })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} failed${error ? `: ${error.message}` : ''}`)
}

/** The addon and the MPI transports that were built for this machine. */
function builtHere(folder) {
  const built = path.join(root, 'build/Release')
  const target = path.join(folder, `${process.platform}-${process.arch}`)
  fs.mkdirSync(target, { recursive: true })
  for (const file of fs.readdirSync(built))
    if (file === 'lateforge.node' || file.startsWith('lateforge_mpi_'))
      fs.copyFileSync(path.join(built, file), path.join(target, file))
}

/** Packs a copy of what `files` of package.json names, so that nothing of the checkout changes. */
function packLateforge() {
  // What only a checkout has is of no use to whoever installs it; `prepare` would even be offered to be run.
  const { scripts, devDependencies, ...manifest } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'))
  fs.mkdirSync(path.join(root, 'build'), { recursive: true })
  const stage = fs.mkdtempSync(path.join(root, 'build', 'pack-'))
  try {
    const tsc = ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json', '--outDir', path.join(stage, 'dist')]
    run(process.execPath, values.here ? [...tsc, '--noCheck'] : tsc) // CI has checked the types
    fs.writeFileSync(path.join(stage, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`)
    for (const name of [...manifest.files, 'README.md', 'LICENSE'])
      if (name !== 'dist' && !(values.here && name === 'prebuilds'))
        fs.cpSync(path.join(root, name), path.join(stage, name), { recursive: true })
    if (values.here) builtHere(path.join(stage, 'prebuilds'))
    run('npm', ['pack', '--ignore-scripts', '--loglevel=error', '--pack-destination', out], stage)
  } finally {
    fs.rmSync(stage, { recursive: true })
  }
}

try {
  if (!values.here) for (const name of Object.keys(targets)) checkPrebuild(name)
  // A folder that somebody named may hold other things.
  if (positionals.length === 0) fs.rmSync(out, { recursive: true, force: true })
  fs.mkdirSync(out, { recursive: true })
  packLateforge()
  if (!values.here) packCuda(out)
  for (const file of fs.readdirSync(out))
    process.stdout.write(`${file}: ${fs.statSync(path.join(out, file)).size} bytes\n`)
} catch (error) {
  process.stderr.write(`pack: ${error.message}\n`)
  process.exitCode = 1
}
