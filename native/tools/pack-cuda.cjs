// Packs the CUDA library as lateforge-cuda-<platform>-<arch>, with lateforge's version, for the machine this runs on. What is
// not built yet is built first (cuda.cjs --target).
// Usage: node native/tools/pack-cuda.cjs FOLDER      prints the tarball
'use strict'
const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const { faultsOf } = require('./check-prebuild.cjs')
const { targets } = require('./targets.cjs')

const root = path.resolve(__dirname, '../..')
const architectures = ['compute_90', 'sm_80', 'sm_90']

function run(command, args, cwd = root) {
  const { status, stdout, error } = spawnSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 2] })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} failed: ${error?.message ?? stdout.trim()}`)
  return stdout
}

/** What every part of a library's GPU code is there for: `sm_80` machine code, `compute_90` PTX. [] when parts differ. */
function architecturesOf(file) {
  const bytes = fs.readFileSync(file)
  const magic = Buffer.from([0x50, 0xed, 0x55, 0xba])
  const found = new Set()
  for (let at = bytes.indexOf(magic); at >= 0; at = bytes.indexOf(magic, at + 4)) {
    const end = at + bytes.readUInt16LE(at + 6) + Number(bytes.readBigUInt64LE(at + 8))
    const images = []
    for (let image = at + bytes.readUInt16LE(at + 6); image < end; ) {
      images.push(`${bytes.readUInt16LE(image) === 1 ? 'compute' : 'sm'}_${bytes.readUInt32LE(image + 28)}`)
      image += bytes.readUInt32LE(image + 4) + Number(bytes.readBigUInt64LE(image + 8))
    }
    found.add(images.sort().join())
  }
  return found.size === 1 ? [...found][0].split(',') : []
}

const readme = (name, version) => `# ${name}

The CUDA library of lateforge for NVIDIA GPUs: machine code for sm_80 and sm_90, and PTX for
newer ones. Install it beside lateforge, in the same version:

\`\`\`sh
npm install lateforge@${version} ${name}@${version}
npx lateforge doctor        # devices and driver, or why there are none
\`\`\`

lateforge finds it and uses it where \`device: 'cuda'\` asks for it, never by itself. It needs a driver for CUDA 13, and cuBLASLt
(from a CUDA toolkit, or pip's \`nvidia-cublas\`); several GPUs need NCCL. It has nothing to import.

Apache-2.0. NVIDIA's CUDA runtime (cudart) is linked into it, under the EULA of the CUDA toolkit.
`

/** The tarball's path. Throws when the library cannot be built here, or is not what the package promises. */
function packCuda(folder) {
  const platform = `${process.platform}-${process.arch}`
  const { version, license, engines } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'))
  run(process.execPath, ['native/tools/cuda.cjs', `--target=${platform}`])
  const library = path.join(root, `build/cuda-${platform}/out/lateforge_cuda.so`)
  const faults = faultsOf(library, targets[platform])
  const found = architecturesOf(library)
  if (found.join() !== architectures.join()) faults.push(`has code for ${found.join(', ') || 'different GPUs'}`)
  if (faults.length > 0) throw new Error(faults.map((fault) => `lateforge_cuda.so ${fault}`).join('\n'))

  const name = `lateforge-cuda-${platform}`
  const stage = path.join(root, `build/${name}`)
  fs.rmSync(stage, { recursive: true, force: true })
  fs.mkdirSync(stage)
  fs.copyFileSync(library, path.join(stage, 'lateforge_cuda.so'))
  fs.copyFileSync(path.join(root, 'LICENSE'), path.join(stage, 'LICENSE'))
  fs.writeFileSync(path.join(stage, 'README.md'), readme(name, version))
  const manifest = {
    name,
    version,
    description: `The CUDA library of lateforge for ${platform}`,
    license,
    engines,
    os: [process.platform],
    cpu: [process.arch],
    libc: ['glibc'],
    files: ['lateforge_cuda.so'],
    // Yarn's Plug'n'Play leaves packages in their archive otherwise, where the system loads no library from.
    preferUnplugged: true,
  }
  fs.writeFileSync(path.join(stage, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`)
  fs.mkdirSync(folder, { recursive: true })
  const packed = run(
    'npm',
    ['pack', '--json', '--ignore-scripts', '--loglevel=error', '--pack-destination', path.resolve(folder)],
    stage,
  )
  return path.join(folder, JSON.parse(packed)[0].filename)
}

module.exports = { packCuda }

if (require.main === module) {
  try {
    if (!process.argv[2]) throw new Error('usage: node native/tools/pack-cuda.cjs FOLDER')
    process.stdout.write(`${packCuda(process.argv[2])}\n`)
  } catch (error) {
    process.stderr.write(`pack-cuda: ${error.message}\n`)
    process.exitCode = 1
  }
}
