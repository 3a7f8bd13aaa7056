/** Faults of the world by a seed: what can go wrong on real machines, at random moments, all of it healed at the end. */
import type { SeededRandom } from '../seeded-random.ts'
import type { Client } from './client.ts'
import type { SimulatedCluster } from './simulated-cluster.ts'
import type { SimulatedHost } from './simulated-host.ts'

export const faultKinds = [
  'kill-manager',
  'kill-agent',
  'kill-qemu',
  'crash-host',
  'freeze-host',
  'freeze-agent',
  'freeze-manager',
  'cut-management',
  'cut-streams',
  'reset-streams',
  'bad-network',
  'clock-jump',
] as const
/** Those, and what leases are for. */
export const leaseFaultKinds = [...faultKinds, 'isolate-host', 'isolate-host', 'lose-managers', 'cut-managers'] as const
/** What takes no guest's memory, however long it lasts. */
export const managerFaultKinds = ['lose-managers', 'kill-manager', 'freeze-manager', 'bad-network'] as const
export type FaultKind = (typeof leaseFaultKinds)[number]

/** What takes memory with it: after these a guest may have to start again. */
export const losingFaults: ReadonlySet<FaultKind> = new Set(['kill-agent', 'kill-qemu', 'crash-host'])

export class Faults {
  /** How many struck so far. */
  count = 0
  /** What struck so far. */
  readonly struck = new Set<FaultKind>()
  readonly #world: SimulatedCluster
  readonly #client: Client
  readonly #random: SeededRandom
  #isHealed = false

  constructor(world: SimulatedCluster, client: Client) {
    this.#world = world
    this.#client = client
    this.#random = world.random.fork()
  }

  /** `count` faults of these kinds, spread over the next `withinMs`. */
  plan(kinds: readonly FaultKind[], count: number, withinMs: number): void {
    for (let at = 0; at < count; at++) {
      const kind = this.#random.pick(kinds)
      const afterMs = this.#random.int(withinMs)
      void this.#world.clock.sleep(afterMs).then(() => (this.#isHealed ? undefined : this.strike(kind)))
    }
  }

  strike(kind: FaultKind): void {
    this.struck.add(kind)
    this.count++
    const host = this.#random.pick(this.#world.hosts)
    const forMs = 200 + this.#random.int(20_000)
    switch (kind) {
      case 'kill-manager':
        return this.#killManager(forMs)
      case 'kill-agent':
        return this.#killAgent(host, forMs)
      case 'kill-qemu':
        return this.#killQemu(host)
      case 'crash-host':
        return this.#crash(host, forMs)
      case 'freeze-host':
      case 'freeze-agent':
      case 'freeze-manager':
        return this.#freeze(kind, host, forMs)
      case 'cut-management':
        return this.#cutManagement(host)
      case 'cut-streams':
        return this.#cutStreams(host)
      case 'reset-streams':
        return this.#resetStreams(host)
      case 'bad-network':
        this.#note('the management network becomes bad')
        this.#world.network.badness = 0.1 + this.#random.fraction() * 0.3
        this.#world.network.delayMs = 2 + this.#random.int(100)
        return
      case 'clock-jump':
        return this.#jump(host)
      case 'isolate-host':
        return this.#isolate(host)
      case 'lose-managers':
        return this.#loseManagers()
      case 'cut-managers':
        return this.#cutManagers()
    }
  }

  /** Everything is mended: nothing more strikes, every process runs, every way is open. */
  heal(): void {
    this.#isHealed = true
    this.#note('all is healed')
    const { network, truth, hosts, manager } = this.#world
    network.heal()
    network.delayMs = 2
    truth.heal()
    if (manager.process !== undefined) manager.process.life.endAfter(Number.POSITIVE_INFINITY)
    manager.process?.thaw()
    void manager.start()
    for (const host of hosts) {
      host.process?.life.endAfter(Number.POSITIVE_INFINITY)
      host.thaw()
      this.#boot(host)
    }
  }

  #killManager(forMs: number): void {
    const calls = this.#random.int(60)
    this.#note(`the manager dies after ${calls} more calls, and starts again after ${forMs} ms`)
    const { process } = this.#world.manager
    process?.life.endAfter(calls)
    void this.#world.clock.sleep(forMs).then(() => {
      if (this.#isHealed) return undefined
      if (process?.isAlive === true) process.kill()
      // It may die again as it takes its tasks up.
      return this.#world.manager.start(this.#random.chance(0.2) ? this.#random.int(400) : undefined)
    })
  }

  #killAgent(host: SimulatedHost, forMs: number): void {
    const calls = this.#random.int(40)
    this.#note(`the agent of ${host.name} dies after ${calls} more calls, and starts again after ${forMs} ms`)
    const { process } = host
    process?.life.endAfter(calls)
    void this.#world.clock.sleep(forMs).then(() => {
      if (this.#isHealed) return
      process?.kill()
      this.#boot(host, this.#random.chance(0.2) ? this.#random.int(100) : undefined)
    })
  }

  #killQemu(host: SimulatedHost): void {
    const guests = host.hypervisor.alive()
    if (guests.length === 0) return
    const guest = this.#random.pick(guests)
    this.#note(`QEMU of ${guest.config.name} on ${host.name} dies (${guest.state})`)
    guest.kill()
  }

  #crash(host: SimulatedHost, forMs: number): void {
    if (!host.isOn) return
    const isConfirmed = this.#random.chance(0.5)
    const offMs = isConfirmed ? 15_000 + forMs : forMs
    this.#note(`${host.name} crashes; it boots after ${offMs} ms${isConfirmed ? ', and a person confirms it' : ''}`)
    host.crash()
    for (const other of this.#world.hosts) this.#world.truth.reset(host.address, other.address)
    if (isConfirmed) void this.#confirm(host)
    void this.#world.clock.sleep(offMs).then(() => (this.#isHealed ? undefined : this.#boot(host)))
  }

  /** Says so for as long as it is true. */
  async #confirm(host: SimulatedHost): Promise<void> {
    await this.#world.clock.sleep(9_000)
    if (!host.isOn) await this.#client.confirmOff(host.id, () => !host.isOn)
  }

  #boot(host: SimulatedHost, dieAfter?: number): void {
    host.isOn = true
    void host.boot(dieAfter)
  }

  #freeze(kind: 'freeze-host' | 'freeze-agent' | 'freeze-manager', host: SimulatedHost, forMs: number): void {
    const thing = kind === 'freeze-host' ? host : kind === 'freeze-agent' ? host.process : this.#world.manager.process
    if (thing === undefined) return
    this.#note(`${kind} ${kind === 'freeze-manager' ? '' : host.name} for ${forMs} ms`)
    thing.freeze()
    void this.#world.clock.sleep(forMs).then(() => thing.thaw())
  }

  #cutManagement(host: SimulatedHost): void {
    const way = this.#random.pick(['to', 'from', 'both'] as const)
    this.#note(`the management network is cut ${way} ${host.name}`)
    if (way !== 'from') this.#world.network.cut('manager', host.id)
    if (way !== 'to') this.#world.network.cut(host.id, 'manager')
    void this.#world.clock.sleep(this.#random.int(40_000)).then(() => this.#world.network.join(host.id))
  }

  /** From managers, or from the other hosts, or from all of them; in one direction or both. */
  #isolate(host: SimulatedHost): void {
    const whom = this.#random.pick(['all', 'all', 'hosts', 'some'] as const)
    const way = this.#random.pick(['both', 'both', 'to', 'from'] as const)
    this.#note(`${host.name} is cut off from ${whom}, ${way}`)
    const { network } = this.#world
    for (const other of ['manager', ...this.#world.hosts.map(({ id }) => id)]) {
      if (other === host.id || (whom === 'hosts' && other === 'manager')) continue
      if (whom === 'some' && this.#random.chance(0.5)) continue
      if (way !== 'from') network.cut(other, host.id)
      if (way !== 'to') network.cut(host.id, other)
    }
    const forMs = 2000 + this.#random.int(30_000)
    void this.#world.clock.sleep(forMs).then(() => network.join(host.id))
  }

  /** No manager runs for a while, longer than any lease. */
  #loseManagers(): void {
    const forMs = 5000 + this.#random.int(60_000)
    this.#note(`all managers are lost for ${forMs} ms`)
    this.#world.manager.kill()
    void this.#world.clock.sleep(forMs).then(() => (this.#isHealed ? undefined : this.#world.manager.start()))
  }

  /** The managers live, and hear none of the hosts, or few. */
  #cutManagers(): void {
    const { network, hosts, clock } = this.#world
    this.#note('the managers are cut off from most hosts')
    for (const host of hosts) {
      if (this.#random.chance(0.2)) continue
      network.cut('manager', host.id)
      network.cut(host.id, 'manager')
    }
    void clock.sleep(5000 + this.#random.int(40_000)).then(() => {
      for (const host of hosts) network.join(host.id)
    })
  }

  #cutStreams(host: SimulatedHost): void {
    const other = this.#random.pick(this.#world.hosts.filter((each) => each !== host))
    this.#note(`streams from ${host.name} to ${other.name} are cut`)
    this.#world.truth.cutOneWay(host.address, other.address)
    if (this.#random.chance(0.5)) this.#world.truth.cutOneWay(other.address, host.address)
  }

  #resetStreams(host: SimulatedHost): void {
    const other = this.#random.pick(this.#world.hosts.filter((each) => each !== host))
    this.#note(`streams of ${host.name} and ${other.name} break`)
    this.#world.truth.reset(host.address, other.address)
  }

  #jump(host: SimulatedHost): void {
    const ms = (this.#random.int(7200) - 3600) * 1000
    const process = this.#random.chance(0.5) ? this.#world.manager.process : host.process
    this.#note(`a wall clock jumps by ${ms} ms`)
    process?.jump(ms)
  }

  #note(text: string): void {
    this.#world.trace.note(`fault: ${text}`)
  }
}
