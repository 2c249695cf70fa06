import { join } from 'node:path'
import { homed } from '../environment.js'

/** What is being made in the cache folder, and not finished: a day later it is removed. */
export const BUILDING = '.building-'

/** Where tokenized data is kept unless told otherwise. */
export function defaultCacheDir(): string {
  const { LATEFORGE_CACHE, XDG_CACHE_HOME } = process.env
  return LATEFORGE_CACHE ? homed(LATEFORGE_CACHE) : join(XDG_CACHE_HOME || homed('~/.cache'), 'lateforge', 'shards')
}
