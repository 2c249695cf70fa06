/** What started this process: whether it is a rank of a job, and by which MPI ranks reach each other. */
import { ConfigError } from '../errors.js'

/** The two binary interfaces of MPI. A transport is built for each (native/mpi). */
export type Mpi = 'openmpi' | 'mpich'

interface Interface {
  title: string
  /** Names of the library, in the order in which they are tried. */
  libraries: readonly string[]
  /** Debian's package that has it. */
  debian: string
}

export const mpis: Readonly<Record<Mpi, Interface>> = {
  openmpi: { title: 'Open MPI', libraries: ['libmpi.so.40'], debian: 'libopenmpi3' },
  // Debian renames the library; MPICH itself, Intel MPI and MVAPICH have the second name.
  mpich: { title: 'MPICH or Intel MPI', libraries: ['libmpich.so.12', 'libmpi.so.12'], debian: 'libmpich12' },
}

interface Launcher {
  title: string
  mpi: Mpi
  /** Where it tells a process its rank, and how many there are. PMIx itself does not name the number; Slurm does. */
  rank: string
  size: string
}

/**
 * The first that fits is what started a process: mpirun inside of a job of Slurm adds its variables to those of srun.
 * PMIx is what Open MPI speaks, PMI-2 what MPICH and Intel MPI do.
 */
const launchers: readonly Launcher[] = [
  { title: "Open MPI's mpirun", mpi: 'openmpi', rank: 'OMPI_COMM_WORLD_RANK', size: 'OMPI_COMM_WORLD_SIZE' },
  { title: 'mpiexec of MPICH or Intel MPI', mpi: 'mpich', rank: 'PMI_RANK', size: 'PMI_SIZE' },
  { title: 'srun --mpi=pmix', mpi: 'openmpi', rank: 'PMIX_RANK', size: 'SLURM_STEP_NUM_TASKS' },
  { title: 'srun --mpi=pmi2', mpi: 'mpich', rank: 'PMI_RANK', size: 'SLURM_STEP_NUM_TASKS' },
]

/** What made this process one of several ranks; undefined for a process on its own. */
export function launcherOf(env: NodeJS.ProcessEnv = process.env): Launcher | undefined {
  return launchers.find(({ rank, size }) => env[rank] !== undefined && Number(env[size] ?? 1) > 1)
}

/**
 * Whether mpirun or srun started this process as one of several ranks: they say so in the environment. A process on its
 * own, such as a shell inside `srun --pty` and all it starts, is none and needs no MPI.
 */
export const startedByLauncher = (env: NodeJS.ProcessEnv = process.env): boolean => launcherOf(env) !== undefined

/**
 * The MPI to reach other ranks by, and why that one: LATEFORGE_MPI, or that of the launcher; Open MPI for a process that
 * nothing started.
 * @throws ConfigError ERR_CONFIG when LATEFORGE_MPI names neither
 */
export function mpiOf(env: NodeJS.ProcessEnv = process.env): { mpi: Mpi; because: string } {
  const wanted = env.LATEFORGE_MPI ?? ''
  const launcher = launcherOf(env)
  if (wanted === '')
    return {
      mpi: launcher?.mpi ?? 'openmpi',
      because: launcher ? `${launcher.title} started this process` : 'nothing started this process as a rank',
    }
  if (Object.hasOwn(mpis, wanted)) return { mpi: wanted as Mpi, because: `LATEFORGE_MPI is ${wanted}` }
  throw new ConfigError('ERR_CONFIG', `LATEFORGE_MPI is "${wanted}"; expected openmpi or mpich`, { found: wanted })
}
