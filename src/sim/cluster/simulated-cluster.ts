/**
 * A whole simulated datacenter on one virtual clock: the real manager over the store in memory, real agents over simulated
 * QEMUs and files, and the networks between them. One seed gives one run.
 *
 * Hosts are node1 to nodeN; each has a datastore of its own (local1 …), and all share one (shared).
 */
import { HoldfastError } from '../../base/errors.ts'
import type { DatastoreId, HostId } from '../../base/ids.ts'
import type { Network } from '../../base/network.ts'
import { MemoryStore } from '../../manager/store/memory/memory-store.ts'
import type { Manager } from '../../manager/app/manager.ts'
import type { Caller } from '../../manager/app/context.ts'
import type { HostRecord } from '../../manager/store/records.ts'
import type { Change } from '../../manager/store/store.ts'
import { nameClaim } from '../../manager/domain/names.ts'
import { isoTime } from '../../base/clock.ts'
import type { FakeGuestHabits } from '../fake-guest.ts'
import { MemoryFiles } from '../memory-files.ts'
import { SeededRandom } from '../seeded-random.ts'
import { VirtualClock } from '../virtual-clock.ts'
import { FileNames } from './disk-images.ts'
import { agentLine, managerLine, neighbourLine } from './lines.ts'
import { ManagementNetwork } from './management-network.ts'
import { fenceAgent, SimulatedFences } from './simulated-fences.ts'
import { SimulatedHost } from './simulated-host.ts'
import { SimulatedManager } from './simulated-manager.ts'
import { Trace } from './trace.ts'
import { Truth } from './truth.ts'
import { withPlanted, type Planted } from './planted.ts'

export interface ClusterOptions {
  readonly seed: number
  readonly hosts?: number
  readonly habits?: Partial<FakeGuestHabits>
  /** Faults of the program itself, to prove that the invariants see them. */
  readonly planted?: ReadonlySet<Planted>
  /** The store is one of several managers: hosts have leases. */
  readonly isClustered?: boolean
  /** Term of the hosts' hardware watchdogs, milliseconds; default: they have none. */
  readonly watchdogMs?: number
  /** `false`: the storage keeps no locks, so that nothing but the program holds a second copy back. */
  readonly hasLocks?: boolean
  /** Every host has a fence device. */
  readonly hasFences?: boolean
  /** Who is told of alarms by webhook; absent: nobody answers. */
  readonly receivers?: Pick<Network, 'request'>
  /** The processes' logs go into the trace. */
  readonly isVerbose?: boolean
}

const caller: Caller = { name: 'simulation', role: 'administrator', id: 'simulation' }
/** As whom the simulation asks. */
export const call = { caller, signal: new AbortController().signal }

const nobodyAnswers = {
  request: (): Promise<never> =>
    Promise.reject(new HoldfastError('unreachable', 'nobody is outside of the simulation')),
}

export class SimulatedCluster {
  readonly seed: number
  readonly clock = new VirtualClock()
  /** For the choices of a scenario; every process and network has a stream of its own. */
  readonly random: SeededRandom
  readonly trace: Trace
  readonly truth: Truth
  readonly store: MemoryStore
  readonly network: ManagementNetwork
  readonly hosts: SimulatedHost[] = []
  manager: SimulatedManager
  readonly fences: SimulatedFences
  readonly shared = new MemoryFiles()
  readonly #names = new FileNames()

  private constructor(options: ClusterOptions) {
    this.seed = options.seed
    this.random = new SeededRandom(options.seed)
    this.trace = new Trace(this.clock, options.isVerbose ?? false)
    const note = (text: string): void => this.trace.note(text)
    this.truth = new Truth(this.clock, note)
    this.store = new MemoryStore(this.clock)
    this.network = new ManagementNetwork(this.clock, this.random.fork(), note)
    const planted = withPlanted(options.planted ?? new Set(), this.clock)
    this.fences = new SimulatedFences(this)
    this.manager = this.newManager(options, planted)
    this.#addHosts(options, planted)
  }

  /** A manager over this world's store; hosts speak to the one that is `manager`. */
  newManager(
    options: Pick<ClusterOptions, 'hasFences' | 'isClustered' | 'receivers'>,
    planted = withPlanted(new Set(), this.clock),
  ): SimulatedManager {
    return new SimulatedManager({
      ...{ clock: this.clock, trace: this.trace, random: this.random.fork() },
      store: planted.store(this.store),
      isClustered: options.isClustered ?? false,
      receivers: options.receivers ?? nobodyAnswers,
      agents: (id) => planted.agent(agentLine(this.network, id, () => this.host(id).agent)),
      ...(options.hasFences === true ? { fencer: this.fences } : {}),
    })
  }

  #addHosts(options: ClusterOptions, planted: ReturnType<typeof withPlanted>): void {
    for (let at = 1; at <= (options.hosts ?? 3); at++) {
      const parts = {
        ...{ clock: this.clock, trace: this.trace, truth: this.truth, shared: this.shared, random: this.random.fork() },
        names: this.#names,
        cluster: 'the cluster',
        habits: options.habits ?? {},
        watchdogMs: options.watchdogMs ?? null,
        plants: planted,
        isLocked: (name: string) =>
          options.hasLocks !== false && this.hosts.some((host) => host.hypervisor.holdsLock(name)),
        neighbour: (from: HostId, to: HostId) =>
          planted.neighbour(neighbourLine(this.network, from, to, () => this.host(to).agent)),
        manager: (id: HostId) => planted.manager(managerLine(this.network, id, () => this.manager.running)),
      }
      this.hosts.push(new SimulatedHost(parts, at))
    }
  }

  /** Resolves when every host is connected and its datastores are usable. */
  static async open(options: ClusterOptions): Promise<SimulatedCluster> {
    const world = new SimulatedCluster(options)
    await world.run(world.manager.start())
    await world.run(world.#makeHosts())
    for (const host of world.hosts) await world.run(host.boot())
    await world.run(world.#makeDatastores())
    while (!(await world.run(world.#isReady()))) await world.clock.advance(200)
    if (options.hasFences === true) await world.run(world.#setFences())
    return world
  }

  async #setFences(): Promise<void> {
    for (const { id, name } of this.hosts) {
      const body = { agent: fenceAgent, options: { plug: name }, secrets: { password: 'open sesame' } }
      await this.ask((manager) => manager.api.setHostFence({ params: { host: id }, body }, call))
    }
  }

  /** Whether the manager hears every host and each has its two datastores. */
  async #isReady(): Promise<boolean> {
    const { items } = await this.ask((manager) => manager.api.listHosts({ params: {} }, call))
    return items.every(({ state, datastores }) => {
      return state === 'connected' && datastores.filter((each) => each.isUsable).length === 2
    })
  }

  host(id: HostId): SimulatedHost {
    const found = this.hosts.find((each) => each.id === id)
    if (found === undefined) throw new Error(`there is no ${id}`)
    return found
  }

  /** Moves time until the promise settles; half an hour at most. */
  run<T>(work: Promise<T>, withinMs = 1_800_000): Promise<T> {
    return this.clock.run(work, withinMs)
  }

  ask<T>(work: (manager: Manager) => Promise<T>): Promise<T> {
    return this.manager.ask(work)
  }

  get datastores(): { shared: DatastoreId; local: DatastoreId[] } {
    return { shared: 'ds-1' as DatastoreId, local: this.hosts.map((_host, at) => `ds-${at + 2}` as DatastoreId) }
  }

  /** Hosts as they are after their joins. */
  async #makeHosts(): Promise<void> {
    const [cluster] = (await this.store.list('cluster')).items
    if (cluster === undefined) throw new Error('the inventory has no cluster')
    for (const host of this.hosts) {
      const id = (await this.store.nextId('host')) as HostId
      const record: HostRecord = {
        ...{ id, uuid: this.random.uuid(), name: host.name, created: isoTime(this.clock.now()), v: 1 },
        ...{ cluster: cluster.value.id, agentPort: 1, tlsName: `${id}.holdfast`, certificateFingerprint: id },
        addresses: { management: host.address, storage: host.address, guests: host.address },
        ...{ maintenance: 'off', confirmedOff: false, facts: null },
      }
      const claim = { id: nameClaim('host', record.cluster, record.name), v: 1 as const, owner: id }
      const changes: Change[] = [
        { do: 'create', kind: 'host', value: record },
        { do: 'create', kind: 'claim', value: claim },
      ]
      await this.store.commit({ changes, events: [] })
    }
  }

  async #makeDatastores(): Promise<void> {
    const make = (body: { name: string; path: string; hosts?: string[]; isShared?: boolean }): Promise<unknown> =>
      this.ask((manager) => manager.api.createDatastore({ params: {}, body }, call))
    await make({ name: 'shared', path: '/shared', isShared: true })
    for (const host of this.hosts) {
      await make({ name: host.name.replace('node', 'local'), path: '/local', hosts: [host.name] })
    }
  }
}
