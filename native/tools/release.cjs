// Makes a release in build/pack/ and publishes nothing (docs/versions.md).
// Usage: node native/tools/release.cjs VERSION
'use strict'
const { spawnSync } = require('node:child_process')
const { createHash } = require('node:crypto')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')

const root = path.resolve(__dirname, '../..')
const out = path.join(root, 'build/pack')

const run = (command, ...args) => runIn(root, command, ...args)

function runIn(cwd, command, ...args) {
  const { status, stdout, error } = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  if (status !== 0)
    throw new Error(`${command} ${args.join(' ')} failed: ${error?.message ?? stdout.trim().split('\n').at(-1)}`)
  return stdout
}

/** CHANGELOG.md with the section "Unreleased" as that of the version. */
function datedChangelog(version) {
  const text = fs.readFileSync(path.join(root, 'CHANGELOG.md'), 'utf8')
  const section = text.split(/^## /m).find((part) => part.startsWith('Unreleased\n'))
  if (!section?.slice('Unreleased'.length).trim())
    throw new Error('CHANGELOG.md says nothing under "Unreleased": what does a user notice?')
  const date = new Date().toISOString().slice(0, 10)
  return text.replace('## Unreleased\n', () => `## Unreleased\n\n## ${version} (${date})\n`)
}

/** The CUDA packages that go with lateforge have its version. */
function writePeers(version) {
  const file = path.join(root, 'package.json')
  const manifest = JSON.parse(fs.readFileSync(file, 'utf8'))
  for (const name of Object.keys(manifest.peerDependencies))
    if (name.startsWith('lateforge-')) manifest.peerDependencies[name] = version
  fs.writeFileSync(file, `${JSON.stringify(manifest, null, 2)}\n`)
}

/** What an installation of the tarball consists of. In the checkout `npm sbom` leaves out what tests need as well. */
function sbomOf(tarball) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'lateforge-sbom-'))
  try {
    fs.writeFileSync(
      path.join(folder, 'package.json'),
      '{ "name": "installation", "version": "1.0.0", "private": true }',
    )
    runIn(folder, 'npm', 'install', '--ignore-scripts', '--no-audit', '--no-fund', tarball)
    const sbom = runIn(folder, 'npm', 'sbom', '--sbom-format', 'cyclonedx')
    const { dependencies } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'))
    const listed = new Set(
      JSON.parse(sbom).components.map((component) => component['bom-ref'].replace(/(?<=.)@.*/, '')),
    )
    const missing = ['lateforge', ...Object.keys(dependencies)].filter((name) => !listed.has(name))
    if (missing.length > 0) throw new Error(`npm sbom does not list ${missing.join(', ')}`)
    return sbom
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
}

function release(version) {
  if (!/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version ?? ''))
    throw new Error(`version is ${version}, expected as in: npm run release -- 0.2.0`)
  if (run('git', 'status', '--porcelain').trim()) throw new Error('the checkout has changes that are not committed')
  const changelog = datedChangelog(version)
  run('npm', 'version', version, '--no-git-tag-version', '--allow-same-version', '--ignore-scripts')
  fs.writeFileSync(path.join(root, 'CHANGELOG.md'), changelog)
  writePeers(version)
  run('npm', 'install', '--package-lock-only', '--ignore-scripts', '--no-audit', '--no-fund')
  for (const script of ['prebuild', 'pack']) run('npm', 'run', script)
  run('npm', 'run', 'matrix', '--', path.join(out, `lateforge-${version}.tgz`), '--only', 'npm')
  fs.writeFileSync(path.join(out, `lateforge-${version}.cdx.json`), sbomOf(path.join(out, `lateforge-${version}.tgz`)))
  const files = fs.readdirSync(out).sort()
  const sums = files.map(
    (name) =>
      `${createHash('sha256')
        .update(fs.readFileSync(path.join(out, name)))
        .digest('hex')}  ${name}\n`,
  )
  fs.writeFileSync(path.join(out, 'SHA256SUMS'), sums.join(''))
  const tarballs = files.filter((name) => name.endsWith('.tgz')).map((name) => `  npm publish build/pack/${name}`)
  process.stdout.write(
    `${sums.join('')}\nWhat is left to you:\n  git commit -am "${version}" && git tag v${version}\n${tarballs.join('\n')}\n`,
  )
}

try {
  release(process.argv[2])
} catch (error) {
  process.stderr.write(`release: ${error.message}\n`)
  process.exitCode = 1
}
