import { readdirSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { nearest } from '../errors.js'

/** ` (did you mean "runs/model"?)` for the path of nothing, where its folder has something of a name like it; else nothing. */
export function nearby(path: string): string {
  let names: string[]
  try {
    names = readdirSync(dirname(path))
  } catch {
    return ''
  }
  const near = nearest(basename(path), names)
  if (near === undefined) return ''
  const folder = dirname(path)
  return ` (did you mean "${folder === '.' ? near : join(folder, near)}"?)`
}
