/** Answers in pieces, made when the client takes them: neither the event loop nor memory holds all of a large one. */
import { toHalf } from '../io/numbers.js'
import { safetensorsOf } from '../io/safetensors.js'
import { countOf, type Embeddings, rowsOf } from '../retrieval/embeddings.js'
import { Turns } from '../turns.js'

/** Milliseconds that are made at a stretch. */
const stretch = 2

/** Bytes, about, that go out at a time. */
const chunk = 1 << 16

/** An answer of such pieces. `onEnd` is called once it was taken, or the client has gone. */
export function streamed(
  pieces: Iterable<string | Uint8Array>,
  headers: Record<string, string>,
  onEnd: () => void,
): Response {
  const left = pieces[Symbol.iterator]()
  const turns = new Turns(stretch)
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        if (turns.due) await turns.take() // whoever reads as fast as it is made would keep the event loop
        try {
          const { bytes, done } = next(left)
          if (bytes.length > 0) controller.enqueue(bytes)
          if (!done) return
          controller.close()
        } catch (error) {
          controller.error(error)
        }
        onEnd()
      },
      cancel: onEnd,
    },
    { highWaterMark: 0 },
  )
  return new Response(body, {
    headers: { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff', ...headers },
  })
}

function next(pieces: Iterator<string | Uint8Array>): { bytes: Uint8Array; done: boolean } {
  const parts: Buffer[] = []
  for (let size = 0; size < chunk; ) {
    const { done, value } = pieces.next()
    if (done) return { bytes: Buffer.concat(parts), done }
    const part =
      typeof value === 'string' ? Buffer.from(value) : Buffer.from(value.buffer, value.byteOffset, value.length)
    parts.push(part)
    size += part.length
  }
  return { bytes: Buffer.concat(parts), done: false }
}

/** JSON of an object that has, beside what `head` has, one long list, in pieces. */
export function* withList(head: object, key: string, list: Iterable<string>): Generator<string> {
  yield `${JSON.stringify(head).slice(0, -1)},${JSON.stringify(key)}:[`
  yield* list
  yield ']}\n'
}

/** JSON of entries, with commas between them. */
export function* entriesAsJson(entries: Iterable<unknown>): Generator<string> {
  let comma = ''
  for (const entry of entries) {
    yield comma + JSON.stringify(entry)
    comma = ','
  }
}

/** Token embeddings as JSON, [tokens][dim] of one text after the other; a row is one piece. */
export function* rowsAsJson({ data, offsets, dim }: Embeddings): Generator<string> {
  for (let text = 0; text + 1 < offsets.length; text++) {
    yield text > 0 ? ',[' : '['
    for (let row = offsets[text]!; row < offsets[text + 1]!; row++)
      yield `${row > offsets[text]! ? ',' : ''}[${data.subarray(row * dim, (row + 1) * dim).join()}]`
    yield ']'
  }
}

/** Rows that become float16 in a step. */
const halved = 4096

/** Token embeddings as a safetensors file, in pieces: `embeddings` float16 [rows, dim], `offsets` int64 [texts + 1]. */
export function* asSafetensors(
  embeddings: Embeddings,
  metadata: Record<string, string>,
): Generator<void, Uint8Array[]> {
  const { data, offsets, dim } = embeddings
  const halves = new Uint16Array(data.length)
  for (let at = 0; at < data.length; at += halved * dim) {
    toHalf(data.subarray(at, at + halved * dim), halves.subarray(at, at + halved * dim))
    yield
  }
  const parts = safetensorsOf(
    [
      { name: 'embeddings', shape: [rowsOf(embeddings), dim], data: halves },
      { name: 'offsets', shape: [countOf(embeddings) + 1], data: BigInt64Array.from(Array.from(offsets, BigInt)) },
    ],
    metadata,
  )
  return parts.map(({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength))
}

/** The same bytes, some at a time. */
export function* inChunks(parts: Iterable<Uint8Array>): Generator<Uint8Array> {
  for (const part of parts) for (let at = 0; at < part.length; at += chunk) yield part.subarray(at, at + chunk)
}
