/** The libraries that lateforge opens on request: those beside the addon, and CUDA's, which also is a package of its own. */
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { addonFile, isCheckout, platformName } from './addon.js'
import { DeviceError } from './errors.js'
import { packageRoot, packageVersion } from './packages.js'

/**
 * Path of a library beside the addon; in a checkout that has the addon elsewhere, in build/Release. It need not exist.
 * @throws NativeError ERR_NATIVE when there is no addon
 */
export function backendPath(name: string): string {
  const beside = path.join(path.dirname(addonFile()), `${name}.so`)
  const built = path.join(packageRoot(), 'build/Release', `${name}.so`)
  return !existsSync(beside) && existsSync(built) ? built : beside
}

/** Platforms with a package of the CUDA library (native/tools/pack-cuda.cjs); package.json names them as optional peers. */
const cudaPlatforms = ['linux-x64']

export interface CudaLibrary {
  path: string
  /** The package it is in, as `lateforge-cuda-linux-x64 0.1.0`; undefined when it was built here. */
  package?: string
}

/**
 * The CUDA library: beside the addon, where `npm run build:cuda` puts it, or in the package for this platform.
 * @throws DeviceError ERR_DEVICE, naming package and command, when there is none (`details.missing` is then true) or when
 * the package has another version than lateforge
 */
export function cudaLibrary(): CudaLibrary {
  const beside = backendPath('lateforge_cuda')
  if (existsSync(beside)) return { path: beside }
  const root = packageRoot()
  const name = `lateforge-cuda-${platformName()}`
  const version = packageVersion()
  const install = `npm install ${name}@${version}`
  let file: string
  try {
    file = createRequire(path.join(root, 'package.json')).resolve(`${name}/package.json`)
  } catch (cause) {
    const what = 'device "cuda" needs a library that is not here'
    const why = cudaPlatforms.includes(platformName())
      ? `${beside} does not exist, and the package ${name} is not installed. ` +
        (isCheckout(root) ? `In this checkout run: npm run build:cuda` : `Run: ${install}`)
      : `lateforge has CUDA for ${cudaPlatforms.join(' and ')} only`
    throw new DeviceError('ERR_DEVICE', `${what}: ${why}`, { path: beside, package: name, missing: true }, { cause })
  }
  const found: string = JSON.parse(readFileSync(file, 'utf8')).version
  if (found !== version)
    throw new DeviceError('ERR_DEVICE', `${name} is version ${found} and lateforge ${version}. Run: ${install}`, {
      package: name,
      found,
      expected: version,
    })
  const library = path.join(path.dirname(file), 'lateforge_cuda.so')
  if (existsSync(library)) return { path: library, package: `${name} ${found}` }
  throw new DeviceError('ERR_DEVICE', `${name} has lost its library: ${library} does not exist. Run: ${install}`, {
    package: name,
    path: library,
  })
}
