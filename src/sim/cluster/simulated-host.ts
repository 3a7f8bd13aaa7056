/**
 * One simulated host: its files, its QEMUs, and the real agent with all of its rules. The agent can be killed at any call
 * that it makes and started again; a crash of the host takes everything that was not synced.
 */
import { HoldfastError } from '../../base/errors.ts'
import type { HostId } from '../../base/ids.ts'
import type { HostFacts } from '../../contracts/host.ts'
import type { ManagerApi } from '../../contracts/manager-api.ts'
import { Agent } from '../../agent/agent.ts'
import type { NeighbourCalls } from '../../agent/lease/parts.ts'
import type { HostNetworks } from '../../agent/network/host-networks.ts'
import type { Pumps } from '../../agent/protect/pumps.ts'
import { Datastores } from '../../agent/storage/datastores.ts'
import { DiskWork } from '../../agent/storage/disk-work.ts'
import { HostPlaces } from '../../agent/vm/host-places.ts'
import type { Network } from '../../base/network.ts'
import type { Processes } from '../../base/processes.ts'
import type { FakeGuest, FakeGuestHabits } from '../fake-guest.ts'
import { FakeHypervisor } from '../fake-hypervisor.ts'
import { FakeSigns } from '../fake-signs.ts'
import { MemoryFiles } from '../memory-files.ts'
import type { SeededRandom } from '../seeded-random.ts'
import type { VirtualClock, VirtualNodeClock } from '../virtual-clock.ts'
import { SimulatedImages, type FileNames } from './disk-images.ts'
import { MountedFiles } from './mounted-files.ts'
import { SimulatedUpgrade } from './simulated-upgrade.ts'
import { SimulatedWatchdog } from './simulated-watchdog.ts'
import { connectGuestAgent } from './simulated-guest-agents.ts'
import { SimulatedProcess } from './process.ts'
import type { Plants } from './planted.ts'
import type { Trace } from './trace.ts'
import type { Truth } from './truth.ts'

export interface HostParts {
  readonly clock: VirtualClock
  readonly random: SeededRandom
  readonly trace: Trace
  readonly truth: Truth
  readonly names: FileNames
  readonly shared: MemoryFiles
  readonly cluster: string
  readonly manager: (host: HostId) => ManagerApi
  readonly habits: Partial<FakeGuestHabits>
  readonly plants: Plants
  /** Whether a QEMU of any host has the lock of a file. */
  readonly isLocked: (name: string) => boolean
  readonly neighbour: (from: HostId, to: HostId) => NeighbourCalls
  /** Term of its hardware watchdog, milliseconds; null: it has none. */
  readonly watchdogMs: number | null
}

const noNetworks: HostNetworks = {
  configure: async () => undefined,
  plug: async () => new Map(),
  unplug: async () => undefined,
  observe: async () => [],
}

/** From a reset of the hardware until the agent is started. */
const bootMs = 3000

const refuse = (): Promise<never> => Promise.reject(new HoldfastError('refused', 'no VM is held in step here'))

const noPumps: Pumps = {
  startPrimary: refuse,
  startSecond: refuse,
  adopt: refuse,
  salvage: refuse,
  memory: refuse,
  forget: refuse,
}

export class SimulatedHost {
  readonly id: HostId
  readonly name: string
  readonly address: string
  readonly files: MountedFiles
  readonly hypervisor: FakeHypervisor
  readonly watchdog: SimulatedWatchdog
  readonly upgrade: SimulatedUpgrade
  /** Of its agent, from its next start on. */
  agentVersion = '0.1.0'
  agent: { readonly process: SimulatedProcess; readonly api: Agent } | undefined
  /** Powered on: an agent can run. */
  isOn = true
  readonly #parts: HostParts
  readonly #device = new MemoryFiles()
  readonly #run: { files: MemoryFiles }
  /** Of the QEMUs, which freeze with their host. */
  readonly #machines: VirtualNodeClock
  #process: SimulatedProcess | undefined
  #startsAgain = 0
  #isFrozen = false

  constructor(parts: HostParts, at: number) {
    this.#parts = parts
    this.id = `host-${at}` as HostId
    this.name = `node${at}`
    this.address = `10.1.0.${at}`
    const run = { files: new MemoryFiles() }
    this.#run = run
    const mounts = [
      { at: '/shared', files: parts.shared },
      {
        at: '/run',
        get files() {
          return run.files
        },
      },
      { at: '/', files: this.#device },
    ]
    this.files = new MountedFiles(mounts, (path, files) => this.#beforeRemove(path, files))
    this.#machines = parts.clock.node()
    this.hypervisor = new FakeHypervisor({
      host: this.address,
      clock: this.#machines,
      wire: parts.truth,
      habits: parts.habits,
      openDisk: (path) => this.files.readText(path),
      isLocked: parts.isLocked,
    })
    this.watchdog = new SimulatedWatchdog({
      ...{ clock: this.#machines, hypervisor: this.hypervisor, hardwareMs: parts.watchdogMs },
      note: (text) => parts.trace.note(text),
    })
    this.upgrade = new SimulatedUpgrade({
      ...{ clock: parts.clock, name: this.name, note: (text) => parts.trace.note(text) },
      renew: async () => {
        this.agentVersion = '0.2.0'
        this.killAgent()
        await this.boot()
      },
    })
  }

  /** What names this host's QEMUs, alive ones only. */
  guest(vm: string): FakeGuest | undefined {
    return this.hypervisor.guest(vm)
  }

  /** Starts the agent, when the host is on and none runs. It dies after `dieAfter` calls when that is given. */
  async boot(dieAfter?: number): Promise<void> {
    if (!this.isOn || this.#process?.isAlive === true) return
    const process = new SimulatedProcess(this.#parts.clock)
    this.#process = process
    if (dieAfter !== undefined) process.life.endAfter(dieAfter)
    const start = ++this.#startsAgain
    const api = await Agent.open(this.#deps(process, start))
    if (!process.isAlive) return
    this.agent = { process, api }
    void api.run()
  }

  get process(): SimulatedProcess | undefined {
    return this.#process
  }

  /** SIGKILL of the agent: its QEMUs live on. */
  killAgent(): void {
    this.#process?.kill()
    this.agent = undefined
  }

  /** The power goes: nothing runs any more, and what was not synced is lost. */
  crash(): void {
    this.thaw()
    this.killAgent()
    this.hypervisor.crash()
    this.#device.crash()
    this.#run.files = new MemoryFiles()
    this.watchdog.reset()
    this.isOn = false
  }

  /** All of it stands still; hardware that is armed resets the machine after its term, and it boots again. */
  freeze(): void {
    if (!this.isOn) return
    this.#machines.freeze()
    this.#process?.freeze()
    this.#isFrozen = true
    const { clock, trace } = this.#parts
    const { hardwareMs } = this.watchdog
    if (hardwareMs === null || !this.watchdog.isArmed) return
    void clock.sleep(hardwareMs).then(async () => {
      if (!this.#isFrozen || !this.isOn) return
      trace.note(`the hardware watchdog resets ${this.name}`)
      this.crash()
      await clock.sleep(bootMs)
      this.isOn = true
      await this.boot()
    })
  }

  thaw(): void {
    this.#isFrozen = false
    this.#machines.thaw()
    this.#process?.thaw()
  }

  #deps(process: SimulatedProcess, start: number): Parameters<typeof Agent.open>[0] {
    const { trace, truth, names, cluster, manager, random, neighbour, plants } = this.#parts
    const { clock } = process
    const files = process.port<MountedFiles>(this.files)
    const hypervisor = process.port(this.hypervisor)
    const images = process.port(new SimulatedImages({ files, clock, truth, names }))
    const datastores = new Datastores({ files, clock, cluster, dataDirectory: '/data' })
    const disks = new DiskWork({ files, images, datastores, nvramTemplates: [] })
    const places = new HostPlaces({
      ...{ files, datastores, disks, hypervisor, networks: noNetworks, runRoot: '/run/vms', cgroupParent: null },
      processes: {} as Processes,
      tls: null,
      streamAddress: this.address,
      hasOwnUsers: false,
    })
    const { agentVersion } = this
    return {
      ...{ host: this.id, clock, random: random.fork(), files, hypervisor, images, places, datastores, disks },
      log: trace.logger(`${this.name} agent#${start}`),
      network: { connectUnix: (path: string) => connectGuestAgent(this.hypervisor.alive(), path) } as Network,
      // Simulated VMs have no NICs.
      tcp: { ask: async () => 'there is no such address' },
      manager: process.port(manager(this.id)),
      watchdog: process.port(plants.watchdog(this.watchdog)),
      neighbour: (witness) => process.port(neighbour(this.id, witness.host)),
      networks: noNetworks,
      pumps: noPumps,
      signs: new FakeSigns(this.hypervisor, clock),
      dataDirectory: '/data',
      allowedImportFolders: [],
      upgrade: process.port(this.upgrade),
      facts: async () => ({ ...hostFacts(this.name, this.address), agentVersion }),
      load: async () => ({ load1: 0, cpuUsed: 0, memoryUsedMiB: 0 }),
    }
  }

  async #beforeRemove(path: string, files: { readText(path: string): Promise<string> }): Promise<void> {
    if (!path.includes('/disks/')) return
    const name = await files.readText(path).catch(() => undefined)
    if (name !== undefined) this.#parts.truth.removed(name)
  }
}

export function hostFacts(name: string, address: string): HostFacts {
  return {
    ...{ hostname: name, agentVersion: '0.1.0', kernel: '6.1', memoryMiB: 8192, foreignVms: [] },
    cpu: { model: 'Simulated', cores: 4, flags: ['sse4_2', 'popcnt', 'aes', 'cx16', 'lahf_lm', 'ssse3', 'sse4_1'] },
    accelerator: { kind: 'tcg', reason: 'simulated' },
    qemu: {
      version: '10.0.2',
      machineTypes: ['pc-i440fx-7.2', 'pc-i440fx-10.0', 'pc-q35-7.2', 'pc-q35-10.0'],
      cpuModels: ['qemu64', 'x86-64-v2', 'x86-64-v2-AES', 'Nehalem', 'Westmere', 'max'],
    },
    addresses: { management: address, storage: address, guests: address },
  }
}
