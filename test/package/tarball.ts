/** The tarball that is published: made from this checkout where none is given, and what is true of its contents. */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { gunzipSync } from 'node:zlib'
import { packageRoot, packageVersion } from '../../lib/packages.js'

export interface Entry {
  /** Without the folder `package/` that npm puts around all. */
  name: string
  data: Buffer
}

/** The tarball of this checkout in `folder`, with the native files of build/Release: of this platform alone. */
export function packCheckout(folder: string): string {
  const root = packageRoot()
  execFileSync(process.execPath, [path.join(root, 'native/tools/pack.cjs'), '--here', folder], { stdio: 'ignore' })
  return path.join(folder, `lateforge-${packageVersion()}.tgz`)
}

/** `npm pack` without scripts and without the network. */
export function packFolder(from: string, to: string): string {
  const options = ['--json', '--ignore-scripts', '--offline', '--pack-destination', to]
  const said = execFileSync('npm', ['pack', ...options], { cwd: from, encoding: 'utf8' })
  // An array up to npm 11; later ones an object by name.
  const [packed] = Object.values(JSON.parse(said) as Record<string, { filename: string }>)
  const file = path.join(to, packed!.filename.replace('@', '').replace('/', '-'))
  if (!existsSync(file)) throw new Error(`npm pack made no ${file}`)
  return file
}

/** Tarballs of what lateforge depends on, and of what that does, out of the checkout's node_modules: to install offline. */
export function packDependencies(folder: string): string[] {
  const root = packageRoot()
  const names = new Set<string>()
  const add = (of: string): void => {
    const { dependencies = {} } = JSON.parse(readFileSync(path.join(of, 'package.json'), 'utf8'))
    for (const name of Object.keys(dependencies)) {
      if (names.has(name)) continue
      names.add(name)
      add(path.join(root, 'node_modules', name))
    }
  }
  add(root)
  return [...names].map((name) => packFolder(path.join(root, 'node_modules', name), folder))
}

/** The files of a tarball as npm writes them: ustar, long names by prefix or a pax header. */
export function entriesOf(tarball: string): Entry[] {
  const tar = gunzipSync(readFileSync(tarball))
  const entries: Entry[] = []
  const text = (from: number, length: number): string => tar.toString('utf8', from, from + length).split('\0')[0]!
  let longName: string | undefined
  for (let at = 0; at + 512 <= tar.length && tar[at] !== 0; ) {
    const size = Number.parseInt(text(at + 124, 12), 8)
    const kind = text(at + 156, 1)
    const data = tar.subarray(at + 512, at + 512 + size)
    if (kind === 'x') longName = /\d+ path=(.*)\n/.exec(data.toString('utf8'))?.[1]
    else {
      const name = longName ?? [text(at + 345, 155), text(at, 100)].filter(Boolean).join('/')
      if (kind === '0' || kind === '') entries.push({ name: name.replace(/^package\//, ''), data })
      longName = undefined
    }
    at += 512 + Math.ceil(size / 512) * 512
  }
  return entries
}

/** What may be there; anything else is a mistake of `files`. */
const expected = [
  /^(package\.json|README\.md|LICENSE|CHANGELOG\.md)$/,
  /^assets\/\w+\.(js|css)$/,
  /^dist\/[\w./-]+\.(js|d\.ts)$/,
  /^prebuilds\/(linux|darwin|win32)-(x64|arm64)\/lateforge[\w.-]*\.(node|so)$/,
]

/** What is wrong with the contents: one line each, none when all is as it should be. */
export function faultsOf(entries: Entry[]): string[] {
  const faults: string[] = []
  const names = new Set(entries.map((entry) => entry.name))
  for (const { name, data } of entries) {
    if (!expected.some((pattern) => pattern.test(name))) faults.push(`${name} does not belong into the package`)
    if (name.endsWith('.js') && data.includes('//# sourceMappingURL='))
      faults.push(`${name} names a source map that is not there`)
    // Every relative import, of types too, must be there, or a consumer that checks libraries stumbles over it.
    if (/\.(js|d\.ts)$/.test(name))
      for (const [, target] of data
        .toString('utf8')
        .matchAll(/(?:from |import |import\(|new URL\()['"](\.[^'"]+)['"]/g)) {
        const file = path.posix.join(path.posix.dirname(name), target!)
        const wanted = name.endsWith('.d.ts') ? file.replace(/\.js$/, '.d.ts') : file
        if (!names.has(wanted)) faults.push(`${name} imports ${target}, which is not in the package`)
      }
  }
  const {
    exports,
    bin,
    scripts = {},
    gypfile,
    os,
    cpu,
    libc,
  } = JSON.parse(entries.find((entry) => entry.name === 'package.json')?.data.toString('utf8') ?? '{}')
  const targets = [exports, bin].flatMap(function leaves(value: unknown): string[] {
    return typeof value === 'object' && value !== null ? Object.values(value).flatMap(leaves) : [String(value)]
  })
  for (const target of targets.map((target) => target.replace(/^\.\//, '')))
    if (!names.has(target)) faults.push(`package.json points at ${target}, which is not in the package`)
  for (const script of ['preinstall', 'install', 'postinstall'])
    if (scripts[script]) faults.push(`package.json has the script ${script}, which runs where lateforge is installed`)
  if (gypfile !== false) faults.push('package.json must say gypfile: false, or npm compiles where a binding.gyp is')
  if (os || cpu || libc) faults.push('package.json has os, cpu or libc, which forbid the installation elsewhere')
  if (![...names].some((name) => name.startsWith('prebuilds/'))) faults.push('there is no prebuild')
  return faults
}

/** Folders of prebuilds/. */
export function prebuildsOf(entries: Entry[]): string[] {
  return [...new Set(entries.flatMap(({ name }) => /^prebuilds\/([^/]+)\//.exec(name)?.[1] ?? []))].sort()
}
