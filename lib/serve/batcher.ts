/**
 * Texts of many requests, encoded together. While the device computes one batch the next is gathered from whatever has come
 * meanwhile: a quiet server waits for nothing, a busy one fills its batches.
 */
import { columnOf, lengthIn } from '../data/column.js'
import type { Colbert } from '../models/colbert.js'
import { encodeColumn } from '../models/encode.js'
import { joinedRagged } from '../ragged.js'
import type { Embeddings, Role } from '../retrieval/embeddings.js'
import type { Featurizer, TextFeatures } from '../text/featurizer.js'
import type { Limits } from './options.js'
import { left, refusal } from './refusal.js'

/** Batches at the device: one that it computes, and one that it finds when it is done with that. */
const ahead = 2

/** Texts of one request and side. */
interface Job {
  role: Role
  texts: readonly TextFeatures[]
  /** Texts that have gone to the device. */
  taken: number
  /** Embeddings of texts that have come back, in order of the texts. */
  made: { first: number; data: Float32Array; offsets: number[] }[]
  /** Texts that have come back. */
  done: number
  settled: boolean
  resolve(embeddings: Embeddings): void
  reject(error: unknown): void
}

/** Texts `first` to `last` of a job. */
interface Share {
  job: Job
  first: number
  last: number
}

/** Told of what is computed. */
export interface BatchObserver {
  /** A batch goes to the device: its tokens. */
  onBatch(role: Role, tokens: number): void
}

/** Encodes texts of many callers in batches of so many tokens. */
export class Batcher {
  /** Tokens of texts that have not gone to the device. */
  waitingTokens = 0
  /** The device is gone, and with it this process's use. */
  lost = false
  private readonly model: Colbert
  private readonly featurizer: Featurizer
  private readonly limits: Pick<Limits, 'batchTokens' | 'maxTokens' | 'maxQueueTokens'>
  private readonly observer: BatchObserver
  private line: Job[] = []
  private running = 0
  /** Tokens in a second, lately; 0 until something was computed. */
  private rate = 0
  private last = performance.now()

  constructor(model: Colbert, limits: Batcher['limits'], observer: BatchObserver) {
    this.model = model
    this.featurizer = model.featurizer
    this.limits = limits
    this.observer = observer
  }

  /** Tokens of texts, as they are counted everywhere here. */
  tokensOf(texts: readonly TextFeatures[], role: Role): number {
    return texts.reduce((sum, text) => sum + lengthIn(this.featurizer, text, role), 0)
  }

  /** @throws RequestError where so many tokens more must not wait */
  admit(tokens: number): void {
    const { maxTokens, maxQueueTokens } = this.limits
    if (tokens > maxTokens) throw refusal('tokens', `the texts have ${tokens} tokens, at most ${maxTokens} are taken`)
    if (this.waitingTokens + tokens <= maxQueueTokens) return
    throw refusal('full', `${this.waitingTokens} tokens wait to be encoded; try again later`, this.retryAfter())
  }

  /** When it is worth while to come again: in seconds, when what waits has gone. */
  retryAfter(): { 'retry-after': string } {
    const seconds = this.rate > 0 ? Math.ceil(this.waitingTokens / this.rate) : 1
    return { 'retry-after': `${Math.min(60, Math.max(1, seconds))}` }
  }

  /**
   * Embeddings of texts, in order. What has not gone to the device when the signal fires never does.
   * @throws RequestError when the signal fires; what the device throws
   */
  encode<R extends Role>(role: R, texts: readonly TextFeatures[], signal: AbortSignal): Promise<Embeddings<R>> {
    return new Promise<Embeddings>((resolve, reject) => {
      if (signal.aborted) return reject(left())
      const drop = () => this.settle(job, () => reject(left()))
      const job: Job = {
        ...{ role, texts, taken: 0, made: [], done: 0, settled: false },
        resolve: (embeddings) => this.settle(job, () => resolve(embeddings)),
        reject: (error) => this.settle(job, () => reject(error)),
      }
      signal.addEventListener('abort', drop, { once: true })
      if (texts.length === 0) return job.resolve(this.joined(job))
      this.waitingTokens += this.tokensOf(texts, role)
      this.line.push(job)
      this.pump()
    }) as Promise<Embeddings<R>>
  }

  /** Ends a job, with whatever of it still waits. */
  private settle(job: Job, tell: () => void): void {
    if (job.settled) return
    job.settled = true
    if (job.taken < job.texts.length) {
      this.waitingTokens -= this.tokensOf(job.texts.slice(job.taken), job.role)
      this.line.splice(this.line.indexOf(job), 1)
    }
    tell()
  }

  private pump(): void {
    while (this.running < ahead && this.line.length > 0) {
      this.running++
      void this.compute(this.nextBatch()).finally(() => {
        this.running--
        this.pump()
      })
    }
  }

  /**
   * Texts of one side, of as many jobs as fit, in the order they came. What is left of a job waits behind those that have come
   * meanwhile, so that a long one does not hold up the short.
   */
  private nextBatch(): Share[] {
    const { role } = this.line[0]!
    let room = this.limits.batchTokens
    const shares: Share[] = []
    const begun: Job[] = []
    const others: Job[] = []
    for (const job of this.line) {
      const first = job.taken
      while (job.role === role && job.taken < job.texts.length) {
        const tokens = lengthIn(this.featurizer, job.texts[job.taken]!, role)
        if (tokens > room && (shares.length > 0 || job.taken > first)) {
          room = 0
          break
        }
        room -= tokens
        this.waitingTokens -= tokens
        job.taken++
      }
      if (job.taken > first) shares.push({ job, first, last: job.taken })
      if (job.taken < job.texts.length) (job.taken > first ? begun : others).push(job)
    }
    this.line = [...others, ...begun]
    return shares
  }

  /** Encodes a batch and hands out what comes of it. */
  private async compute(shares: readonly Share[]): Promise<void> {
    const { role } = shares[0]!.job
    const texts = shares.flatMap(({ job, first, last }) => job.texts.slice(first, last))
    const tokens = this.tokensOf(texts, role)
    if (this.running === 1) this.last = performance.now() // what was idle before is no part of the rate
    this.observer.onBatch(role, tokens)
    try {
      const { data, offsets, dim } = await encodeColumn(this.model, role, columnOf(this.featurizer, texts, role))
      this.measure(tokens)
      let text = 0
      for (const { job, first, last } of shares) {
        const rows = Array.from({ length: last - first + 1 }, (_, i) => offsets[text + i]!)
        text += last - first
        if (job.settled) continue
        job.made.push({
          first,
          data: data.slice(rows[0]! * dim, rows.at(-1)! * dim), // a copy: the batch's own array is let go
          offsets: rows,
        })
        job.done += last - first
        if (job.done === job.texts.length) job.resolve(this.joined(job))
      }
    } catch (error) {
      for (const { job } of shares) job.reject(error)
      // Until then whatever is asked of the device would fail with the same error.
      await this.model.device.synchronize().catch(() => (this.lost = true))
    }
  }

  private measure(tokens: number): void {
    const now = performance.now()
    const rate = (1000 * tokens) / Math.max(1, now - this.last)
    this.last = now
    this.rate += (rate - this.rate) * (this.rate > 0 ? 0.1 : 1)
  }

  private joined({ role, made, texts }: Job): Embeddings {
    made.sort((a, b) => a.first - b.first)
    const { dim, recipe } = this.model
    return { role, ...joinedRagged(made), dim, recipe, truncated: texts.filter((text) => text.truncated).length }
  }
}
