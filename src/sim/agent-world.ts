/** Two simulated hosts with the keepers of their VMs, a manager and a wire between them: for the tests of the rules. */
import type { HostId, VmId } from '../base/ids.ts'
import { silentLogger } from '../base/log.ts'
import type {
  MigrateOutcome,
  MigrateOutRequest,
  PrepareIncomingRequest,
  PrepareSecondRequest,
  ProtectRequest,
  VmDeployment,
} from '../contracts/agent-api.ts'
import { defaultProtectionSettings, type ProtectionConfig, type SecondEndpoint } from '../contracts/protection.ts'
import type { VmKeeper } from '../agent/vm/vm-keeper.ts'
import { noLease } from '../agent/vm/vm-ports.ts'
import { VmStates } from '../agent/vm/vm-state.ts'
import { VmTable } from '../agent/vm/vm-table.ts'
import type { FakeGuest, FakeGuestHabits } from './fake-guest.ts'
import { FakeHypervisor } from './fake-hypervisor.ts'
import { FakeManager } from './fake-manager.ts'
import { FakePairs, FakePumps } from './fake-pumps.ts'
import { Monitored } from '../agent/guest/monitor-loop.ts'
import { FakePlaces } from './fake-places.ts'
import { FakeWire } from './fake-wire.ts'
import { MemoryFiles } from './memory-files.ts'
import { Life, mortal } from './mortal.ts'
import { SeededRandom } from './seeded-random.ts'
import { VirtualClock } from './virtual-clock.ts'

export const testVm = 'vm-42' as VmId
const arbiter = { arbiter: 'host-3' as HostId, urls: ['https://10.0.0.3:7444'], tlsName: 'host-3.holdfast' }
const uuid = '0b6f1f0e-3c0e-4a51-9d8e-2f5d8f6f0a42'

/** A host whose agent can die at any call that it makes, and be started again. */
export class SimulatedHost {
  readonly id: HostId
  readonly address: string
  readonly files = new MemoryFiles()
  readonly places: FakePlaces
  readonly hypervisor: FakeHypervisor
  readonly pumps: FakePumps
  readonly #world: AgentWorld
  life = new Life()
  table: VmTable | undefined
  #stop = new AbortController()

  constructor(world: AgentWorld, id: string, address: string, habits: Partial<FakeGuestHabits>) {
    this.#world = world
    this.id = id as HostId
    this.address = address
    this.places = new FakePlaces(address)
    const { clock, wire, pairs } = world
    this.hypervisor = new FakeHypervisor({ host: address, clock, wire, habits })
    this.pumps = new FakePumps({ host: this.id, clock, wire, hypervisor: this.hypervisor, pairs })
  }

  /** Starts the agent; it dies right before call `dieAt` to the outside, when that is given. */
  async boot(dieAt?: number): Promise<void> {
    const life = new Life(dieAt)
    this.life = life
    this.#stop = new AbortController()
    const { clock, manager } = this.#world
    this.table = await VmTable.open({
      host: this.id,
      clock: mortal(clock, life),
      random: this.#world.random,
      log: silentLogger,
      hypervisor: mortal(this.hypervisor, life),
      manager: mortal(manager.api(this.id), life),
      places: mortal(this.places, life),
      states: new VmStates(mortal(this.files, life), '/data'),
      pumps: mortal(this.pumps, life),
      lease: noLease,
      monitored: this.#world.monitored,
      onChange: () => undefined,
      signal: this.#stop.signal,
    })
  }

  /** SIGKILL of the agent: what it wrote without a sync is lost, its QEMUs live on. */
  kill(): void {
    this.life.end()
    this.table = undefined
  }

  /** The power goes: the agent, its QEMUs and its pumps. */
  crash(): void {
    this.kill()
    this.pumps.crash()
    this.hypervisor.crash()
    this.files.crash()
  }

  keeper(): Promise<VmKeeper> {
    if (this.table === undefined) throw new Error(`no agent runs on ${this.id}`)
    return this.table.keeper(testVm)
  }
}

export class AgentWorld {
  readonly clock = new VirtualClock()
  readonly random = new SeededRandom(1)
  readonly wire = new FakeWire<FakeGuest>(this.clock)
  readonly manager = new FakeManager(this.clock)
  readonly pairs = new FakePairs()
  /** For the agents of both hosts. */
  readonly monitored = new Monitored()
  readonly a: SimulatedHost
  readonly b: SimulatedHost

  constructor(habits: Partial<FakeGuestHabits> = {}) {
    this.a = new SimulatedHost(this, 'host-1', '10.0.0.1', habits)
    this.b = new SimulatedHost(this, 'host-2', '10.0.0.2', habits)
    this.manager.create(testVm)
  }

  static async boot(habits: Partial<FakeGuestHabits> = {}): Promise<AgentWorld> {
    const world = new AgentWorld(habits)
    await world.run(Promise.all([world.a.boot(), world.b.boot()]))
    return world
  }

  run<T>(work: Promise<T>): Promise<T> {
    return this.clock.run(work, 600_000)
  }

  /** Where the guest runs now. */
  get runsOn(): string[] {
    return this.wire.runningOn(uuid)
  }

  deployment(generation = this.manager.record(testVm).generation): VmDeployment {
    return {
      vm: testVm,
      name: 'test',
      generation,
      networks: [],
      leases: [],
      images: [],
      spec: {
        uuid,
        machine: 'pc',
        machineType: 'pc-i440fx-7.2',
        minQemu: '7.2',
        firmware: 'bios',
        cpu: { model: 'qemu64', features: [] },
        vcpus: 1,
        memoryMiB: 64,
        video: 'none',
        nvram: null,
        disks: [],
        nics: [],
        cdroms: [],
        kernelBoot: null,
        nextKey: 1,
      },
    }
  }

  async startOnA(): Promise<void> {
    await this.run((await this.a.keeper()).start(this.deployment()))
  }

  /** The manager's part of a move's beginning: the record says `moving`. */
  beginMove(): number {
    return this.manager.move(testVm, { event: 'move', target: this.b.id, task: 'task-1' as never }).generation
  }

  incomingRequest(generation: number, change: Partial<PrepareIncomingRequest> = {}): PrepareIncomingRequest {
    return {
      deployment: this.deployment(generation),
      source: this.a.id,
      sourceTlsName: 'host-1.holdfast',
      movingDisks: [],
      allowPostCopy: false,
      runWhen: 'complete',
      useTls: true,
      ...change,
    }
  }

  outgoingRequest(
    generation: number,
    incoming: MigrateOutRequest['incoming'],
    change: Partial<MigrateOutRequest> = {},
  ): MigrateOutRequest {
    return {
      generation,
      incoming,
      movingDisks: [],
      runWhen: 'complete',
      useTls: true,
      maxBandwidth: null,
      downtimeLimitMs: 300,
      autoConverge: true,
      allowPostCopy: false,
      multifdChannels: 0,
      ...change,
    }
  }

  /** Record, target and source, up to the outcome that the source tells. */
  async move(change: Partial<PrepareIncomingRequest> & Partial<MigrateOutRequest> = {}): Promise<MigrateOutcome> {
    const generation = this.beginMove()
    const incoming = await this.run((await this.b.keeper()).prepareIncoming(this.incomingRequest(generation, change)))
    const request = this.outgoingRequest(generation, incoming, change)
    return this.run((await this.a.keeper()).migrateOut(request, () => undefined, new AbortController().signal))
  }

  /** The manager's part of a protection's beginning: the record names B. */
  beginProtect(n = 1): ProtectionConfig {
    this.manager.move(testVm, {
      event: 'protect',
      protection: { n, second: this.b.id, arbiter: 'host-3' as HostId, phase: 'syncing' },
    })
    return { vm: testVm, n, primary: this.a.id, second: this.b.id, arbiter: 'host-3' as HostId }
  }

  secondRequest(config: ProtectionConfig): PrepareSecondRequest {
    return {
      deployment: this.deployment(),
      ...{ config, arbiter, copies: [], settings: defaultProtectionSettings, task: 'task-2' as never },
      ...{ primaryTlsName: 'host-1.holdfast', primaryStreamTlsName: 'stream.host-1.holdfast' },
    }
  }

  async prepareSecond(config: ProtectionConfig, on = this.b): Promise<SecondEndpoint> {
    return this.run((await on.keeper()).prepareSecond(this.secondRequest(config)))
  }

  protectRequest(config: ProtectionConfig, second: SecondEndpoint): ProtectRequest {
    const { generation } = this.manager.record(testVm)
    return { generation, config, second, arbiter, copies: [], settings: defaultProtectionSettings }
  }

  /** Record, second and primary, up to a VM that is held in step. */
  async protect(n = 1): Promise<ProtectionConfig> {
    const config = this.beginProtect(n)
    const request = this.protectRequest(config, await this.prepareSecond(config))
    await this.run((await this.a.keeper()).protect(request, () => undefined, new AbortController().signal))
    return config
  }
}
