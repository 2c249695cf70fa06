/**
 * A whole training in mixed precision by the CUDA kernels, run on the host: three phases from a config that says
 * nothing but where, an interruption, and files that are the same as any other training's.
 */
import path from 'node:path'
import t from 'tap'
import { SafetensorsFile } from '../../lib/io/safetensors.js'
import { Colbert } from '../../lib/models/colbert.js'
import { Device } from '../../lib/tensor/device.js'
import { train } from '../../lib/train/loop/run.js'
import { bitsOf, folder, saveTinyModel, threePhases, tinyRun } from '../train/tiny.js'

t.test('device: cuda-host', async (t) => {
  const dir = folder(t)
  const start = path.join(dir, 'base')
  await saveTinyModel(start)
  const device = Device.open('cuda-host')
  const before = device.memory().tensors
  const phases = threePhases(dir, 4, { checkpoint: { every: 2 } })
  const config = (out: string, on = 'cuda-host') => ({ ...tinyRun(dir, start, out, phases), device: on })

  const losses: Record<string, number[]> = {}
  const follow = async (out: string, on: string, signal?: AbortSignal, at?: () => void) => {
    const run = train(config(out, on), { signal, resume: 'auto' })
    losses[out] ??= []
    const read = (async () => {
      for await (const e of run)
        if (e.type === 'step') {
          losses[out]!.push(e.loss)
          if (e.globalStep === 5) at?.()
        }
    })()
    const [result] = await Promise.all([run.result, read])
    return result
  }
  const whole = await follow('whole', 'cuda-host')
  t.same([whole.model.precision, whole.model.device.name], ['bfloat16', 'cuda-host'], 'mixed precision by itself')
  const last = whole.phases[2]!.checkpoint

  const stopper = new AbortController()
  await t.rejects(
    follow('halves', 'cuda-host', stopper.signal, () => stopper.abort()),
    { code: 'ERR_ABORTED' },
  )
  const halves = await follow('halves', 'cuda-host')
  t.equal(bitsOf(halves.phases[2]!.checkpoint), bitsOf(last), 'interrupted and resumed: the same bits')
  halves.model.dispose()

  const cpu = await follow('cpu', 'cpu')
  cpu.model.dispose()
  t.equal(losses.cpu!.length, 12)
  const sum = (list: number[]) => list.reduce((total, x) => total + x, 0)
  const off = sum(losses.cpu!.map((want, i) => Math.abs(losses.whole![i]! - want))) / sum(losses.cpu!)
  t.ok(off < 0.03, `losses are those of the CPU but for rounding: ${off}`)
  t.ok(off > 1e-6, 'which there is')

  await using file = await SafetensorsFile.open(path.join(last, 'model/model.safetensors'))
  t.ok(
    [...file.tensors.values()].every((tensor) => tensor.dtype === 'F32'),
    'checkpoints hold what the optimiser has',
  )
  using there = await Colbert.load(path.join(last, 'model'))
  const texts = ['w1 w2 w3', 'w4 w5 w6 w7']
  const [here, onCpu] = [await whole.model.encodeDocuments(texts), await there.encodeDocuments(texts)]
  const most = here.data.reduce((most, x, i) => Math.max(most, Math.abs(x - onCpu.data[i]!)), 0)
  t.ok(most > 0 && most < 0.02, `the CPU loads it, in float32: ${most}`)
  whole.model.dispose()
  await t.rejects(train({ ...config('halves', 'cpu') }, { resume: 'auto' }).result, {
    code: 'ERR_CHECKPOINT',
    message: /device|precision/,
  })
  await device.synchronize()
  t.equal(device.memory().tensors, before, 'nothing leaks')
})
