/**
 * Test code: hosts in memory whose agents keep the rules of run records, for the suites of sagas. Work takes virtual time
 * and is finished by whoever looks next. Whenever a guest begins to run, it is checked that it runs nowhere else.
 */
import type { Clock } from '../../base/clock.ts'
import type { HostId, VmId } from '../../base/ids.ts'
import type { VmProcessState } from '../../contracts/host.ts'
import type { ProtectionConfig } from '../../contracts/protection.ts'
import type { Store } from '../store/store.ts'
import { FakeAgent } from './fake-agent.ts'

export class FakeAgents {
  readonly store: Store
  readonly clock: Clock
  readonly hosts = new Map<HostId, FakeAgent>()
  /** Files of disks and images, as `ds-1/disk-3`. */
  readonly files = new Set<string>()
  /** Keys for which the next job fails, as `create-disk`. */
  readonly failingWork = new Set<string>()
  /** Kinds of work of which the next job that ends is forgotten, as by an agent that is started again. */
  readonly forgottenWork = new Set<string>()

  /** By which configuration the pair of a VM is bound, as the memories of both its pumps have it. */
  readonly bound = new Map<VmId, ProtectionConfig>()

  constructor(store: Store, clock: Clock) {
    this.store = store
    this.clock = clock
  }

  agent(host: HostId): FakeAgent {
    let agent = this.hosts.get(host)
    if (agent === undefined) this.hosts.set(host, (agent = new FakeAgent(this, host)))
    return agent
  }

  /** Hosts where a guest of this VM's executes. */
  runningOn(vm: VmId): HostId[] {
    const executes = (state: VmProcessState): boolean =>
      state === 'running' || state === 'outgoing' || state === 'paused'
    return [...this.hosts.values()].filter((agent) => executes(agent.vm(vm).process)).map((agent) => agent.id)
  }

  /** What goes on by itself, up to now. */
  async advance(): Promise<void> {
    for (const agent of this.hosts.values()) if (agent.isUp) await agent.advance()
  }
}
