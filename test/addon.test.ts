/** Why the addon does not load: each case on a copy of lateforge, with what Node and the system's loader really say. */
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { addonFile, libcName } from '../lib/addon.js'
import { packageVersion } from '../lib/packages.js'
import { install, platform, prebuild, type Told, told, write } from './installed.js'

const load = (root: string, flags: string[] = [], env: NodeJS.ProcessEnv = {}): Told =>
  told(root, "return (await lib('native')).native().cpuInfo().isa", flags, env)

const preload = (code: string): string[] => ['--import', `data:text/javascript,${encodeURIComponent(code)}`]
const on = (name: string, arch = 'x64'): string[] =>
  preload(
    `for (const [k, value] of [['platform', '${name}'], ['arch', '${arch}']]) Object.defineProperty(process, k, { value })`,
  )
const onMusl = preload('process.report.getReport = () => ({ header: {} })')

/** Every message has the same five lines; `what` and `next` are those of the case. */
function says(t: Test, { name, code, message }: Told, what: RegExp, next: RegExp): void {
  t.same([name, code], ['NativeError', 'ERR_NATIVE'], message)
  const lines = message.split('\n')
  t.equal(lines.length, 5, message)
  t.match(lines[0], what)
  t.match(lines[1], /^ {2}looked for: \//)
  t.match(lines[2], /^ {2}this is: {4}\w+-\w+(, (glibc \d+\.\d+|musl))?, Node \d+\.\d+\.\d+$/)
  t.match(lines[3], /^ {2}prebuilds: {2}./)
  t.match(lines[4], next)
}

t.test('a package with its prebuild loads', async (t) => {
  const root = install(t)
  prebuild(root)
  t.match(load(root).result, /^(portable|avx2|avx512)$/)
})

t.test('a platform without a prebuild', async (t) => {
  const root = install(t)
  prebuild(root)
  const mac = load(root, on('darwin', 'arm64'))
  says(t, mac, /no prebuild for darwin-arm64$/, new RegExp(`next: .*run it on ${platform} .*npm run setup`))
  t.match(mac.message, `prebuilds/darwin-arm64/*.node`)
  t.match(mac.message, /this is: {4}darwin-arm64, Node/)
  says(t, load(root, on('win32')), /no prebuild for win32-x64$/, /run it on/)
})

t.test('prebuilds that were left out or stripped', async (t) => {
  const root = install(t)
  const lost = /the native addon is missing: this copy of the package has lost its prebuilds/
  const next = new RegExp(`npm install lateforge@${packageVersion()} again.*node_modules/lateforge whole`)
  says(t, load(root), lost, next)
  t.match(load(root).message, /prebuilds: {2}none/)
  write(root, { [`prebuilds/${platform}/README`]: '' })
  says(t, load(root), lost, next)
})

t.test('a checkout that was not built', async (t) => {
  const root = install(t, { 'CMakeLists.txt': '' })
  says(t, load(root), /the native addon is not built yet/, new RegExp(`npm run setup, in ${root}$`))
})

t.test('a checkout whose build does not fit', async (t) => {
  const root = install(t, { 'CMakeLists.txt': '', 'build/Release/lateforge.node': '' })
  says(t, load(root), /is for no machine/, new RegExp(`rm -r ${root}/build/Release && npm run setup, in ${root}$`))
})

t.test('Node was told to load no addons', async (t) => {
  const root = install(t)
  prebuild(root)
  says(t, load(root, ['--no-addons']), /Node was told to load no native addons/, /start Node without --no-addons/)
})

t.test('files that do not fit', { skip: platform !== 'linux-x64' && 'written for linux-x64' }, async (t) => {
  const root = install(t)
  const file = path.join(root, 'prebuilds', platform, 'lateforge.node')
  prebuild(root)
  const whole = readFileSync(addonFile())

  t.comment('for another processor')
  const other = Buffer.from(whole)
  other.writeUInt16LE(183, 18)
  writeFileSync(file, other)
  const again = /npm install lateforge@\S+ again, on this machine/
  says(t, load(root), /is for linux-arm64, not for linux-x64/, again)
  writeFileSync(file, Buffer.concat([Buffer.from([0xcf, 0xfa, 0xed, 0xfe, 0x0c, 0, 0, 1]), Buffer.alloc(100)]))
  says(t, load(root), /is for darwin-arm64, not for linux-x64/, again)
  const pe = Buffer.alloc(200)
  pe.write('MZ')
  pe.writeUInt32LE(128, 60)
  pe.writeUInt16LE(0x8664, 132)
  writeFileSync(file, pe)
  says(t, load(root), /is for win32-x64, not for linux-x64/, again)

  t.comment('damaged')
  writeFileSync(file, '')
  says(t, load(root), /is for no machine \(the file is empty\)/, again)
  writeFileSync(file, 'version https://git-lfs.github.com/spec/v1\n')
  says(t, load(root), /is for no machine \(the file is damaged\)/, again)
  writeFileSync(file, whole.subarray(0, 40))
  says(t, load(root), /could not be loaded: .*file too short/, again)

  t.comment('for a newer C or C++ library')
  for (const [name, title] of [
    ['GLIBC', `C library, ${libcName()},`],
    ['GLIBCXX', 'C\\+\\+ library, libstdc\\+\\+,'],
  ] as const) {
    const newer = Buffer.from(whole)
    const version = new RegExp(`${name}_[\\d.]+\\d(?=\\0)`).exec(newer.toString('latin1'))
    if (!version) {
      t.comment(`the addon asks for no ${name}`)
      continue
    }
    const wanted = version[0].replace(/\d$/, (digit) => (digit === '9' ? '8' : '9')).replace(/_\d/, '_8')
    newer.write(wanted, version.index, 'latin1')
    writeFileSync(file, newer)
    const what = new RegExp(`this system's ${title} is too old for the native addon, which needs ${wanted}:`)
    says(t, load(root), what, /use a newer system or image, or build a source checkout here/)
  }

  t.comment('for another C library')
  says(t, load(root, onMusl), /needs glibc, and this system has musl: /, /node:22-slim instead of node:22-alpine/)
})

t.test(
  'musl, where prebuilds name the C library',
  { skip: process.platform !== 'linux' && 'Linux only' },
  async (t) => {
    const root = install(t, { [`prebuilds/${platform}/lateforge.glibc.node`]: readFileSync(addonFile()) })
    t.ok(load(root).result)
    const musl = load(root, onMusl, { LIBC: 'musl' }) // node-gyp-build's own variable
    says(t, musl, new RegExp(`prebuild for ${platform} needs glibc, and this system has musl$`), /node:22-slim/)
    // One that does not load here either, with one for musl beside it.
    const header = readFileSync(addonFile()).subarray(0, 64)
    for (const name of ['glibc', 'musl'])
      writeFileSync(path.join(root, `prebuilds/${platform}/lateforge.${name}.node`), header)
    says(t, load(root, onMusl), /needs glibc, and this system has musl: /, /LIBC=musl/)
  },
)

t.test('a library that the addon needs is not installed', async (t) => {
  const root = install(t)
  prebuild(root)
  const file = path.join(root, 'prebuilds', platform, 'lateforge.node')
  const bytes = readFileSync(file)
  const at = bytes.indexOf('libstdc++.so.6\0')
  if (at < 0) return t.comment('the addon needs no C++ library')
  bytes.write('libnothing.so.', at)
  writeFileSync(file, bytes)
  says(
    t,
    load(root),
    /needs libnothing\.so\.: .*cannot open shared object file/,
    /install the system's package that has/,
  )
})
