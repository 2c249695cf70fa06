// What a prebuilt file must be: of its platform's architecture, stripped, content with an old C library, without a path of
// this machine; and, where it runs here, as fast as this processor can be.
// Usage: node native/tools/check-prebuild.cjs [target …]      default: all
'use strict'
const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const { filesOf, targets } = require('./targets.cjs')

const root = path.resolve(__dirname, '../..')

/** `<format> <architecture>` by the first bytes of a file, as Node names the architecture. */
function kindOf(bytes) {
  const machines = { 62: 'x64', 183: 'arm64', 34404: 'x64', 43620: 'arm64', 16777223: 'x64', 16777228: 'arm64' }
  if (bytes.readUInt32BE(0) === 0x7f454c46) return `linux ${machines[bytes.readUInt16LE(18)]}`
  if (bytes.readUInt32LE(0) === 0xfeedfacf) return `darwin ${machines[bytes.readUInt32LE(4)]}`
  const pe = bytes.toString('latin1', 0, 2) === 'MZ' ? bytes.readUInt32LE(0x3c) : 0
  if (pe > 0 && bytes.toString('latin1', pe, pe + 4) === 'PE\0\0')
    return `win32 ${machines[bytes.readUInt16LE(pe + 4)]}`
  return 'unknown'
}

function readelf(...args) {
  const { status, stdout, stderr, error } = spawnSync('readelf', ['--wide', ...args], {
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  })
  if (status !== 0) throw new Error(`readelf ${args.join(' ')}: ${error?.message ?? stderr}`)
  return stdout
}

/** What is wrong with an ELF file; [] when nothing is. */
function elfFaults(file, newest) {
  const faults = []
  const versions = readelf('--version-info', file)
  for (const [, major, minor] of versions.matchAll(/GLIBC_(\d+)\.(\d+)/g))
    if (newest && (Number(major) > newest[0] || Number(minor) > newest[1]))
      faults.push(`needs GLIBC_${major}.${minor}, at most ${newest.join('.')} is wanted`)
  if (/GLIBCXX|CXXABI/.test(versions)) faults.push("needs the system's C++ library")
  if (/ \.symtab /.test(readelf('--sections', file))) faults.push('is not stripped')
  if (/RPATH|RUNPATH/.test(readelf('--dynamic', file))) faults.push('has a search path of this machine')
  return [...new Set(faults)]
}

/** Loads an addon in a process of its own: the instruction set it takes on this processor. */
function instructionsOf(file) {
  const script = `process.stdout.write(require(${JSON.stringify(file)}).cpuInfo().isa)`
  const env = { ...process.env }
  delete env.LATEFORGE_ISA
  const { status, stdout, stderr } = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8', env })
  if (status !== 0)
    throw new Error(
      `${file} does not load: ${stderr
        .trim()
        .split('\n')
        .find((line) => /Error/.test(line))}`,
    )
  return stdout
}

/** What this processor has, of what kernels are built for. */
function instructionsHere() {
  if (process.arch !== 'x64') return 'portable'
  const flags = new Set(/^flags\s*:(.*)$/m.exec(fs.readFileSync('/proc/cpuinfo', 'utf8'))[1].trim().split(' '))
  const has = (...names) => names.every((name) => flags.has(name))
  if (!has('avx2', 'fma', 'f16c')) return 'portable'
  return has('avx512f', 'avx512dq', 'avx512bw', 'avx512vl') ? 'avx512' : 'avx2'
}

/** What is wrong with a native file that is to run on a target; [] when nothing is. */
function faultsOf(file, { platform, arch, glibc }) {
  const bytes = fs.readFileSync(file)
  const kind = kindOf(bytes)
  const faults = platform === 'linux' && kind.startsWith('linux') ? elfFaults(file, glibc) : []
  if (kind !== `${platform} ${arch}`) faults.push(`is for ${kind}`)
  if (bytes.includes(root)) faults.push('has a path of this machine in it')
  process.stdout.write(`${path.relative(root, file)}: ${bytes.length} bytes, ${kind}\n`)
  return faults
}

/** Throws with all that is wrong with the files of a target; prints what they are otherwise. */
function checkPrebuild(name) {
  const { platform, arch, libc } = targets[name]
  const { folder, files } = filesOf(name)
  const faults = []
  if (!files.some((file) => file.endsWith('.node'))) faults.push(`${folder} has no addon for ${name}: npm run prebuild`)
  for (const file of files) {
    const full = path.join(folder, file)
    const wrong = faultsOf(full, targets[name])
    faults.push(...wrong.map((fault) => `${name}/${file} ${fault}`))
    const runs = platform === process.platform && arch === process.arch && libc !== 'musl'
    if (file.endsWith('.node') && runs && wrong.length === 0) {
      const [found, here] = [instructionsOf(full), instructionsHere()]
      if (found !== here) faults.push(`${name}/${file} computes with ${found}, this processor has ${here}`)
    }
  }
  if (faults.length > 0) throw new Error(faults.join('\n'))
}

module.exports = { checkPrebuild, faultsOf }

if (require.main === module) {
  const names = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(targets)
  try {
    for (const name of names) checkPrebuild(name)
  } catch (error) {
    process.stderr.write(`${error.message}\n`)
    process.exitCode = 1
  }
}
