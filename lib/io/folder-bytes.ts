import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'

/** Of all files in a folder; one that goes meanwhile, as checkpoints do, does not count. */
export async function folderBytes(folder: string): Promise<number> {
  let bytes = 0
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []))
    if (entry.isFile())
      bytes += await stat(join(entry.parentPath, entry.name)).then(
        ({ size }) => size,
        () => 0,
      )
  return bytes
}
