/** The agent's side of the watchdog: its orders are files, and its program a detached process that is adopted again. */
import { join } from 'node:path'
import type { Clock } from '../../../base/clock.ts'
import { HoldfastError } from '../../../base/errors.ts'
import type { Files } from '../../../base/files.ts'
import type { VmId } from '../../../base/ids.ts'
import type { Processes } from '../../../base/processes.ts'
import type { Watchdog, WatchdogOrder } from '../watchdog-port.ts'
import { leasePaths, type LeasePaths, type OrderInForce, type WatchdogWord } from './files.ts'
import { machineAt } from './run-watchdog.ts'

export interface NodeWatchdogDeps {
  readonly clock: Clock
  readonly files: Files
  readonly processes: Processes
  /** RUN/lease. */
  readonly folder: string
  /** Folder of the VMs' run folders. */
  readonly runRoot: string
  /** A device, or a socket that stands for one; null: none is used. */
  readonly hardware: string | null
  /** The program to run, and its first arguments. */
  readonly program: readonly [command: string, ...args: string[]]
}

const beginMs = 15_000
const pollMs = 20

export class NodeWatchdog implements Watchdog {
  readonly #deps: NodeWatchdogDeps
  readonly #paths: LeasePaths
  #word: WatchdogWord | undefined

  constructor(deps: NodeWatchdogDeps) {
    this.#deps = deps
    this.#paths = leasePaths(deps.folder)
  }

  get hardwareMs(): number | null {
    return this.#word?.hardwareMs ?? null
  }

  async order({ deadlineMs, armed }: WatchdogOrder): Promise<void> {
    const { files, folder, runRoot, hardware } = this.#deps
    const order: OrderInForce = { v: 1, deadlineMs, armed, runRoot, hardware }
    await files.makeDirectory(folder, { mode: 0o700 })
    await files.replace(this.#paths.order, JSON.stringify(order))
    if (armed.length > 0) await this.#ensureRunning()
  }

  async ordered(): Promise<WatchdogOrder | undefined> {
    return await readJson<OrderInForce>(this.#deps.files, this.#paths.order)
  }

  async areGone(vms: readonly VmId[]): Promise<boolean> {
    const { files, processes, runRoot } = this.#deps
    for (const vm of vms) {
      const found = await machineAt(files, join(runRoot, vm))
      if (found?.process != null && (await processes.isAlive(found.process))) return false
    }
    return true
  }

  async #ensureRunning(): Promise<void> {
    if (await this.#isRunning()) return
    const { clock, files, processes, folder, program } = this.#deps
    await files.remove(this.#paths.word)
    const [command, ...args] = program
    const begun = await processes.startDetached(command, [...args, folder], { logFile: this.#paths.log, cwd: '/' })
    const until = clock.monotonic() + beginMs
    while (!(await this.#isRunning())) {
      if (clock.monotonic() > until || !(await processes.isAlive(begun))) {
        throw new HoldfastError('host-error', 'the watchdog does not start', { mend: `See ${this.#paths.log}.` })
      }
      await clock.sleep(pollMs)
    }
  }

  async #isRunning(): Promise<boolean> {
    this.#word = await readJson<WatchdogWord>(this.#deps.files, this.#paths.word)
    return this.#word !== undefined && (await this.#deps.processes.isAlive(this.#word.process))
  }
}

async function readJson<T>(files: Files, path: string): Promise<T | undefined> {
  try {
    return JSON.parse(await files.readText(path)) as T
  } catch {
    return undefined
  }
}
