/** A job of ranks that things happen to: its processes are found by a mark in their environment, wherever they run. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout } from 'node:timers/promises'
import { mpiEnvironment } from './launch.js'

/** Why two hosts cannot be made of network namespaces here, or false. */
export const withoutHosts: string | false =
  process.getuid?.() !== 0
    ? 'network namespaces need root'
    : spawnSync('ip', ['netns', 'add', 'lf-probe']).status !== 0
      ? 'network namespaces are not to be had here (iproute2, CAP_NET_ADMIN)'
      : spawnSync('ip', ['netns', 'del', 'lf-probe']).status !== 0 && 'network namespaces cannot be removed'

function ip(line: string): void {
  const { status, stderr } = spawnSync('ip', line.split(' '), { encoding: 'utf8' })
  if (status !== 0) throw new Error(`ip ${line}: ${stderr}`)
}

/** Two hosts on one machine, each with a network and a name of its own, and a switch between them. */
export class Hosts {
  /** Starts a command on a host, as mpirun's agent (ssh by default) would. */
  readonly agent: string
  private readonly folder = mkdtempSync(path.join(tmpdir(), 'lateforge-hosts-'))
  private readonly id = `lf${randomBytes(3).toString('hex')}`

  constructor() {
    const { id } = this
    ip(`link add ${id}b type bridge`)
    ip(`link set ${id}b up`)
    for (const n of [1, 2]) {
      ip(`netns add ${id}h${n}`)
      ip(`link add ${id}v${n} type veth peer name eth0 netns ${id}h${n}`)
      ip(`link set ${id}v${n} master ${id}b up`)
      ip(`-n ${id}h${n} addr add 10.77.0.${n}/24 dev eth0`)
      for (const device of ['eth0', 'lo']) ip(`-n ${id}h${n} link set ${device} up`)
    }
    this.agent = path.join(this.folder, 'agent.sh')
    const enter = `exec ip netns exec ${id}h\${n} unshare --uts sh -c "hostname host\${n}; $*"`
    writeFileSync(this.agent, `#!/bin/sh\nn=\${1##*.}; shift\n${enter}\n`)
    chmodSync(this.agent, 0o755)
  }

  /** Nothing gets through any more; neither side is told. */
  cut(): void {
    ip(`link set ${this.id}v2 nomaster`)
  }

  close(): void {
    for (const n of [1, 2]) {
      spawnSync('ip', ['link', 'del', `${this.id}v${n}`])
      spawnSync('ip', ['netns', 'del', `${this.id}h${n}`])
    }
    spawnSync('ip', ['link', 'del', `${this.id}b`])
    rmSync(this.folder, { recursive: true, force: true })
  }
}

/**
 * For ranks on several hosts: which network to use, and how soon a silent daemon on another host is given up (7 s).
 */
const severalHosts = {
  plm_rsh_agent: '',
  btl: 'self,vader,tcp',
  btl_tcp_if_include: '10.77.0.0/24',
  oob_tcp_if_include: '10.77.0.0/24',
  oob_tcp_keepalive_time: '3',
  oob_tcp_keepalive_intvl: '2',
  oob_tcp_keepalive_probes: '2',
}

export class Job {
  readonly ranks: number
  /** The exit code of mpirun. */
  readonly ended: Promise<number | null>
  stderr = ''
  /** For every line that a rank prints. */
  onLine: (line: string) => void = () => {}
  private readonly mark = `LATEFORGE_TEST_JOB=${randomBytes(8).toString('hex')}`
  private readonly child: ChildProcess

  /** Runs a compiled script of this folder; with hosts, the last rank is alone on the second one. */
  constructor(ranks: number, script: string, args: readonly string[], hosts?: Hosts) {
    this.ranks = ranks
    const [key, value] = this.mark.split('=') as [string, string]
    const program = [process.execPath, path.resolve('build/js/test/distributed', `${script}.js`), ...args]
    const options = Object.entries({ ...severalHosts, plm_rsh_agent: hosts?.agent ?? '' })
    const command = hosts
      ? [hosts.agent, '10.77.0.1', 'mpirun', '-H', `10.77.0.1:${ranks - 1},10.77.0.2:1`].concat(
          options.flatMap(([name, value]) => ['--mca', name, value]),
          ['-x', 'LATEFORGE_THREADS', '-x', key],
        )
      : ['mpirun']
    this.child = spawn(command[0]!, [...command.slice(1), '-n', `${ranks}`, ...program], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...mpiEnvironment, [key]: value },
    })
    this.child.stderr!.setEncoding('utf8').on('data', (text) => {
      this.stderr += text
    })
    createInterface({ input: this.child.stdout! }).on('line', (line) => this.onLine(line))
    this.ended = new Promise((resolve) => this.child.on('exit', (code) => resolve(code)))
  }

  /** Every living process of the job, with its rank; −1: mpirun, its daemons and shells. */
  processes(): { pid: number; rank: number }[] {
    const found: { pid: number; rank: number }[] = []
    for (const name of readdirSync('/proc')) {
      if (!/^\d+$/.test(name)) continue
      try {
        const environment = readFileSync(`/proc/${name}/environ`, 'utf8').split('\0') // empty for a zombie
        if (!environment.includes(this.mark)) continue
        const rank = environment.find((line) => line.startsWith('OMPI_COMM_WORLD_RANK='))?.split('=')[1]
        found.push({ pid: Number(name), rank: Number(rank ?? -1) })
      } catch {
        // gone meanwhile
      }
    }
    return found
  }

  signal(rank: number, signal: NodeJS.Signals): void {
    for (const process_ of this.processes()) if (process_.rank === rank) process.kill(process_.pid, signal)
  }

  /** Waits for the last process to end. @returns milliseconds, or null when some are left after `most` */
  async gone(most: number): Promise<number | null> {
    const started = performance.now()
    for (;;) {
      if (this.processes().length === 0) return performance.now() - started
      if (performance.now() - started > most) return null
      await setTimeout(50)
    }
  }

  /** Ends what is left. */
  close(): void {
    for (const { pid } of this.processes())
      try {
        process.kill(pid, 'SIGKILL')
      } catch {
        // gone meanwhile
      }
  }
}
