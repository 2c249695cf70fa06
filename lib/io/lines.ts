/**
 * The one reader of lines. Ours and no package: those split strings at line ends, which is one line here, and leave to
 * their callers what makes up the rest, faults with file and line.
 */
import { closeSync, createReadStream, openSync, readSync } from 'node:fs'
import { pipeline } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { DataError, LateforgeError } from '../errors.js'

/** Characters of the longest line: a longer one, and the file is none of lines. */
const LONGEST = 64 << 20

/**
 * Calls `visit(line, number)` for each line of a UTF-8 text file, numbered from 1, without line ends (`\n`, `\r\n`) or
 * byte order mark. Files named `.gz` are unpacked on the way. Several times faster than node:readline.
 * Throws `DataError` (`ERR_DATA`) for a missing or unreadable file, damaged gzip, invalid UTF-8 and a line of more than
 * 64 Mi characters; what `visit` throws passes through.
 */
export async function eachLine(path: string, visit: (line: string, number: number) => void): Promise<void> {
  let count = 0
  for await (const lines of lineBatches(path)) for (const line of lines) visit(line, ++count)
}

/** The same lines for a reader who takes them at its own pace: those of a mebibyte at a time. */
export async function* lineBatches(path: string): AsyncGenerator<string[]> {
  let count = 0
  let tail = ''
  const plain = (line: string) => (line.endsWith('\r') ? line.slice(0, -1) : line)
  const take = (text: string): string[] => {
    const lines = text.split('\n')
    lines[0] = tail + lines[0]
    tail = lines.pop()!
    count += lines.length
    if (tail.length > LONGEST)
      throw new DataError(
        'ERR_DATA',
        `${path}:${count + 1}: the line is longer than 64 Mi characters. Is it a file of lines?`,
        { file: path, line: count + 1 },
      )
    return lines.map(plain)
  }
  const decoder = new TextDecoder('utf-8', { fatal: true })
  const file = createReadStream(path, { highWaterMark: 1 << 20 })
  const bytes = path.endsWith('.gz') ? pipeline(file, createGunzip({ chunkSize: 1 << 18 }), () => {}) : file
  try {
    for await (const chunk of bytes as AsyncIterable<Buffer>) yield take(decoder.decode(chunk, { stream: true }))
    yield take(decoder.decode())
    if (tail !== '') yield [plain(tail)]
  } catch (error) {
    throw readError(path, count + 1, error)
  } finally {
    file.destroy()
    bytes.destroy()
  }
}

function isGzip(path: string): boolean {
  const file = openSync(path, 'r')
  try {
    const start = Buffer.alloc(2)
    return readSync(file, start, 0, 2, 0) === 2 && start.readUInt16BE() === 0x1f8b
  } finally {
    closeSync(file)
  }
}

/** What a caller is told when `path` could not be read as far as `line`. */
export function readError(path: string, line: number, error: unknown): unknown {
  if (error instanceof LateforgeError) return error
  const code = String((error as NodeJS.ErrnoException).code ?? '')
  const found =
    code === 'ENOENT'
      ? `${path} does not exist. Check the path.`
      : code.startsWith('Z_')
        ? `${path} is not an intact gzip file (near line ${line}). Fetch or compress it again.`
        : code === 'ERR_ENCODING_INVALID_ENCODED_DATA'
          ? `${path} is not valid UTF-8 (at or after line ${line}). ${isGzip(path) ? 'It is packed by gzip: name it .gz.' : 'Convert it to UTF-8.'}`
          : code.startsWith('E')
            ? `${path} cannot be read: ${(error as Error).message}.`
            : undefined
  return found ? new DataError('ERR_DATA', found, { file: path, line, cause: code }, { cause: error }) : error
}
