/** Where lateforge's own files are, and the packages it loads late, so that importing it stays cheap. */
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { NativeError } from './errors.js'

/** Undefined in a bundle of CommonJS. */
const here: string | undefined = import.meta.url

const stayOut =
  'Is lateforge part of a bundle? It loads native libraries, packages and worker threads from its own folder, so it ' +
  'must stay outside (esbuild: --external:lateforge; webpack: externals: /^lateforge/ with externalsType: ' +
  "'node-commonjs'; Next: serverExternalPackages: ['lateforge']) and be installed beside the bundle"

/**
 * The folder that holds lateforge's package.json, wherever this file was compiled to.
 * @throws NativeError ERR_NATIVE when it is not above this file, as in a bundle
 */
export function packageRoot(): string {
  for (let folder = here && path.dirname(fileURLToPath(here)); folder; folder = parentOf(folder)) {
    const file = path.join(folder, 'package.json')
    if (existsSync(file) && nameAndVersion(file).name === 'lateforge') return folder
  }
  throw new NativeError('ERR_NATIVE', `package.json of lateforge was not found above its own files. ${stayOut}`, {
    here,
  })
}

/** The version in package.json. */
export function packageVersion(): string {
  return nameAndVersion(path.join(packageRoot(), 'package.json')).version
}

/** Loads a dependency of lateforge. @throws NativeError ERR_NATIVE when it is not there */
export function loadPackage<T>(name: string): T {
  try {
    return createRequire(here as string)(name) as T
  } catch (cause) {
    throw unloadable(name, cause)
  }
}

/** The error of a dependency that is not there. */
export function unloadable(name: string, cause: unknown): NativeError {
  const reason = (cause as Error).message.split('\n')[0]
  return new NativeError('ERR_NATIVE', `${name} could not be loaded: ${reason}. ${stayOut}`, { name }, { cause })
}

function nameAndVersion(file: string): { name?: string; version: string } {
  return JSON.parse(readFileSync(file, 'utf8'))
}

function parentOf(folder: string): string | undefined {
  const parent = path.dirname(folder)
  return parent === folder ? undefined : parent
}
