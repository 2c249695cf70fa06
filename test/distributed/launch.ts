import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import path from 'node:path'

/** Why tests with several ranks cannot run here, or false. */
export const withoutRanks: string | false = !existsSync('build/Release/lateforge_mpi_openmpi.so')
  ? 'no MPI was found when the addon was built'
  : spawnSync('mpirun', ['--version']).status !== 0 && 'mpirun is not installed'

/** The same of MPICH, under the name that Debian gives its mpirun beside another's. */
export const withoutMpich: string | false = !existsSync('build/Release/lateforge_mpi_mpich.so')
  ? 'no MPICH was found when the addon was built'
  : spawnSync('mpirun.mpich', ['--version']).status !== 0 && 'mpirun.mpich is not installed'

/** What a test needs of Open MPI here: root, more ranks than cores, no binding, and no ptrace between processes. */
export const mpiEnvironment: NodeJS.ProcessEnv = {
  ...process.env,
  OMPI_ALLOW_RUN_AS_ROOT: '1',
  OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: '1',
  OMPI_MCA_rmaps_base_oversubscribe: '1',
  OMPI_MCA_hwloc_base_binding_policy: 'none',
  OMPI_MCA_btl_vader_single_copy_mechanism: 'none',
  LATEFORGE_THREADS: '1',
}

export interface RankRun {
  status: number | null
  /** What each rank reported, in rank order. */
  reports: Record<string, unknown>[]
  stdout: string
  stderr: string
}

/** Runs a compiled script of this folder on `ranks` ranks. Each reports by `report` of rank.ts. */
export function mpirun(
  ranks: number,
  script: string,
  args: string[] = [],
  seconds = 240,
  env: NodeJS.ProcessEnv = {},
): RankRun {
  const file = path.resolve('build/js/test/distributed', `${script}.js`)
  const result = spawnSync(
    'timeout',
    ['-k', '5', `${seconds}`, 'mpirun', '-n', `${ranks}`, process.execPath, file, ...args],
    {
      encoding: 'utf8',
      env: { ...mpiEnvironment, ...env },
      maxBuffer: 1 << 28,
    },
  )
  const reports = result.stdout
    .split('\n')
    .filter((line) => line.startsWith('{"rank":'))
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .sort((a, b) => (a.rank as number) - (b.rank as number))
  return { status: result.status, reports, stdout: result.stdout, stderr: result.stderr }
}
