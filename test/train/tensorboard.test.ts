/** TensorBoard's event files: whole records with right checksums, the scalars of the log, a new start after a resume. */
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { train } from '../../lib/train/loop/run.js'
import { folder, saveTinyModel, tinyRun, writeData } from './tiny.js'

/** By a table, from the polynomial written the other way round than in the library. */
const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte
  for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (0x82f63b78 & -(crc & 1))
  return crc >>> 0
})
const crc32c = (bytes: Uint8Array): number =>
  ~bytes.reduce((crc, byte) => (crc >>> 8) ^ table[(crc ^ byte) & 255]!, -1) >>> 0
const masked = (crc: number): number => (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0

/** Fields of a message: number, and its value as bytes or a number. */
function* fields(bytes: Buffer): Generator<[number, Buffer | number]> {
  let at = 0
  const varint = (): number => {
    let [value, scale] = [0, 1]
    for (;;) {
      const byte = bytes[at++]!
      value += (byte & 127) * scale
      scale *= 128
      if (byte < 128) return value
    }
  }
  while (at < bytes.length) {
    const key = varint()
    const [field, type] = [key >> 3, key & 7]
    if (type === 0) yield [field, varint()]
    else if (type === 1) yield [field, bytes.readDoubleLE((at += 8) - 8)]
    else if (type === 5) yield [field, bytes.readFloatLE((at += 4) - 4)]
    else {
      const length = varint()
      yield [field, bytes.subarray(at, (at += length))]
    }
  }
}

interface Read {
  step: number
  version?: string
  started?: boolean
  scalars: Record<string, number>
}

function read(file: string): Read[] {
  const bytes = readFileSync(file)
  const events: Read[] = []
  for (let at = 0; at < bytes.length; ) {
    const length = Number(bytes.readBigUInt64LE(at))
    if (masked(crc32c(bytes.subarray(at, at + 8))) !== bytes.readUInt32LE(at + 8)) throw new Error('length')
    const data = bytes.subarray(at + 12, at + 12 + length)
    if (masked(crc32c(data)) !== bytes.readUInt32LE(at + 12 + length)) throw new Error('data')
    const event: Read = { step: 0, scalars: {} }
    for (const [field, value] of fields(data)) {
      if (field === 2) event.step = value as number
      if (field === 3) event.version = String(value)
      if (field === 7) event.started = true
      if (field === 5)
        for (const [, item] of fields(value as Buffer)) {
          const [name, scalar] = [...fields(item as Buffer)].map(([, part]) => part)
          event.scalars[String(name)] = scalar as number
        }
    }
    events.push(event)
    at += length + 16
  }
  return events
}

t.test('a run that was interrupted', async (t) => {
  t.equal(crc32c(Buffer.from('123456789')), 0xe3069283, "the test's own checksum is right")
  const dir = folder(t)
  await saveTinyModel(path.join(dir, 'base'))
  const { pairs } = writeData(dir)
  const phase = { name: 'one', loss: 'contrastive', data: pairs, batch: 8, steps: 60, learningRate: 1e-3 } as const
  const config = tinyRun(dir, path.join(dir, 'base'), 'out', [{ ...phase, evaluate: { every: 3, metric: 'm' } }])
  const stop = new AbortController()
  const seen: { globalStep: number; loss: number; learningRate: number }[] = []
  const evaluate = async () => ({ m: 0.25 })
  const first = train(config, { signal: stop.signal, evaluate })
  try {
    for await (const event of first) if (event.type === 'step' && event.globalStep === 4) stop.abort()
  } catch {} // the abort
  await t.rejects(first.result, { code: 'ERR_ABORTED' })
  const second = train(config, { resume: 'latest', evaluate })
  const evaluated: number[] = []
  for await (const event of second) {
    if (event.type === 'step') seen.push(event)
    if (event.type === 'eval') evaluated.push(event.globalStep)
  }
  ;(await second.result).model.dispose()

  const files = readdirSync(path.join(dir, 'out/tensorboard')).sort()
  t.equal(files.length, 2)
  t.ok(files.every((name) => /^events\.out\.tfevents\.\d{10}\.\d{3}\./.test(name)))
  const [before, after] = files.map((name) => read(path.join(dir, 'out/tensorboard', name)))
  t.match(before![0], { version: 'brain.Event:2', step: 0 })
  t.notOk(before!.some((event) => event.started))
  t.match(after![1], { started: true, step: seen[0]!.globalStep }, 'what an earlier start wrote from here on is void')
  const steps = after!.filter((event) => 'train/loss' in event.scalars)
  t.same(
    steps.map(({ step, scalars }) => [step, scalars['train/loss'], scalars['train/learning_rate']]),
    seen.map((e) => [e.globalStep, Math.fround(e.loss), Math.fround(e.learningRate)]),
  )
  t.match(
    after!.filter((event) => 'eval/m' in event.scalars).map(({ step, scalars }) => [step, scalars]),
    evaluated.map((step) => [step, { 'eval/m': 0.25 }]),
  )
})
