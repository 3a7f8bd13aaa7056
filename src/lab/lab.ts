/**
 * A lab and its verbs. Everything about a lab can be found from its name (names.ts) and its folder's lab.json; each verb
 * first sees to it that the programs outside of the hosts run, so all of them work also after those were killed.
 */
import { HoldfastError } from '../base/errors.ts'
import { ArrayClient } from './array-client.ts'
import { Cgroups } from './cgroups.ts'
import type { PowerStatus } from './daemon.ts'
import type { FenceFault } from './fence-switch.ts'
import { askLine } from './lines.ts'
import { insideCommand, startOutside, type Machines } from './machine.ts'
import { fillDisk, unfillDisk } from './mounts.ts'
import { defaultLabName, defaultLabsFolder, managerName, nodeFolders, registryFolder, sockets } from './names.ts'
import { applyCuts, cutsOf, mergeCuts, type PartitionRequest } from './partitions.ts'
import type { LabPorts, Launcher } from './ports.ts'
import { lockLab, managersOf, readState, writeState, type LabState, type StorageFault } from './state.ts'

const lockWaitMs = 30_000
const daemonStartMs = 15_000

export interface SlowOptions {
  readonly latencyMs?: number
  readonly kibPerSecond?: number
}

export class Lab {
  readonly ports: LabPorts
  readonly name: string
  readonly folder: string
  readonly machines: Machines
  readonly array: ArrayClient

  private constructor(ports: LabPorts, machines: Machines) {
    this.ports = ports
    this.name = machines.lab
    this.folder = machines.folder
    this.machines = machines
    this.array = new ArrayClient(ports, machines.folder)
  }

  /** The lab of a name, whether it exists or not. `directory`: where labs live, for one that does not exist yet. */
  static async find(ports: LabPorts, launcher: Launcher, name: string, directory?: string): Promise<Lab> {
    const known = await ports.files.readText(`${registryFolder}/${name}`).catch(() => undefined)
    const folder = known?.trim() ?? `${directory ?? defaultLabsFolder}/${name}`
    const cgroups = await Cgroups.open(ports, name)
    return new Lab(ports, { ports, launcher, lab: name, folder, cgroups })
  }

  /** The lab that `holdfast` means when no name is given. */
  get isDefault(): boolean {
    return this.name === defaultLabName
  }

  state(): Promise<LabState | undefined> {
    return readState(this.ports.files, this.folder)
  }

  /** Throws `not-found` when the lab does not exist. */
  async existing(): Promise<LabState> {
    const state = await this.state()
    if (state !== undefined) return state
    throw new HoldfastError('not-found', `there is no lab "${this.name}"`, {
      mend: `Run \`holdfast lab up${this.isDefault ? '' : ` --name ${this.name}`}\` first.`,
    })
  }

  lock(): Promise<AsyncDisposable> {
    return lockLab(this.ports, `${this.folder}/lab.lock`, lockWaitMs)
  }

  async save(state: LabState): Promise<void> {
    await writeState(this.ports.files, this.folder, state)
  }

  /** Starts labd and the array where they do not run. Hold the lock. */
  async ensureOutside(): Promise<void> {
    for (const kind of ['array', 'labd'] as const) {
      if (await this.#answers(kind)) continue
      await startOutside(this.machines, kind)
      const until = this.ports.clock.monotonic() + daemonStartMs
      while (!(await this.#answers(kind))) {
        if (this.ports.clock.monotonic() > until) {
          throw new HoldfastError('host-error', `${kind} does not start`, { mend: `See ${this.folder}/${kind}.log.` })
        }
        await this.ports.clock.sleep(25)
      }
    }
  }

  /** The same, taking the lock. */
  async withOutside(): Promise<void> {
    await using _lock = await this.lock()
    await this.ensureOutside()
  }

  async #answers(kind: 'array' | 'labd'): Promise<boolean> {
    try {
      await askLine(this.ports, sockets(this.folder)[kind], { verb: 'status', host: managerName }, 5000)
      return true
    } catch {
      return false
    }
  }

  /** The outside power switch of a host (or the manager). */
  async power(node: string, verb: 'on' | 'off' | 'cycle' | 'status'): Promise<PowerStatus> {
    return (await askLine(this.ports, sockets(this.folder).labd, { verb, host: node })) as unknown as PowerStatus
  }

  /** How the power switch treats those who fence a host from now on; undefined: as it should. */
  async fenceFault(host: string, fault: FenceFault | undefined): Promise<void> {
    await this.#change([host], async (state) => {
      await this.#fenceFault(host, fault)
      return state
    })
  }

  async #fenceFault(host: string, fault: FenceFault | undefined): Promise<void> {
    await askLine(this.ports, sockets(this.folder).labd, { verb: 'fence-fault', host, fault: fault ?? 'none' })
  }

  /** Everything on a host (or the manager) dies at once. */
  async crash(node: string): Promise<void> {
    await this.#change([node], (state) => this.power(node, 'off').then(() => state))
  }

  async boot(node: string): Promise<void> {
    await this.#change([node], (state) => this.power(node, 'on').then(() => state))
  }

  /** Power-cycles a host by its outside switch. */
  async cycle(node: string): Promise<void> {
    await this.#change([node], (state) => this.power(node, 'cycle').then(() => state))
  }

  async freeze(node: string): Promise<void> {
    await this.#change([node], async (state) => {
      if ((await this.machines.cgroups.power(node)) === 'off') throw this.#isOff(node)
      await this.machines.cgroups.freeze(node, true)
      return state
    })
  }

  async thaw(node: string): Promise<void> {
    await this.#change([node], async (state) => {
      await this.machines.cgroups.freeze(node, false)
      return state
    })
  }

  async partition(request: PartitionRequest): Promise<void> {
    await this.#change([], async (state) => {
      const cuts = mergeCuts(state.cuts, cutsOf(request, state.hosts, managersOf(state)))
      await applyCuts(this.ports, this.name, cuts)
      return { ...state, cuts }
    })
  }

  /** From now on every access of the host to its storage hangs, or fails with `how: 'fail'`; files that are open too. */
  async storageCut(host: string, how: 'hang' | 'fail' = 'hang'): Promise<void> {
    await this.#storage({ host, kind: how, latencyMs: 0, kibPerSecond: 0 })
  }

  async storageSlow(host: string, options: SlowOptions = {}): Promise<void> {
    const { latencyMs = 50, kibPerSecond = 2048 } = options
    await this.#storage({ host, kind: 'slow', latencyMs, kibPerSecond })
  }

  async #storage(fault: StorageFault): Promise<void> {
    await this.#change([fault.host], async (state) => {
      await this.array.fault(fault.host, fault)
      return { ...state, storage: [...state.storage.filter(({ host }) => host !== fault.host), fault] }
    })
  }

  /** Takes every free block of the host's local datastore. */
  async storageFill(host: string): Promise<void> {
    await this.#change([host], async (state) => {
      await fillDisk(this.ports, this.folder, host)
      return { ...state, filled: [...new Set([...state.filled, host])] }
    })
  }

  /** Ends every fault: partitions, storage, frozen and crashed hosts. */
  async heal(): Promise<void> {
    await this.#change([], async (state) => {
      await applyCuts(this.ports, this.name, [])
      for (const host of state.filled) await unfillDisk(this.ports, this.folder, host)
      await this.#healStorage(state)
      for (const host of state.hosts) await this.#fenceFault(host, undefined)
      for (const node of [...managersOf(state), ...state.hosts]) {
        const { power } = await this.power(node, 'status')
        if (power === 'frozen') await this.machines.cgroups.freeze(node, false)
        if (power === 'off') await this.power(node, 'on')
      }
      return { ...state, cuts: [], storage: [], filled: [] }
    })
  }

  /** Hosts whose storage path died with the array see the new one only after a boot, as their mounts are the old ones. */
  async #healStorage(state: LabState): Promise<void> {
    const served = await this.array.hosts()
    for (const host of state.hosts) {
      if (served.includes(host)) await this.array.fault(host)
      else {
        await this.array.mount(host)
        await this.power(host, 'cycle')
      }
    }
  }

  /** The command line that runs `command` in a host: its networks, mounts, cgroup. Throws `wrong-state` when it cannot. */
  async inside(node: string, command: readonly string[]): Promise<string[]> {
    const state = await this.existing()
    this.#checkNode(state, node)
    const power = await this.machines.cgroups.power(node)
    if (power === 'off') throw this.#isOff(node)
    if (power === 'frozen') {
      throw new HoldfastError('wrong-state', `${node} is frozen`, { mend: `Run \`holdfast lab thaw ${node}\` first.` })
    }
    const argv = insideCommand(this.name, node, await this.#initPid(node), command)
    return ['sh', '-c', 'echo $$ >"$0/cgroup.procs" && exec "$@"', this.machines.cgroups.group(node), ...argv]
  }

  async #initPid(node: string): Promise<number | undefined> {
    const text = await this.ports.files.readText(`${nodeFolders(this.folder, node).run}/init.pid`).catch(() => '')
    const pid = Number(text)
    return (await this.machines.cgroups.processes(node)).includes(pid) ? pid : undefined
  }

  #checkNode(state: LabState, node: string): void {
    const nodes = [...state.hosts, ...managersOf(state)]
    if (nodes.includes(node)) return
    throw new HoldfastError('not-found', `the lab has no "${node}"`, {
      mend: `Use one of: ${nodes.join(', ')}.`,
    })
  }

  #isOff(node: string): HoldfastError {
    return new HoldfastError('wrong-state', `${node} is off`, { mend: `Run \`holdfast lab boot ${node}\` first.` })
  }

  /** One change under the lock, written down when it is done. */
  async #change(nodes: readonly string[], work: (state: LabState) => Promise<LabState>): Promise<void> {
    await this.existing()
    await using _lock = await this.lock()
    const state = await this.existing()
    for (const node of nodes) this.#checkNode(state, node)
    await this.ensureOutside()
    const next = await work(state)
    if (next !== state) await this.save(next)
  }
}
