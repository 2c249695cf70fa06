/** LanceDB and the copy of Apache Arrow that it uses: it does not take another copy's types for its own. */
import { createRequire } from 'node:module'
import { UnsupportedError } from '../errors.js'

/** @throws UnsupportedError ERR_UNSUPPORTED where they are not installed */
export function lanceDb(): { lancedb: typeof import('@lancedb/lancedb'); arrow: typeof import('apache-arrow') } {
  const here = createRequire(import.meta.url)
  try {
    const lancedb = here('@lancedb/lancedb')
    return { lancedb, arrow: createRequire(here.resolve('@lancedb/lancedb'))('apache-arrow') }
  } catch (cause) {
    throw new UnsupportedError(
      'ERR_UNSUPPORTED',
      `LanceDB cannot be loaded: npm install @lancedb/lancedb apache-arrow (${(cause as Error).message.split('\n')[0]})`,
      {},
      { cause },
    )
  }
}
