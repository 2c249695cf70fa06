import { createReadStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { DataError, LateforgeError } from './errors.js'

/**
 * Calls `visit(line, number)` for each line of a UTF-8 text file, numbered from 1, without line ends (`\n`, `\r\n`) or
 * byte order mark. Files named `.gz` are unpacked on the way. Several times faster than node:readline.
 * Throws `DataError` (`ERR_DATA`) for a missing or unreadable file, damaged gzip and invalid UTF-8; what `visit` throws
 * passes through.
 */
export async function eachLine(path: string, visit: (line: string, number: number) => void): Promise<void> {
  let count = 0
  let tail = ''
  const emit = (line: string) => visit(line.endsWith('\r') ? line.slice(0, -1) : line, ++count)
  const take = (text: string) => {
    let start = 0
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', start)) {
      emit(tail + text.slice(start, end))
      tail = ''
      start = end + 1
    }
    tail += text.slice(start)
  }
  const decoder = new TextDecoder('utf-8', { fatal: true })
  const consume = async (chunks: AsyncIterable<Buffer>) => {
    for await (const chunk of chunks) take(decoder.decode(chunk, { stream: true }))
    take(decoder.decode())
    if (tail !== '') emit(tail)
  }
  const file = createReadStream(path, { highWaterMark: 1 << 20 })
  try {
    if (path.endsWith('.gz')) await pipeline(file, createGunzip({ chunkSize: 1 << 18 }), consume)
    else await pipeline(file, consume)
  } catch (error) {
    throw readError(path, count + 1, error)
  }
}

function readError(path: string, line: number, error: unknown): unknown {
  if (error instanceof LateforgeError) return error
  const code = String((error as NodeJS.ErrnoException).code ?? '')
  const found =
    code === 'ENOENT'
      ? `${path} does not exist. Check the path.`
      : code.startsWith('Z_')
        ? `${path} is not an intact gzip file (near line ${line}). Fetch or compress it again.`
        : code === 'ERR_ENCODING_INVALID_ENCODED_DATA'
          ? `${path} is not valid UTF-8 (at or after line ${line}). Convert it to UTF-8.`
          : code.startsWith('E')
            ? `${path} cannot be read: ${(error as Error).message}.`
            : undefined
  return found ? new DataError('ERR_DATA', found, { file: path, line, cause: code }, { cause: error }) : error
}
