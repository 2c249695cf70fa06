import { existsSync } from 'node:fs'
import { backendPath } from '../backends.js'
import { GroupError } from '../errors.js'
import { type GroupStats, native } from '../native.js'
import { above, checkOptions, kind, number } from '../options.js'
import { Tensor } from '../tensor/tensor.js'
import { launcherOf, type Mpi, mpiOf, mpis } from './launcher.js'

/**
 * A collective that is under way. Its result may be used once `wait()` was called: that enters the wait into the
 * device's stream and returns at once. What it works on may be disposed of, but not read or written, before.
 */
export interface Pending {
  /** Makes later ops on the stream wait for the collective; once. @returns its result, usable from now on */
  wait(): Tensor
}

/**
 * Ranks that train together, one process each. Collectives are asynchronous, are issued in an order that is the same on
 * every rank, and run beside the device's stream. Sums and maxima are taken in rank order: the same bits on every rank
 * and in every run. "Rows" are indices of dimension 0.
 */
export interface ProcessGroup {
  /** This process's number, from 0. */
  readonly rank: number
  /** Number of processes. */
  readonly size: number
  /** All ranks' rows, in rank order; rank r contributes rows[r]. A new tensor. */
  allGather(tensor: Tensor, rows: readonly number[]): Pending
  /** The first send[0] rows go to rank 0, and so on; receive[r] rows come from rank r, in rank order. A new tensor. */
  allToAll(tensor: Tensor, send: readonly number[], receive: readonly number[]): Pending
  /** In place. */
  allReduceSum(tensor: Tensor): Pending
  /** Element-wise maximum over ranks, in place. */
  allReduceMax(tensor: Tensor): Pending
  /** Rank `root`'s contents, in place on all ranks. */
  broadcast(tensor: Tensor, root: number): Pending
  /** Every rank's bytes, in rank order. Also a barrier: it settles once all have called it. */
  exchange(bytes: Uint8Array): Promise<Uint8Array[]>
  /** Says where the program is, for the record of a failure. */
  mark(progress: string): void
}

const already = (tensor: Tensor): Pending => ({ wait: () => tensor })

/** One process on its own: everything is already done. */
export const singleProcess: ProcessGroup = {
  rank: 0,
  size: 1,
  allGather: (tensor) => already(tensor.view(0, tensor.shape)),
  allToAll: (tensor) => already(tensor.view(0, tensor.shape)),
  allReduceSum: already,
  allReduceMax: already,
  broadcast: already,
  exchange: async (bytes) => [bytes.slice()],
  mark() {},
}

/** Numbers of native/distributed/group.h. */
const kinds = { allGather: 0, allToAll: 1, allReduceSum: 2, allReduceMax: 3, broadcast: 4 } as const

/** Settings of `RankGroup.configure`. */
export interface GroupSettings {
  /** Seconds one collective may take, from the moment this rank is ready for it. Default 600. */
  deadline?: number
  /**
   * The same of `exchange`, in which ranks wait for what another one does in the meantime: a heartbeat that notices when
   * it no longer does it may take the place of a deadline. Default `deadline`.
   */
  exchangeDeadline?: number
  /** Seconds between a failure and the end of the processes, so that every living rank can tell its part. Default 2. */
  grace?: number
  /** File written when the group fails: which rank, which collective, where the program was. */
  record?: string
}

/** Exit code of the processes when a rank is lost or the ranks disagree. */
export const groupExitCode = 9

/**
 * The ranks that `mpirun` or `srun` started. A failure (a lost rank, a deadline, ranks that disagree) is final: reads
 * and exchanges reject with ERR_GROUP, the record is written, and after the grace period every process of the job ends
 * with `groupExitCode`.
 */
export class RankGroup implements ProcessGroup {
  /** This process's number, from 0. */
  readonly rank: number
  /** Number of processes. */
  readonly size: number
  private static joined: RankGroup | undefined
  private closed = false
  private marked = ''

  private constructor(rank: number, size: number) {
    this.rank = rank
    this.size = size
  }

  /**
   * Joins the job this process was started in; the same group every time. MPI is the transport: the one of what started
   * the process, or of LATEFORGE_MPI.
   * @throws GroupError ERR_GROUP when its transport or its library is not here, when MPI refuses, or when it sees fewer ranks
   * than were started; ConfigError ERR_CONFIG for an unknown LATEFORGE_MPI
   */
  static join(): RankGroup {
    if (RankGroup.joined) return RankGroup.joined
    const { rank, size } = native().groupOpen(transportPath())
    const launcher = launcherOf()
    if (launcher && size < Number(process.env[launcher.size])) {
      native().groupClose()
      throw new GroupError(
        'ERR_GROUP',
        `${launcher.title} started ${process.env[launcher.size]} ranks, and ${mpis[mpiOf().mpi].title} sees ${size}: it is not ` +
          'the MPI of what started them. Start them by its own mpirun, or set LATEFORGE_MPI to openmpi or mpich',
        { launcher: launcher.title, size },
      )
    }
    const group = new RankGroup(rank, size)
    group.configure({})
    // A process that leaves MPI without a word takes the whole job down; one that fails by itself should. Where it is
    // the group that has failed, the watchdog ends the process, with its exit code.
    process.on('exit', (code) => {
      if (code === 0 || group.failure()) group.close()
    })
    return (RankGroup.joined = group)
  }

  /** Replaces all settings. */
  configure(settings: GroupSettings): void {
    const seconds = above(0)
    checkOptions('configure', settings, {
      deadline: seconds,
      exchangeDeadline: seconds,
      grace: number(0),
      record: kind('the name of a file', (v) => typeof v === 'string'),
    })
    const { deadline = 600, exchangeDeadline = deadline, grace = 2, record = '' } = settings
    native().groupConfigure(deadline, exchangeDeadline, grace, groupExitCode, record)
  }

  allGather(tensor: Tensor, rows: readonly number[]): Pending {
    return this.collective(kinds.allGather, tensor, null, rows)
  }

  allToAll(tensor: Tensor, send: readonly number[], receive: readonly number[]): Pending {
    return this.collective(kinds.allToAll, tensor, send, receive)
  }

  allReduceSum(tensor: Tensor): Pending {
    return this.collective(kinds.allReduceSum, tensor)
  }

  /** Element-wise maximum over ranks, in place. */
  allReduceMax(tensor: Tensor): Pending {
    return this.collective(kinds.allReduceMax, tensor)
  }

  /** Rank `root`'s contents, in place on all ranks. */
  broadcast(tensor: Tensor, root: number): Pending {
    return this.collective(kinds.broadcast, tensor, null, null, root)
  }

  exchange(bytes: Uint8Array): Promise<Uint8Array[]> {
    return native().groupExchange(bytes)
  }

  mark(progress: string): void {
    this.marked = progress
    native().groupMark(progress)
  }

  /** What `mark` was told last. */
  get progress(): string {
    return this.marked
  }

  /** Makes the group fail, e.g. because a rank no longer answers. Only the first failure counts. */
  fail(reason: string, missing = -1): void {
    native().groupFail(reason, missing)
  }

  /** Why the group has failed, and which rank is held responsible, or −1; null while it works. */
  failure(): {
    /** What happened. */
    reason: string
    /** The rank held responsible, or −1. */
    missing: number
  } | null {
    return native().groupFailure()
  }

  /** Bytes sent and calls by collective, and the seconds spent in them, since the start. */
  stats(): GroupStats {
    return native().groupStats()
  }

  /**
   * Leaves the job in good order; every rank calls it, at the latest when its process ends, and it returns when all have.
   */
  close(): void {
    if (this.closed) return
    this.closed = true
    native().groupClose()
  }

  private collective(
    kind: number,
    tensor: Tensor,
    send: readonly number[] | null = null,
    receive: readonly number[] | null = null,
    root = 0,
  ): Pending {
    const [handle, ticket] = native().groupCollective(kind, tensor.handle, send, receive, root)
    const rows = receive?.reduce((sum, n) => sum + n, 0)
    const result = handle ? new Tensor(tensor.device, handle, tensor.dtype, [rows!, ...tensor.shape.slice(1)]) : tensor
    let waited = false
    return {
      wait() {
        if (waited) throw new GroupError('ERR_GROUP', 'a collective is waited for once')
        waited = true
        native().groupWait(ticket)
        return result
      },
    }
  }
}

/** Where the transport of an MPI is, where this build has it. */
export const transportOf = (mpi: Mpi): string => backendPath(`lateforge_mpi_${mpi}`)

/** The transport to join by, with the MPI it needs loaded. @throws GroupError ERR_GROUP when one of the two is not here */
function transportPath(): string {
  const { mpi, because } = mpiOf()
  const { title, libraries, debian } = mpis[mpi]
  const other = mpi === 'openmpi' ? 'mpich' : 'openmpi'
  const chosen = `ranks need ${title}, because ${because}`
  const path = transportOf(mpi)
  if (!existsSync(path))
    throw new GroupError(
      'ERR_GROUP',
      `${chosen}, and its transport is not in this build: ${path} does not exist. ` +
        `Start the ranks by ${mpis[other].title}, or build in a source checkout with the headers of ${title}: npm run setup`,
      { mpi, path },
    )
  const refusals = native().shareLibrary(libraries)
  if (refusals.length > 0)
    throw new GroupError(
      'ERR_GROUP',
      `${chosen}, and its library cannot be loaded: ${refusals.join('; ')}. Install it (Debian: apt-get install ${debian}), ` +
        `or put its folder into LD_LIBRARY_PATH; LATEFORGE_MPI=${other} takes ${mpis[other].title} instead`,
      { mpi, libraries },
    )
  return path
}
