/** The world of one scenario as its file describes it: VMs made and started, rules, settings; and its log from then on. */
import type { CallOf } from '../../contracts/routes.ts'
import type { Task, Vm } from '../../contracts/inventory.ts'
import type { HostId, VmId } from '../../base/ids.ts'
import { Client } from '../cluster/client.ts'
import { call, SimulatedCluster } from '../cluster/simulated-cluster.ts'
import { fenceAgent } from '../cluster/simulated-fences.ts'
import type { SimulatedHost } from '../cluster/simulated-host.ts'
import type { SimulatedManager } from '../cluster/simulated-manager.ts'
import { spanMs, type ScenarioVm, type Topology } from './format.ts'
import { ScenarioLog } from './log.ts'

export interface StageOptions {
  readonly seed: number
  readonly isVerbose?: boolean
}

const password = { password: 'open sesame' }

export class Stage {
  readonly world: SimulatedCluster
  readonly client: Client
  readonly log: ScenarioLog
  readonly topology: Topology
  /** Managers that another one was set in the place of, and that may still believe to lead. */
  readonly former: SimulatedManager[] = []
  readonly #ids = new Map<string, VmId>()
  /** VM → lives that it had begun before the first step. */
  readonly #livesBefore = new Map<string, number>()

  private constructor(world: SimulatedCluster, topology: Topology) {
    this.world = world
    this.topology = topology
    this.client = new Client(world)
    this.log = new ScenarioLog(world, (id) => [...this.#ids].find(([, each]) => each === id)?.[0] ?? id)
  }

  static async open(topology: Topology, { seed, isVerbose = false }: StageOptions): Promise<Stage> {
    const { hosts = 3, managers, watchdog, imageLocks = true, fences, guests = {} } = topology
    const habits = {
      ...(guests.transfer === undefined ? {} : { transferMs: spanMs(guests.transfer) }),
      ...(guests.neverConverges === undefined ? {} : { neverConverges: guests.neverConverges }),
      ...(guests.obeysPowerButton === undefined ? {} : { obeysPowerButton: guests.obeysPowerButton }),
      ...(guests.agentAfter === undefined ? {} : { agentAfterMs: spanMs(guests.agentAfter) }),
    }
    const world = await SimulatedCluster.open({
      ...{ seed, hosts, habits, isVerbose, hasLocks: imageLocks, isClustered: managers === 'several' },
      ...(watchdog === undefined ? {} : { watchdogMs: spanMs(watchdog) }),
      hasFences: fences !== undefined,
    })
    const stage = new Stage(world, topology)
    await stage.#setFences()
    for (const name of inOrderOfNeed(topology.vms)) await stage.#make(name, topology.vms[name] ?? {})
    await stage.#settings()
    // Reports are in, fence devices were tested, and what is to be armed is.
    await world.clock.advance(4000)
    await stage.#untilArmed()
    for (const name of stage.#ids.keys()) stage.#livesBefore.set(name, stage.#lives(name))
    stage.log.begin()
    return stage
  }

  host(name: string): SimulatedHost {
    const found = this.world.hosts.find((each) => each.name === name)
    if (found === undefined) throw new Error(`there is no ${name}`)
    return found
  }

  hosts(list: string): SimulatedHost[] {
    return list === 'all' ? [...this.world.hosts] : list.split(',').map((name) => this.host(name))
  }

  /** The id of a VM; one that was never made has none. */
  id(name: string): VmId {
    return this.#ids.get(name) ?? ('vm-999' as VmId)
  }

  remember(name: string, id: string): void {
    this.#ids.set(name, id as VmId)
  }

  /** Hosts on which its vCPUs really run. */
  runsOn(name: string): string[] {
    const id = this.#ids.get(name)
    const running = [...this.world.truth.running].filter((guest) => guest.config.name === id)
    return running.map(({ host }) => this.world.hosts.find(({ address }) => address === host)?.name ?? host)
  }

  /** How often it has booted since the first step. */
  boots(name: string): number {
    return this.#lives(name) - (this.#livesBefore.get(name) ?? 0)
  }

  #lives(name: string): number {
    return this.log.boots.get(this.id(name))?.size ?? 0
  }

  async #setFences(): Promise<void> {
    const { fences, spareFences, fencedThen, fencing } = this.topology
    for (const { id, name } of this.world.hosts) {
      if (fences === undefined) break
      if (fences !== 'all' && !fences.includes(name))
        await this.#ask((manager) => manager.api.removeHostFence({ params: { host: id }, query: {} }, call))
      else if (fencedThen !== undefined) await this.#setFence(id, { agent: fenceAgent, plug: name, then: fencedThen })
      if (spareFences?.hosts.includes(name) === true)
        await this.#setFence(id, { agent: 'fence_spare', plug: name, level: spareFences.level })
    }
    if (fencing !== undefined)
      await this.#ask((manager) => manager.api.changeFencing({ params: {}, body: fencing }, call))
  }

  async #setFence(
    host: HostId,
    { agent, plug, ...more }: { agent: string; plug: string; level?: number; then?: 'on' | 'off' },
  ): Promise<void> {
    const body = { agent, options: { plug }, secrets: password, ...more }
    await this.#ask((manager) => manager.api.setHostFence({ params: { host }, body }, call))
  }

  async #settings(): Promise<void> {
    const { cluster, rules = [] } = this.topology
    if (cluster !== undefined)
      await this.#ask((manager) => manager.api.changeCluster({ params: {}, body: cluster }, call))
    for (const body of rules) await this.#ask((manager) => manager.api.createRule({ params: {}, body }, call))
  }

  async #make(name: string, vm: ScenarioVm): Promise<void> {
    const made = await this.#ask((manager) => manager.api.createVm({ params: {}, body: bodyOf(name, vm) }, call))
    const id = (await this.#ended(made)).target?.id ?? ''
    this.remember(name, id)
    this.client.names.set(id, name)
    const { on } = vm
    if (on === undefined) return
    await this.#ended(
      await this.#ask((manager) => manager.api.startVm({ params: { vm: id }, body: { host: on } }, call)),
    )
    if (vm.guestAgent === true) this.host(on).guest(id)?.live({ hasAgent: true })
  }

  async #ended({ id }: Task): Promise<Task> {
    const query = { waitSeconds: 60 }
    const task = await this.#ask((manager) => manager.api.getTask({ params: { task: id }, query }, call))
    if (task.state !== 'done') throw new Error(`the scenario cannot begin: ${task.name}: ${task.problem?.detail ?? ''}`)
    return task
  }

  async #untilArmed(): Promise<void> {
    const { managers, vms } = this.topology
    if (managers !== 'several') return
    const wanted = Object.entries(vms).flatMap(([name, { on, isolation }]) =>
      on !== undefined && isolation === 'stop' ? [this.id(name)] : [],
    )
    for (let tries = 0; tries < 100; tries++) {
      const { items } = await this.world.store.list('promise')
      const armed = new Set(items.flatMap(({ value }) => value.promise.armed))
      if (wanted.every((vm) => armed.has(vm)) && items.length === this.world.hosts.length) return
      await this.world.clock.advance(500)
    }
    throw new Error('the scenario cannot begin: its VMs are never armed')
  }

  #ask: SimulatedCluster['ask'] = (work) => this.world.run(this.world.ask(work))

  /** As the API shows it, when a manager answers. */
  async shown(name: string): Promise<Vm | undefined> {
    const asked = this.world.ask((manager) => manager.api.getVm({ params: { vm: this.id(name) } }, call))
    return this.world.run(asked.catch(() => undefined))
  }
}

function bodyOf(name: string, vm: ScenarioVm): CallOf<'createVm'>['body'] {
  const {
    datastore = 'shared',
    memoryMiB = 64,
    priority,
    isolation,
    restart,
    allowPostCopy,
    dependsOn,
    monitoring,
  } = vm
  const policies = {
    ...(priority === undefined ? {} : { restartPriority: priority }),
    ...(isolation === undefined ? {} : { isolation }),
    ...(restart === undefined ? {} : { restart }),
    ...(allowPostCopy === undefined ? {} : { allowPostCopy }),
    ...(monitoring === undefined ? {} : { monitoring }),
  }
  const disks = [{ sizeBytes: 1024 * 1024, datastore }]
  const made = { name, memoryMiB, video: 'none' as const, nics: [], disks, policies }
  return { ...made, ...(dependsOn === undefined ? {} : { dependsOn }) }
}

/** A VM is made after those that it depends on; otherwise as they are written. */
function inOrderOfNeed(vms: Topology['vms']): string[] {
  const order: string[] = []
  const add = (name: string): void => {
    if (order.includes(name)) return
    for (const { vm } of vms[name]?.dependsOn ?? []) if (vm !== name) add(vm)
    order.push(name)
  }
  for (const name of Object.keys(vms)) add(name)
  return order
}
