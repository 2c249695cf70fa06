/**
 * Patterns of file names as Hugging Face's file system reads them (fsspec): `*` and `?` within a name, `[a-z]`, and `**`
 * for any folders. Ours and no package: Node's own come with version 22, and none reads `[!-]` and `**` as these do.
 */
export function pathExpression(pattern: string): RegExp {
  const parts = pattern.replace(/\/$/, '/**').split('/')
  const last = parts.length - 1
  const text = parts.map((part, i) => {
    if (part === '**') return i === last ? '.+' : '(?:[^/]+/)*'
    return nameExpression(part) + (i === last ? '' : '/')
  })
  return new RegExp(`^${text.join('')}$`, 'u')
}

function nameExpression(part: string): string {
  return part.replace(/\*+|\?|\[(!?)([^\]]+)\]|[.+^${}()|[\]\\]/g, (found, not, set) => {
    if (found[0] === '*') return '[^/]*'
    if (found === '?') return '[^/]'
    if (set === undefined) return `\\${found}`
    // The first sign and the last may be a hyphen that stands for itself.
    const escaped = String(set)
      .replace(/[\\\]^]/g, '\\$&')
      .replace(/^-|-$/g, '\\-')
    return `[${not ? '^' : ''}${escaped}]`
  })
}
