/**
 * The watchdog's program. While the lease holds it pets the machine's watchdog; once the deadline is over it kills the QEMU of
 * every armed VM, again and again until it gets another order, and pets no more while one of them is left: then the machine is
 * reset. It needs nobody: not the agent, not the network, no disk.
 */
import { setPriority } from 'node:os'
import { join } from 'node:path'
import { describeError } from '../../../base/errors.ts'
import { fileErrorCode, type Files } from '../../../base/files.ts'
import type { VmId } from '../../../base/ids.ts'
import type { Logger } from '../../../base/log.ts'
import type { ProcessId, Processes } from '../../../base/processes.ts'
import { leasePaths, type OrderInForce, type WatchdogWord } from './files.ts'
import { armHardware, type Hardware, type HardwarePorts } from './hardware.ts'

export interface WatchdogPorts extends HardwarePorts {
  readonly processes: Processes
  readonly log: Logger
}

const lookEveryMs = 100
const petEveryMs = 500
/** With nothing armed for so long it ends; the next order starts another. */
const idleMs = 60_000

/** Runs until nothing has been armed for a minute, or another program has taken its place. `folder`: RUN/lease. */
export async function runWatchdog(ports: WatchdogPorts, folder: string): Promise<void> {
  try {
    setPriority(-20)
  } catch {
    ports.log.warn({}, 'the watchdog may not have a higher priority')
  }
  await new WatchdogProgram(ports, folder).run()
}

class WatchdogProgram {
  readonly #ports: WatchdogPorts
  readonly #paths: ReturnType<typeof leasePaths>
  #hardware: Hardware | undefined
  #problem: string | null = null
  #pettedAt = Number.NEGATIVE_INFINITY
  #idleSince: number | undefined
  #isStopping = false

  constructor(ports: WatchdogPorts, folder: string) {
    this.#ports = ports
    this.#paths = leasePaths(folder)
  }

  async run(): Promise<void> {
    const { clock, files, log } = this.#ports
    const own = await this.#ports.processes.identify(process.pid)
    if (own === undefined) return
    let order = await this.#read()
    if (order?.hardware != null) await this.#arm(order.hardware)
    const word: WatchdogWord = { process: own, hardwareMs: this.#hardware?.termMs ?? null, problem: this.#problem }
    await files.replace(this.#paths.word, JSON.stringify(word))
    for (;;) {
      order = (await this.#read()) ?? order
      if (order !== undefined) {
        await this.#obey(order).catch((err: unknown) =>
          log.error({ err: describeError(err) }, 'the watchdog could not do all'),
        )
      }
      if (this.#isIdle(order) && (await this.#hasEnded(word))) break
      await clock.sleep(lookEveryMs)
    }
    await this.#hardware?.disarm()
  }

  /** An order that comes at this moment finds no word, and starts another program; one that came just before is read here. */
  async #hasEnded(word: WatchdogWord): Promise<boolean> {
    const { files } = this.#ports
    await files.remove(this.#paths.word)
    if (((await this.#read())?.armed.length ?? 0) === 0) return true
    if ((await files.stat(this.#paths.word)) === undefined) await files.replace(this.#paths.word, JSON.stringify(word))
    this.#idleSince = undefined
    return false
  }

  #isIdle(order: OrderInForce | undefined): boolean {
    const now = this.#ports.clock.monotonic()
    if ((order?.armed.length ?? 0) > 0) this.#idleSince = undefined
    else this.#idleSince ??= now
    return this.#idleSince !== undefined && now - this.#idleSince >= idleMs
  }

  async #arm(path: string): Promise<void> {
    try {
      this.#hardware = await armHardware(this.#ports, path)
    } catch (thrown) {
      this.#problem = describeError(thrown)
      this.#ports.log.warn({ path, problem: this.#problem }, 'the machine has no watchdog that can be used')
    }
  }

  async #read(): Promise<OrderInForce | undefined> {
    try {
      return JSON.parse(await this.#ports.files.readText(this.#paths.order)) as OrderInForce
    } catch {
      return undefined
    }
  }

  async #obey(order: OrderInForce): Promise<void> {
    const { clock, log } = this.#ports
    const isOver = order.deadlineMs !== null && clock.monotonic() >= order.deadlineMs
    if (isOver !== this.#isStopping) {
      this.#isStopping = isOver
      if (isOver && order.armed.length > 0) log.error({ armed: order.armed }, 'the lease is over: armed VMs are ended')
    }
    const isClear = !isOver || (await stopAll(this.#ports, order.runRoot, order.armed))
    if (isClear && clock.monotonic() - this.#pettedAt >= petEveryMs) {
      this.#pettedAt = clock.monotonic()
      await this.#hardware?.pet()
    }
  }
}

type StopPorts = Pick<WatchdogPorts, 'files' | 'processes' | 'log'>

/** Kills the QEMUs of these VMs; whether none is left. */
async function stopAll(ports: StopPorts, runRoot: string, vms: readonly VmId[]): Promise<boolean> {
  const gone = await Promise.all(vms.map((vm) => stopOne(ports, join(runRoot, vm), vm)))
  return gone.every(Boolean)
}

async function stopOne({ files, processes, log }: StopPorts, place: string, vm: VmId): Promise<boolean> {
  const found = await machineAt(files, place)
  if (found === undefined) return true
  if (found.process === null) {
    // Without its permit what is being started does not become a QEMU.
    if (found.permit !== undefined) await files.remove(found.permit)
    return true
  }
  if (!(await processes.isAlive(found.process))) return true
  log.error({ vm, pid: found.process.pid }, 'QEMU is killed')
  await processes.signal(found.process, 'SIGKILL')
  return !(await processes.isAlive(found.process))
}

/** What the hypervisor has written down of a VM's QEMU; undefined: there is none. Throws what keeps it from being read. */
export async function machineAt(
  files: Files,
  place: string,
): Promise<{ readonly process: ProcessId | null; readonly permit?: string } | undefined> {
  try {
    return JSON.parse(await files.readText(join(place, 'machine.json'))) as { process: ProcessId | null }
  } catch (thrown) {
    // What cannot be read now may be there.
    if (fileErrorCode(thrown) === 'ENOENT') return undefined
    throw thrown
  }
}
