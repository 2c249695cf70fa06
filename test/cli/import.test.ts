import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { folder } from '../train/tiny.js'

/** A resolver that refuses every package: what is imported statically must be our own files and Node's. */
const hooks = `export async function resolve(specifier, context, next) {
  if (!/^(node:|file:|[./])/.test(specifier)) throw new Error('imports ' + specifier)
  return next(specifier, context)
}`

t.test('importing lateforge loads no package and no native code', async (t) => {
  const dir = folder(t)
  writeFileSync(path.join(dir, 'hooks.mjs'), hooks)
  const urlOf = (file: string): string => JSON.stringify(pathToFileURL(file).href)
  const entry = JSON.stringify(new URL('../../lib/index.js', import.meta.url).href)
  writeFileSync(
    path.join(dir, 'main.mjs'),
    `import { createRequire, register } from 'node:module'
process.dlopen = () => { throw new Error('loads native code') }
register(${urlOf(path.join(dir, 'hooks.mjs'))})
const { train, Colbert } = await import(${entry})
console.log(typeof train, typeof Colbert.load, Object.keys(createRequire(import.meta.url).cache).length)
`,
  )
  t.equal(execFileSync(process.execPath, [path.join(dir, 'main.mjs')], { encoding: 'utf8' }), 'function function 0\n')
})
