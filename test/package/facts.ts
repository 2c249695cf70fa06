/** What is true of the tarball whoever installs it: sizes, contents, types, the time of an import, what checkers say. */
import { cpSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { availableParallelism, loadavg } from 'node:os'
import path from 'node:path'
import { packageRoot } from '../../lib/packages.js'
import { must, run, sources, tail } from './consumer.js'
import { type Entry, entriesOf, faultsOf } from './tarball.js'
import { environmentOf, type NodeMajor, nodeOf, tool } from './tools.js'

const million = (bytes: number): string => `${(bytes / 1e6).toFixed(2)} MB`

export interface Fact {
  name: string
  /** As the document says it. */
  found: string
  faults: string[]
}

export function contents(tarball: string): Fact {
  const entries = entriesOf(tarball)
  const unpacked = (which: (entry: Entry) => boolean): number =>
    entries.filter(which).reduce((sum, { data }) => sum + data.length, 0)
  const native = entries.filter(({ name }) => name.startsWith('prebuilds/'))
  return {
    name: 'tarball',
    found:
      `${million(statSync(tarball).size)} packed, ${million(unpacked(() => true))} unpacked in ${entries.length} files; ` +
      `of that ${native.map(({ name, data }) => `${name.replace('prebuilds/', '')} ${million(data.length)}`).join(', ')}`,
    faults: faultsOf(entries),
  }
}

/** Resolutions under which types must be whole, libraries checked. */
export const resolutions = { nodenext: ['nodenext', 'nodenext'], bundler: ['esnext', 'bundler'] } as const

/** Compiles consumer/types.mts in a project that has the package. `types` is the folder of @types/node. */
export function typeFaults(
  project: string,
  compiler: string,
  resolution: keyof typeof resolutions,
  types: string,
): string[] {
  const [module, moduleResolution] = resolutions[resolution]
  cpSync(path.join(sources, 'types.mts'), path.join(project, 'types.mts'))
  const compilerOptions = {
    ...{ module, moduleResolution, strict: true, skipLibCheck: false, noEmit: true, target: 'es2022', lib: ['es2022'] },
    ...{ types: ['node'], typeRoots: [path.dirname(types)] },
  }
  const config = path.join(project, `tsconfig.${resolution}.json`)
  writeFileSync(config, JSON.stringify({ compilerOptions, files: ['types.mts'] }))
  const done = run(process.execPath, [compiler, '-p', config], { cwd: project })
  return done.ok ? [] : [tail(done.said)]
}

export function types(project: string): Fact {
  const compilers = { '5.9': tool('typescript59/bin/tsc'), '7.0': tool('typescript7/bin/tsc') }
  const faults = Object.entries(compilers).flatMap(([version, compiler]) =>
    (Object.keys(resolutions) as (keyof typeof resolutions)[]).flatMap((resolution) =>
      typeFaults(project, compiler, resolution, tool('@types/node')).map(
        (f) => `TypeScript ${version}, ${resolution}: ${f}`,
      ),
    ),
  )
  return {
    name: 'types',
    found: 'TypeScript 5.9 and 7.0, `nodenext` and `bundler`, strict, `skipLibCheck: false`',
    faults,
  }
}

export function checkers(tarball: string, scratch: string): Fact {
  const publint = run(process.execPath, [tool('publint/src/cli.js'), tarball, '--strict'], { cwd: scratch })
  const attw = run(process.execPath, [tool('@arethetypeswrong/cli/dist/index.js'), tarball, '--profile', 'esm-only'], {
    cwd: scratch,
  })
  const clean = /All good/.test(publint.stdout)
  return {
    name: 'checkers',
    found: '`publint --strict`, `attw --profile esm-only`',
    faults: [...(publint.ok && clean ? [] : [publint.said]), ...(attw.ok ? [] : [attw.said])],
  }
}

const most = 60
const rounds = 10

/** In-process, as somebody's start pays for it; each process fresh, the file cache warm. */
export function importTime(project: string, major: NodeMajor): Fact {
  const file = path.join(project, 'import-time.mjs')
  const time = (what: string): number => {
    writeFileSync(file, `const started = performance.now()\n${what}\nconsole.log(performance.now() - started)\n`)
    const times = Array.from({ length: rounds }, () =>
      Number(must(nodeOf(major), [file], { cwd: project, env: environmentOf(major) })),
    ).sort((a, b) => a - b)
    return (times[rounds / 2 - 1]! + times[rounds / 2]!) / 2
  }
  time("await import('lateforge')")
  const [own, bare] = [time("await import('lateforge')"), time("await import('node:path')")]
  return {
    name: 'import',
    found: `${(own - bare).toFixed(0)} ms (Node ${major}, median of ${rounds} fresh processes, an import of \`node:path\` subtracted)`,
    faults:
      own - bare <= most
        ? []
        : [
            `importing takes ${(own - bare).toFixed(0)} ms, at most ${most} are allowed; load ${loadavg()[0]!.toFixed(0)} on ${availableParallelism()} cores`,
          ],
  }
}

export const packageVersionIn = (tarball: string): string =>
  JSON.parse(
    entriesOf(tarball)
      .find(({ name }) => name === 'package.json')!
      .data.toString('utf8'),
  ).version

/** Writes between the markers of docs/install.md. */
export function writeTable(text: string): void {
  const file = path.join(packageRoot(), 'docs/install.md')
  const [begin, end] = ['<!-- npm run matrix: begin -->', '<!-- npm run matrix: end -->']
  const document = readFileSync(file, 'utf8')
  const [from, to] = [document.indexOf(begin), document.indexOf(end)]
  if (from < 0 || to < from) throw new Error(`${file} lacks the markers ${begin} and ${end}`)
  writeFileSync(file, `${document.slice(0, from + begin.length)}\n\n${text}\n\n${document.slice(to)}`)
}
