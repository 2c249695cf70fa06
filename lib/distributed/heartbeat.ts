/**
 * Ranks tell rank 0 once a second that they live and where they are, and rank 0 tells them; over TCP and from the
 * JavaScript loop, which no collective blocks. A rank that falls silent, hangs up without a goodbye or ends with an error
 * is named to every living rank, and the group fails: each writes its record, then the job ends (lib/distributed/group.ts).
 */
import { join } from 'node:path'
import { durationFrom } from '../environment.js'
import { ArgumentError, GroupError, LateforgeError } from '../errors.js'
import { type GroupSettings, type ProcessGroup, RankGroup } from './group.js'
import { type Line, listen, type Message, reach, type Whereabouts } from './rendezvous.js'

export interface HeartbeatOptions {
  /** Seconds between two beats. Default 1. */
  interval?: number
  /** Seconds without a beat after which a rank counts as lost. Default LATEFORGE_RANK_SILENCE, or 8. */
  silence?: number
  /** Seconds one collective may take. Default LATEFORGE_COLLECTIVE_DEADLINE, or 600. */
  deadline?: number
  /** Folder for the records of a failure, rank-0.json and so on. Default: none are written. */
  records?: string
}

export interface Heartbeat {
  /**
   * This rank ends: in good order, or for an `error`, which the other ranks are told unless they end as well. It is
   * neither watched nor watches any more.
   */
  close(error?: unknown): void
}

/** How often silence is looked for; and how long a rank whose peer ended with an error may take to do the same. */
const lookMs = 250
const togetherMs = 400

/**
 * Starts the heartbeat; every rank calls it, and it settles once all are connected. Nothing of it keeps a process alive.
 * @throws GroupError ERR_GROUP, on every rank, when one does not reach rank 0; ConfigError ERR_CONFIG for a variable that
 * is no time
 */
export async function startHeartbeat(group: ProcessGroup, options: HeartbeatOptions = {}): Promise<Heartbeat> {
  if (!(group instanceof RankGroup)) return { close() {} }
  const silence = options.silence ?? durationFrom('LATEFORGE_RANK_SILENCE', 8)
  const deadline = options.deadline ?? durationFrom('LATEFORGE_COLLECTIVE_DEADLINE', 600)
  for (const [name, value] of Object.entries({ silence, deadline }))
    if (!(value > 0)) throw new ArgumentError('ERR_ARGUMENT', `${name} is ${value}; expected seconds above 0`, { name })
  const { interval = Math.min(1, silence / 4), records } = options
  const settings = { deadline, record: records && join(records, `rank-${group.rank}.json`) }
  group.configure(settings)
  if (group.size === 1) return { close() {} }
  const meeting = group.rank === 0 ? await listen(group.size) : null
  const [told] = await group.exchange(Buffer.from(JSON.stringify(meeting?.whereabouts ?? null)))
  const whereabouts = JSON.parse(Buffer.from(told!).toString()) as Whereabouts
  let lines: ReadonlyMap<number, Line> = new Map()
  let problem = ''
  try {
    lines = meeting ? await meeting.lines : new Map([[0, await reach(whereabouts, group.rank)]])
  } catch (error) {
    problem = (error as Error).message
  }
  const problems = (await group.exchange(Buffer.from(problem))).map((bytes) => Buffer.from(bytes).toString())
  const rank = problems.findIndex((text) => text !== '')
  if (rank >= 0) {
    for (const { socket } of lines.values()) socket.destroy()
    throw new GroupError(
      'ERR_GROUP',
      `rank ${rank}: ${problems[rank]}. Ranks must reach the machine of rank 0 by TCP, on any port`,
      { rank },
    )
  }
  // From here on, whoever another rank waits for is known to live: it may tokenize for hours.
  group.configure({ ...settings, exchangeDeadline: Number.MAX_SAFE_INTEGER })
  return new Pulse(group, settings, lines, interval * 1000, silence * 1000)
}

interface Peer {
  line: Line
  heard: number
  progress: string
  /** It has said why it ends. */
  ended: boolean
}

class Pulse implements Heartbeat {
  private readonly group: RankGroup
  private readonly settings: GroupSettings
  private readonly peers = new Map<number, Peer>()
  private readonly interval: number
  private readonly silence: number
  private readonly timer: NodeJS.Timeout
  private beaten = 0
  private looked = performance.now()
  private told = false
  private closed = false

  /** Times are milliseconds. */
  constructor(
    group: RankGroup,
    settings: GroupSettings,
    lines: ReadonlyMap<number, Line>,
    interval: number,
    silence: number,
  ) {
    this.group = group
    this.settings = settings
    this.interval = interval
    this.silence = silence
    for (const [rank, line] of lines) {
      const peer: Peer = { line, heard: performance.now(), progress: '', ended: false }
      this.peers.set(rank, peer)
      line.socket.unref()
      line.onMessage = (message) => this.receive(rank, peer, message)
      line.onEnd = () => this.hungUp(rank, peer)
      if (line.socket.destroyed) setImmediate(line.onEnd)
    }
    this.timer = setInterval(() => this.look(), Math.min(lookMs, interval)).unref()
    process.prependListener('exit', this.onExit)
    process.on('SIGTERM', this.onTerminate)
  }

  close(error?: unknown): void {
    if (this.closed) return
    if (error instanceof GroupError) {
      this.fail(error.message, -1) // and goes on: the others may have to be told
      return
    }
    const rank = this.group.rank
    const message = error instanceof LateforgeError ? `${error.code} ${error.message}` : String(error)
    const end = error === undefined ? { type: 'goodbye' } : { type: 'ended', reason: `rank ${rank} ended: ${message}` }
    if (!this.told) this.say(end)
    this.closed = true
    this.group.configure(this.settings)
    clearInterval(this.timer)
    process.off('exit', this.onExit)
    process.off('SIGTERM', this.onTerminate)
    for (const { line } of this.peers.values()) {
      line.onEnd = () => {}
      line.socket.end()
    }
  }

  private readonly onExit = (code: number): void => this.close(code === 0 ? undefined : `exit code ${code}`)

  /**
   * When a rank is killed or a link cut, mpirun ends the others by SIGTERM, at once or before the silence has lasted.
   * Who has missed half of it is named then; and where nobody else handles the signal, this leaves the time to hear why.
   */
  private readonly onTerminate = (): void => {
    this.look(this.silence / 2)
    if (process.listenerCount('SIGTERM') > 1) return
    setTimeout(() => {
      process.off('SIGTERM', this.onTerminate)
      process.kill(process.pid, 'SIGTERM')
    }, 2 * togetherMs)
  }

  private say(message: Message, except = -1): void {
    for (const [rank, { line }] of this.peers) if (rank !== except) line.send(message)
  }

  private look(silence = this.silence): void {
    const now = performance.now()
    // This process was stopped or busy: what the others sent meanwhile has not been read yet.
    if (now - this.looked > this.silence / 4)
      for (const peer of this.peers.values()) peer.heard = Math.max(peer.heard, now - this.silence / 2)
    this.looked = now
    const failure = this.group.failure()
    if (failure) this.tell(failure.reason, failure.missing)
    if (now - this.beaten >= this.interval) {
      this.beaten = now
      this.say({ type: 'beat', progress: this.group.progress })
    }
    for (const [rank, peer] of this.peers)
      if (!this.told && now - peer.heard > silence)
        this.fail(`rank ${rank} was last heard ${((now - peer.heard) / 1000).toFixed(1)} s ago${at(peer)}`, rank)
  }

  private receive(rank: number, peer: Peer, message: Message): void {
    peer.heard = performance.now()
    if (message.type === 'beat') peer.progress = text(message.progress, 200)
    else if (message.type === 'goodbye') this.peers.delete(rank)
    else if (message.type === 'ended') {
      peer.ended = true
      setTimeout(() => this.fail(`${text(message.reason, 1000)}${at(peer)}`, rank), togetherMs).unref()
    } else if (message.type === 'failed')
      this.fail(text(message.reason, 1000), Number.isInteger(message.missing) ? Number(message.missing) : -1, rank)
  }

  private hungUp(rank: number, peer: Peer): void {
    if (!peer.ended && this.peers.get(rank) === peer)
      this.fail(`rank ${rank} hung up without a goodbye, so its process has ended${at(peer)}`, rank)
  }

  private fail(reason: string, missing: number, heardFrom = -1): void {
    if (this.closed) return
    this.group.fail(reason, missing)
    this.tell(reason, missing, heardFrom)
  }

  /** What one rank knows all others write down; rank 0 passes it on. */
  private tell(reason: string, missing: number, heardFrom = -1): void {
    if (this.told) return
    this.told = true
    this.say({ type: 'failed', reason: text(reason, 1000), missing }, heardFrom)
    for (const peer of this.peers.values()) peer.ended = true
    clearInterval(this.timer)
  }
}

const text = (value: unknown, most: number): string => String(value).slice(0, most)

const at = ({ progress }: Peer): string => (progress ? `, at ${progress}` : '')
