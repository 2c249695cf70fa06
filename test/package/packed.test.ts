/**
 * The packed tarball as somebody installs it: contents, installation without a network into an empty folder, the first
 * things one does by import, by require and in worker threads, README's example, types, and what a package that lacks its
 * prebuild says. `npm run matrix` does the same with every package manager, Node and bundler.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import path from 'node:path'
import t from 'tap'
import { platformName } from '../../lib/addon.js'
import { packageRoot, packageVersion } from '../../lib/packages.js'
import { checkoutValues, embeds, must, run, tail, writeConsumer } from './consumer.js'
import { resolutions, typeFaults } from './facts.js'
import { entriesOf, faultsOf, packCheckout, packDependencies } from './tarball.js'

const scratch = mkdtempSync(path.join(tmpdir(), 'lateforge-packed-'))
t.teardown(() => rmSync(scratch, { recursive: true, force: true }))

const tarball = packCheckout(path.join(scratch, 'packed'))
const modules = path.join(packageRoot(), 'node_modules')
const app = path.join(scratch, 'приложение one')
const node = (args: string[]) => run(process.execPath, args, { cwd: app })

t.test('the tarball holds what belongs there, and nothing else', async (t) => {
  const entries = entriesOf(tarball)
  t.same(faultsOf(entries), [])
  const names = entries.map((entry) => entry.name)
  t.ok(
    names.includes(`prebuilds/${platformName()}/lateforge.node`) && names.includes('dist/cli/main.js'),
    names.join(' '),
  )
  t.equal(new Set(names).size, names.length)
  const size = entries.reduce((sum, { data }) => sum + data.length, 0)
  t.ok(size < 16e6, `${size} bytes unpacked`)
})

t.test('what does not belong there is named', async (t) => {
  const entries = entriesOf(tarball)
  const bad = [
    ...entries.filter(({ name }) => name !== 'dist/losses/index.js'),
    { name: 'dist/.built', data: Buffer.alloc(0) },
    { name: 'lib/index.ts', data: Buffer.alloc(0) },
    {
      name: 'dist/extra.js',
      data: Buffer.from("import './gone.js'\nimport { a } from './missing.js'\n//# sourceMappingURL=extra.js.map"),
    },
  ]
  const faults = faultsOf(bad).join('\n')
  for (const wanted of [
    'dist/.built does not belong',
    'lib/index.ts does not belong',
    'points at dist/losses/index.js',
    'dist/extra.js imports ./gone.js',
    'dist/extra.js imports ./missing.js',
    'dist/extra.js names a source map',
  ])
    t.match(faults, wanted)
})

t.test('installs without a network, and works by import, by require and in worker threads', async (t) => {
  writeConsumer(app)
  const tarballs = [tarball, ...packDependencies(scratch)]
  must('npm', ['install', '--offline', '--no-audit', '--no-fund', ...tarballs], { cwd: app })
  t.same(embeds(app, node, checkoutValues(scratch)), [])
  const version = node(['node_modules/.bin/lateforge', '--version'])
  t.equal(version.stdout.trim(), packageVersion(), version.said)
})

for (const resolution of Object.keys(resolutions) as (keyof typeof resolutions)[])
  t.test(`types are whole under ${resolution}, libraries checked`, async (t) => {
    const compiler = path.join(modules, 'typescript/bin/tsc')
    t.same(typeFaults(app, compiler, resolution, path.join(modules, '@types/node')), [])
  })

const lacking = existsSync(path.join(modules, 'publint')) ? false : 'publint is not installed'
t.test('publint finds nothing', { skip: lacking }, async (t) => {
  const { bin } = createRequire(import.meta.url)(path.join(modules, 'publint/package.json'))
  const cli = path.join(modules, 'publint', typeof bin === 'string' ? bin : bin.publint)
  const done = run(process.execPath, [cli, tarball, '--strict'], { cwd: scratch })
  t.ok(done.ok && /All good/.test(done.stdout), tail(done.said))
})

t.test('without a prebuild for this platform it imports, and the first native call says what to do', async (t) => {
  rmSync(path.join(app, 'node_modules/lateforge/prebuilds'), { recursive: true })
  mkdirSync(path.join(app, 'without'))
  const done = node(['esm.mjs', 'without/model'])
  t.notOk(done.ok)
  t.match(done.said, /ERR_NATIVE/)
  t.match(done.said, /prebuilds: +none\n +next: +\S/)
  const imported = node(['-e', "import('lateforge').then((m) => console.log(typeof m.Colbert.load))"])
  t.equal(imported.stdout.trim(), 'function', imported.said)
})
