/** Where the native addon is, what machine this is, and what to say when the addon does not load. */
import { closeSync, existsSync, openSync, readdirSync, readSync } from 'node:fs'
import path from 'node:path'
import { NativeError } from './errors.js'
import { loadPackage, packageRoot, packageVersion } from './packages.js'

interface NodeGypBuild {
  (root: string): unknown
  path(root: string): string
}

/** Prebuilds that we have run, under qemu where it takes one; others were built only, and doctor says so. */
export const platformsRun: readonly string[] = ['linux-x64', 'linux-arm64']

/** This platform as the folders of prebuilds are called: `linux-x64`. */
export const platformName = (): string => `${process.platform}-${process.arch}`

/** `glibc 2.36`, `musl`, or '' where there is no choice of C library. Takes some milliseconds. */
export function libcName(): string {
  if (process.platform !== 'linux') return ''
  const report = process.report as NodeJS.ProcessReport & { excludeNetwork?: boolean }
  const before = report.excludeNetwork
  report.excludeNetwork = true // it would look up the names of all peers
  const { header } = report.getReport() as unknown as { header: { glibcVersionRuntime?: string } }
  report.excludeNetwork = before
  return header.glibcVersionRuntime ? `glibc ${header.glibcVersionRuntime}` : 'musl'
}

/** Whether a root is a source checkout, where lateforge can be built, or an installed package. */
export const isCheckout = (root: string): boolean => existsSync(path.join(root, 'CMakeLists.txt'))

/**
 * The addon's file, as node-gyp-build finds it: below build/Release or prebuilds.
 * @throws NativeError ERR_NATIVE with the next step when there is none for this machine
 */
export function addonFile(): string {
  const root = packageRoot()
  const find = loadPackage<NodeGypBuild>('node-gyp-build')
  try {
    return find.path(root)
  } catch (cause) {
    throw loadFailure(root, undefined, cause)
  }
}

/** Whether a file of the addon came with the package, instead of being built here. */
export const isPrebuild = (file: string): boolean => path.basename(path.dirname(path.dirname(file))) === 'prebuilds'

/**
 * Loads the addon.
 * @throws NativeError ERR_NATIVE with file, machine, prebuilds and the next step
 */
export function loadAddon<T>(): T {
  const root = packageRoot()
  const file = addonFile()
  try {
    return loadPackage<NodeGypBuild>('node-gyp-build')(root) as T
  } catch (cause) {
    throw loadFailure(root, file, cause)
  }
}

function loadFailure(root: string, file: string | undefined, cause: unknown): NativeError {
  const folder = path.join(root, 'prebuilds')
  const prebuilds = existsSync(folder) ? readdirSync(folder).sort() : []
  const libc = libcName()
  const { what, next } = file ? whyRefused(root, file, libc, cause) : whyMissing(root, prebuilds, libc)
  const machine = [platformName(), ...(libc ? [libc] : []), `Node ${process.versions.node}`].join(', ')
  const wanted =
    file ?? ['build/Release', `prebuilds/${platformName()}`].map((f) => path.join(root, f, '*.node')).join(', ')
  return new NativeError(
    'ERR_NATIVE',
    [
      `${what}`,
      `  looked for: ${wanted}`,
      `  this is:    ${machine}`,
      `  prebuilds:  ${prebuilds.join(', ') || 'none'}`,
      `  next:       ${next}`,
    ].join('\n'),
    { root, file, machine, prebuilds },
    { cause },
  )
}

interface Diagnosis {
  what: string
  next: string
}

const again = (): string => `npm install lateforge@${packageVersion()} again, on this machine`

const noMusl = 'use an image with glibc (node:22-slim instead of node:22-alpine)'

function whyMissing(root: string, prebuilds: readonly string[], libc: string): Diagnosis {
  const platform = platformName()
  if (isCheckout(root)) return { what: 'the native addon is not built yet', next: `npm run setup, in ${root}` }
  const here = prebuilds.includes(platform) ? readdirSync(path.join(root, 'prebuilds', platform)) : []
  if (libc === 'musl' && here.some((name) => name.endsWith('.node')))
    return { what: `lateforge's prebuild for ${platform} needs glibc, and this system has musl`, next: noMusl }
  if (prebuilds.length === 0 || prebuilds.includes(platform))
    return {
      what: 'the native addon is missing: this copy of the package has lost its prebuilds',
      next: `${again()}; where a bundler or a deployment made the copy, let it take node_modules/lateforge whole`,
    }
  return {
    what: `lateforge has no prebuild for ${platform}`,
    next: `run it on ${prebuilds.join(' or ')} (a container will do), or build a source checkout here: npm run setup`,
  }
}

/** Why the system did not load a file that is there, from what its loader said. */
function whyRefused(root: string, file: string, libc: string, cause: unknown): Diagnosis {
  const { code, message } = cause as NodeJS.ErrnoException
  const said = message.split('\n')[0]!
  if (code === 'ERR_DLOPEN_DISABLED')
    return {
      what: 'Node was told to load no native addons (--no-addons, or the permission model without --allow-addons)',
      next: 'start Node without --no-addons; with the permission model, add --allow-addons (Node 22 and newer)',
    }
  const rebuild = isCheckout(root) ? `rm -r ${path.dirname(file)} && npm run setup, in ${root}` : undefined
  const made = machineOf(file)
  if (made !== platformName())
    return { what: `the native addon is for ${made}, not for ${platformName()}`, next: rebuild ?? again() }
  if (libc === 'musl') {
    // node-gyp-build takes only Alpine for a system with musl.
    const missed = file.includes('.glibc.') && existsSync(file.replace('.glibc.', '.musl.'))
    const next = missed ? 'set the environment variable LIBC=musl: this is not Alpine' : (rebuild ?? noMusl)
    return { what: `the native addon needs glibc, and this system has musl: ${said}`, next }
  }
  const [, symbol] = /version [`']((?:GLIBC|GLIBCXX|CXXABI)_[\d.]+)' not found/.exec(message) ?? []
  if (symbol) {
    const library = symbol.startsWith('GLIBC_') ? `C library, ${libc},` : 'C++ library, libstdc++,'
    return {
      what: `this system's ${library} is too old for the native addon, which needs ${symbol}: ${said}`,
      next: rebuild ?? 'use a newer system or image, or build a source checkout here: npm run setup',
    }
  }
  const [, library] = /^([^\s/]+\.so[.\d]*): cannot open shared object file/.exec(message) ?? []
  if (library)
    return {
      what: `the native addon needs ${library}: ${said}`,
      next: `install the system's package that has ${library}`,
    }
  return { what: `the native addon could not be loaded: ${said}`, next: rebuild ?? again() }
}

/** The platform that a library's first bytes name: `linux-arm64`. What is no library, such as a part of one, is named so. */
function machineOf(file: string): string {
  const bytes = Buffer.alloc(4096)
  const descriptor = openSync(file, 'r')
  const read = readSync(descriptor, bytes, 0, bytes.length, 0)
  closeSync(descriptor)
  const magic = bytes.readUInt32BE(0)
  if (magic === 0x7f454c46) return `linux-${{ 62: 'x64', 183: 'arm64' }[bytes.readUInt16LE(18)] ?? 'another processor'}`
  if (magic === 0xcffaedfe) return `darwin-${bytes.readUInt32LE(4) === 0x0100000c ? 'arm64' : 'x64'}`
  const header = bytes.readUInt32LE(60)
  if (magic >>> 16 === 0x4d5a && header < read - 6)
    return `win32-${bytes.readUInt16LE(header + 4) === 0xaa64 ? 'arm64' : 'x64'}`
  return `no machine (${read === 0 ? 'the file is empty' : 'the file is damaged'})`
}
