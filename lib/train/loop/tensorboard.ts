/**
 * Event files for TensorBoard. Ours and no package: npm has none that is kept. A file is records of TFRecord (length, its
 * checksum, data, its checksum; tensorflow/core/lib/io/record_writer.cc), each an `Event` of event.proto.
 */
import { hostname } from 'node:os'
import { join } from 'node:path'
import type { TrainEvent } from '../events.js'
import { AppendFile, type Trouble } from './append-file.js'

/** `tensorboard/` of a run: scalars of steps and evaluations, by the run's step. Each start of the run has a file. */
export class TensorBoardLog {
  private readonly file: AppendFile

  /** @param step steps done before; of what an interrupted run wrote after them, TensorBoard shows nothing */
  constructor(out: string, step: number, trouble: Trouble) {
    // TensorBoard reads the files of a folder in the order of their names: that must be the order of the starts.
    const time = (Date.now() / 1000).toFixed(3)
    const name = `events.out.tfevents.${time}.${hostname()}.${process.pid}`
    this.file = new AppendFile(join(out, 'tensorboard', name), 0, trouble)
    this.file.append(record([...eventHead(Date.now(), 0), ...bytesField(3, Buffer.from('brain.Event:2'))]))
    const start = [...tag(1, 0), 1] // SessionLog.status START
    if (step > 0) this.file.append(record([...eventHead(Date.now(), step + 1), ...bytesField(7, start)]))
  }

  write(event: TrainEvent): void {
    const scalars = scalarsOf(event)
    if (!scalars) return
    const values = Object.entries(scalars).flatMap(([name, value]) =>
      bytesField(1, [...bytesField(1, Buffer.from(name)), ...floatField(2, value)]),
    )
    const { globalStep } = event as { globalStep: number }
    this.file.append(record([...eventHead(Date.now(), globalStep), ...bytesField(5, values)]))
  }

  close(): void {
    this.file.close()
  }
}

function scalarsOf(event: TrainEvent): Record<string, number> | null {
  if (event.type === 'step') {
    const { loss, losses = {}, learningRate, gradientNorm, temperature, tokensPerSecond, dataWaitMs, memory } = event
    return {
      'train/loss': loss,
      ...Object.fromEntries(Object.entries(losses).map(([name, value]) => [`train/loss/${name}`, value])),
      'train/learning_rate': learningRate,
      'train/gradient_norm': gradientNorm,
      ...(temperature !== undefined && { 'train/temperature': temperature }),
      'speed/tokens_per_second': tokensPerSecond,
      'speed/data_wait_ms': dataWaitMs,
      'speed/memory_bytes': memory,
    }
  }
  if (event.type !== 'eval') return null
  return Object.fromEntries(Object.entries(event.metrics).map(([name, value]) => [`eval/${name}`, value]))
}

// Protocol buffers' wire format: a tag (field number, wire type), then the value.
const tag = (field: number, type: number): number[] => varint((field << 3) | type)
const bytesField = (field: number, bytes: ArrayLike<number> & Iterable<number>): number[] => [
  ...tag(field, 2),
  ...varint(bytes.length),
  ...bytes,
]
const floatField = (field: number, value: number): number[] => [
  ...tag(field, 5),
  ...new Uint8Array(Float32Array.of(value).buffer),
]

/** Fields 1 and 2 of an Event: seconds since 1970, and the step. */
const eventHead = (milliseconds: number, step: number): number[] => [
  ...tag(1, 1),
  ...new Uint8Array(Float64Array.of(milliseconds / 1000).buffer),
  ...tag(2, 0),
  ...varint(step),
]

function varint(value: number): number[] {
  const bytes: number[] = []
  let rest = value
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128)
  return [...bytes, rest]
}

function record(data: readonly number[]): Buffer {
  const buffer = Buffer.alloc(data.length + 16)
  buffer.writeBigUInt64LE(BigInt(data.length), 0)
  buffer.writeUInt32LE(masked(buffer.subarray(0, 8)), 8)
  buffer.set(data, 12)
  buffer.writeUInt32LE(masked(buffer.subarray(12, 12 + data.length)), 12 + data.length)
  return buffer
}

/** CRC-32C (Castagnoli), rotated and offset so that checksums of checksums are no trouble. */
function masked(bytes: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1
  }
  crc = (crc ^ 0xffffffff) >>> 0
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0
}
