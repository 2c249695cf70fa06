/**
 * Protocol Buffers' wire format, as far as an ONNX file needs it: written, never read. Ours and no package: those build
 * a whole message in memory, weights and all, of 2 GiB at most; here the large parts stay outside.
 */

/** Fields of a message, in the order they were added; `bytes` gives them as they go into a file. */
export class Message {
  private readonly parts: Uint8Array[] = []

  /** A whole number; 0 is written too. */
  int(field: number, value: number | bigint): this {
    this.parts.push(varint(field * 8), varint(value))
    return this
  }

  /** A float of 32 bits. */
  float(field: number, value: number): this {
    const bytes = Buffer.alloc(4)
    bytes.writeFloatLE(value)
    this.parts.push(varint(field * 8 + 5), bytes)
    return this
  }

  text(field: number, value: string): this {
    return this.raw(field, Buffer.from(value))
  }

  message(field: number, value: Message): this {
    return this.raw(field, value.bytes())
  }

  /** Bytes as they are. */
  raw(field: number, value: Uint8Array): this {
    this.parts.push(header(field, value.byteLength), value)
    return this
  }

  bytes(): Uint8Array {
    return Buffer.concat(this.parts)
  }
}

/** What stands before `length` bytes of a text, a message or raw bytes. */
export function header(field: number, length: number): Uint8Array {
  return Buffer.concat([varint(field * 8 + 2), varint(length)])
}

/** Seven bits a byte, the lowest first; negative numbers as their 64 bits. */
function varint(value: number | bigint): Uint8Array {
  const bytes: number[] = []
  let rest = BigInt.asUintN(64, BigInt(value))
  while (rest > 127n) {
    bytes.push(Number(rest & 127n) | 128)
    rest >>= 7n
  }
  bytes.push(Number(rest))
  return Uint8Array.from(bytes)
}
