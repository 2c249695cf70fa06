/** Who is a rank of a job: what launchers say in the environment, and what only looks like it. */
import t from 'tap'
import { mpiOf, startedByLauncher } from '../../lib/distributed/launcher.js'

t.test('ranks of several, and processes on their own', async (t) => {
  for (const env of [
    { OMPI_COMM_WORLD_RANK: '1', OMPI_COMM_WORLD_SIZE: '2', PMIX_RANK: '1' },
    { PMI_RANK: '0', PMI_SIZE: '4' }, // MPICH, Intel
    { PMIX_RANK: '3', SLURM_STEP_NUM_TASKS: '8' }, // srun --mpi=pmix
    { PMI_RANK: '3', SLURM_STEP_NUM_TASKS: '8' }, // srun --mpi=pmi2
  ])
    t.ok(startedByLauncher(env), JSON.stringify(env))
  for (const env of [
    {},
    { PMIX_RANK: '0', SLURM_STEP_NUM_TASKS: '1' }, // a shell inside srun --pty
    { PMI_RANK: '0', PMI_SIZE: '1' },
    { PMIX_RANK: '0' },
    { PMI_RANK: '0' },
    { OMPI_COMM_WORLD_RANK: '0', OMPI_COMM_WORLD_SIZE: '1' }, // mpirun -n 1
    { SLURM_STEP_NUM_TASKS: '8' }, // srun --mpi=none: eight processes that know nothing of each other
    { PMI_RANK: '0', PMI_SIZE: 'many' },
  ])
    t.notOk(startedByLauncher(env), JSON.stringify(env))
})

t.test('the MPI of what started the process', async (t) => {
  for (const [env, mpi, because] of [
    [{ OMPI_COMM_WORLD_RANK: '1', OMPI_COMM_WORLD_SIZE: '2', PMIX_RANK: '1' }, 'openmpi', "Open MPI's mpirun"],
    [{ PMI_RANK: '0', PMI_SIZE: '4' }, 'mpich', 'mpiexec of MPICH or Intel MPI'],
    [{ PMIX_RANK: '3', SLURM_STEP_NUM_TASKS: '8' }, 'openmpi', 'srun --mpi=pmix'],
    [{ PMI_RANK: '3', SLURM_STEP_NUM_TASKS: '8' }, 'mpich', 'srun --mpi=pmi2'],
    // mpiexec within a step of Slurm has the variables of both; it is the inner one.
    [{ PMI_RANK: '0', PMI_SIZE: '4', PMIX_RANK: '0', SLURM_STEP_NUM_TASKS: '2' }, 'mpich', 'mpiexec'],
    [{}, 'openmpi', 'nothing started this process'],
    [{ PMI_RANK: '0', PMI_SIZE: '4', LATEFORGE_MPI: 'openmpi' }, 'openmpi', 'LATEFORGE_MPI is openmpi'],
    [{ LATEFORGE_MPI: 'mpich' }, 'mpich', 'LATEFORGE_MPI is mpich'],
  ] as const) {
    const found = mpiOf(env)
    t.equal(found.mpi, mpi, JSON.stringify(env))
    t.match(found.because, because)
  }
  t.throws(() => mpiOf({ LATEFORGE_MPI: 'toString' }), { code: 'ERR_CONFIG' })
})
