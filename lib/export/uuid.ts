import { createHash } from 'node:crypto'

/** Of the names that are ids of an index: any constant, but for ever the same one. */
const namespace = Buffer.from('6c617465666f726765206578706f7274', 'hex')

/**
 * The UUID (version 5, RFC 9562) of an id, for targets that take nothing else: the same id always has the same, so that a second
 * export replaces the first.
 */
export function uuidOf(id: string): string {
  const bytes = createHash('sha1').update(namespace).update(id).digest().subarray(0, 16)
  bytes[6] = (bytes[6]! & 0x0f) | 0x50
  bytes[8] = (bytes[8]! & 0x3f) | 0x80
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}
