/** What stands in the place of a large file in a clone that was made without Git LFS. */
const pointer = 'version https://git-lfs'

/** What to tell about a file that begins so: nothing, unless it is a pointer of Git LFS. */
export function lfsHint(beginning: string): string {
  return beginning.startsWith(pointer)
    ? 'it is a pointer of Git LFS and not the file itself, which `git lfs pull` fetches'
    : ''
}
