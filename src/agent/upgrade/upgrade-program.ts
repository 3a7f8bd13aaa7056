/**
 * The program that renews this host: put there by the host's own administrator, never chosen by a manager. It runs as a
 * process of its own, so that it can start the agent anew and live on: where systemd keeps the agent, as a unit of its own,
 * else in a session of its own. What became of it is read from DATA, by this agent or the next:
 *
 *   upgrade.json   which task asked, when, and the process   (written before the program starts, and after)
 *   upgrade.code   its exit code                              (by the shell around it, as its last act)
 *   upgrade.log    what it said; that of the run before in upgrade.log.1
 */
import { dirname, join } from 'node:path'
import { isoTime, type Clock } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import { fileErrorCode, type Files } from '../../base/files.ts'
import type { TaskId } from '../../base/ids.ts'
import type { Logger } from '../../base/log.ts'
import type { ProcessId, Processes } from '../../base/processes.ts'
import { SerialQueue } from '../../base/serial-queue.ts'
import type { UpgradeReport } from '../../contracts/host-upgrade.ts'
import type { HostUpgrade } from './host-upgrade.ts'

export interface UpgradeProgramDeps {
  readonly clock: Clock
  readonly files: Files
  readonly processes: Processes
  readonly log: Logger
  readonly program: string
  readonly dataDirectory: string
}

interface Kept {
  readonly v: 1
  readonly task: TaskId
  readonly startedAt: string
  /** Null: it was about to be started, or had ended before it could be named. */
  readonly process: ProcessId | null
}

const mostLines = 20
const mostLineBytes = 2000
/** `$1` the program, `$2` its log, `$3` where its exit code goes. The code is there as a whole or not at all. */
const around = '"$1" >>"$2" 2>&1 </dev/null; code=$?; echo "$code" >"$3.new" && sync "$3.new"; mv "$3.new" "$3"'

export class UpgradeProgram implements HostUpgrade {
  readonly #deps: UpgradeProgramDeps
  readonly #queue = new SerialQueue()
  /** Whose program is being started at this moment: it has no name yet. */
  #starting: TaskId | undefined

  constructor(deps: UpgradeProgramDeps) {
    this.#deps = deps
  }

  start(task: TaskId): Promise<UpgradeReport> {
    return this.#queue.run(async () => {
      const { clock, files, log, program } = this.#deps
      const last = await this.report()
      if (last?.task === task) return last
      if (last?.state === 'running') {
        throw new HoldfastError('wrong-state', `this host is being renewed already (${last.task})`)
      }
      const path = await whatMayBeRun(this.#deps, program)
      const kept: Kept = { v: 1, task, startedAt: isoTime(clock.now()), process: null }
      await files.remove(this.#path('code'))
      if ((await files.stat(this.#path('log'))) !== undefined) {
        await files.rename(this.#path('log'), `${this.#path('log')}.1`)
      }
      this.#starting = task
      try {
        await this.#keep(kept)
        await this.#keep({ ...kept, process: await this.#launch(task, path) })
      } finally {
        this.#starting = undefined
      }
      log.info({ task, program }, 'the program that renews this host was started')
      return { task, state: 'running', code: null, startedAt: kept.startedAt, endedAt: null, lastLines: '' }
    })
  }

  async report(): Promise<UpgradeReport | undefined> {
    const before = this.#starting
    const kept = await this.#kept()
    if (kept === undefined) return undefined
    const { task, startedAt, process } = kept
    // It may have begun, or ended, to be started while its file was read.
    const isStarting = before === task || this.#starting === task
    // Asked for first: a program that ends in between has left its code behind.
    const isAlive = isStarting || (process !== null && (await this.#deps.processes.isAlive(process)))
    const stat = await this.#deps.files.stat(this.#path('code'))
    if (stat === undefined && isAlive) {
      return { task, state: 'running', code: null, startedAt, endedAt: null, lastLines: '' }
    }
    const text = stat === undefined ? '' : (await this.#deps.files.readText(this.#path('code'))).trim()
    // Nothing in it: the machine has died as it was written.
    const code = /^\d+$/.test(text) ? Number(text) : null
    return {
      ...{ task, state: 'ended', startedAt, code },
      endedAt: stat === undefined ? null : isoTime(stat.mtimeMs),
      lastLines: code === 0 ? '' : await this.#lastLines(),
    }
  }

  /** Null: it has ended before it could be named. */
  async #launch(task: TaskId, program: string): Promise<ProcessId | null> {
    const { files, processes } = this.#deps
    const log = this.#path('log')
    const shell = ['/bin/sh', '-c', around, 'upgrade', program, log, this.#path('code')] as const
    if (!(await isUnit(files)))
      return await processes.startDetached(shell[0], shell.slice(1), { logFile: log, cwd: '/' })
    const unit = `holdfast-upgrade-${task}.service`
    const run = [
      '--quiet',
      '--collect',
      `--unit=${unit}`,
      '--description=Renewal of this Holdfast host',
      // One that has the machine begin anew is to say before how it ended.
      '--property=DefaultDependencies=no',
      '--',
      ...shell,
    ]
    const { code, stderr } = await processes.run('systemd-run', run)
    if (code !== 0) throw new HoldfastError('host-error', `systemd does not run ${program}: ${stderr.trim()}`)
    const shown = await processes.run('systemctl', ['show', '--property=MainPID', '--value', unit])
    return (await processes.identify(Number(shown.stdout.trim()))) ?? null
  }

  async #lastLines(): Promise<string> {
    const { files } = this.#deps
    try {
      const { sizeBytes } = (await files.stat(this.#path('log'))) ?? { sizeBytes: 0 }
      await using log = await files.open(this.#path('log'), 'read')
      const from = Math.max(0, sizeBytes - mostLineBytes)
      const text = Buffer.from(await log.read(from, sizeBytes - from)).toString('utf8')
      return text.trimEnd().split('\n').slice(-mostLines).join('\n')
    } catch (thrown) {
      if (fileErrorCode(thrown) === 'ENOENT') return ''
      throw thrown
    }
  }

  async #kept(): Promise<Kept | undefined> {
    try {
      return JSON.parse(await this.#deps.files.readText(this.#path('json'))) as Kept
    } catch (thrown) {
      if (fileErrorCode(thrown) === 'ENOENT') return undefined
      throw thrown
    }
  }

  #keep(kept: Kept): Promise<void> {
    return this.#deps.files.replace(this.#path('json'), JSON.stringify(kept), { mode: 0o600 })
  }

  #path(kind: 'json' | 'code' | 'log'): string {
    return join(this.#deps.dataDirectory, `upgrade.${kind}`)
  }
}

/** The file behind that name. Throws `refused` unless it is root's, and nobody else can change it or put another in its place. */
async function whatMayBeRun(
  { files, processes }: Pick<UpgradeProgramDeps, 'files' | 'processes'>,
  program: string,
): Promise<string> {
  const mend = `Put a program there that renews this host, for root to run: see docs/upgrade.md. Or renew it by hand.`
  const refuse = (why: string): never => {
    throw new HoldfastError('refused', why, { mend })
  }
  const stat = await files.stat(program)
  if (stat === undefined) return refuse(`this host has no program that renews it (${program})`)
  const path = await files.realPath(program)
  const names = [path, ...foldersOf(path)]
  const { code, stdout, stderr } = await processes.run('stat', ['--format=%u %f', '--', ...names])
  if (code !== 0) throw new HoldfastError('host-error', `stat says: ${stderr.trim()}`)
  const seen = stdout.trim().split('\n').map(ownerAndMode)
  if (seen.length !== names.length) return refuse(`who owns ${path} cannot be read`)
  if (seen[0]?.isFile !== true || !seen[0].isRunnable) return refuse(`${program} is no program that can be run`)
  for (const [at, { uid, isWritableByOthers }] of seen.entries()) {
    if (uid !== 0) return refuse(`${names[at]} belongs to the user ${uid}, not to root`)
    if (isWritableByOthers) return refuse(`${names[at]} can be written to by others than root`)
  }
  return path
}

/** The folder that it is in, and all above. */
function foldersOf(path: string): string[] {
  const folder = dirname(path)
  return folder === path ? [] : [folder, ...foldersOf(folder)]
}

function ownerAndMode(line: string): {
  uid: number
  isFile: boolean
  isRunnable: boolean
  isWritableByOthers: boolean
} {
  const [uid = '', hex = ''] = line.split(' ')
  const mode = Number.parseInt(hex, 16)
  return {
    uid: Number(uid),
    isFile: (mode & 0o170000) === 0o100000,
    isRunnable: (mode & 0o100) !== 0,
    // In a sticky folder (as /var/tmp) nobody else can put another file in place of root's.
    isWritableByOthers: (mode & 0o022) !== 0 && (mode & 0o041000) !== 0o041000,
  }
}

/** Whether systemd keeps this agent, and would end what it starts along with it. */
async function isUnit(files: Files): Promise<boolean> {
  if ((await files.stat('/run/systemd/system')) === undefined) return false
  return /\.service(\/|$)/m.test(await files.readText('/proc/self/cgroup').catch(() => ''))
}
