/** The power switches of a simulated cluster's hosts, behind the port of fence agents. What was ordered happens, whoever dies. */
import { HoldfastError } from '../../base/errors.ts'
import type { AgentOrder, Fencer } from '../../manager/app/fence-agents.ts'
import type { FenceAgentMetadata } from '../../manager/domain/fence-agent-api.ts'
import type { SimulatedCluster } from './simulated-cluster.ts'
import type { SimulatedHost } from './simulated-host.ts'

/** `fence_spare` is a second device of the same host, whose faults are its own. */
export const fenceAgent = 'fence_sim'

/** As the lab's (`holdfast lab fence-fault`); and `slow`: it does what it is told, after a while. */
export const simulatedFaults = ['fail', 'hang', 'ignore', 'lie', 'slow'] as const
export type SimulatedFault = (typeof simulatedFaults)[number]

const switchMs = 300
const slowMs = 8000
const statusMs = 50

export class SimulatedFences implements Fencer {
  readonly #world: SimulatedCluster
  /** By agent and host. */
  readonly faults = new Map<string, SimulatedFault>()
  /** By agent and host: the host whose outlet it really is, where somebody has mixed up the cables. */
  readonly wires = new Map<string, string>()
  readonly #liesOf = new Set<string>()
  /** Every action that came to a device, as `off node1`. */
  readonly done: string[] = []
  /** Hears of each of them. */
  onAction: (action: string) => void = () => undefined

  constructor(world: SimulatedCluster) {
    this.#world = world
  }

  metadata = async (): Promise<FenceAgentMetadata> => ({
    parameters: ['action', 'plug', 'password'],
    actions: ['on', 'off', 'status'],
  })

  run = async ({ agent, action, options, secrets, timeoutMs }: AgentOrder): Promise<'on' | 'off' | null> => {
    const name = options['plug'] ?? ''
    const wired = this.wires.get(`${agent} ${name}`) ?? name
    const host = this.#world.hosts.find((each) => each.name === wired)
    if (host === undefined || secrets['password'] !== 'open sesame')
      throw new HoldfastError('host-error', 'no such outlet')
    this.#world.trace.note(`fence: ${agent} ${action} ${name}`)
    this.done.push(`${action} ${name}`)
    this.onAction(`${action} ${name}`)
    const fault = this.faults.get(`${agent} ${name}`)
    const lie = `${agent} ${name}`
    if (fault === 'hang') {
      await this.#world.clock.sleep(timeoutMs)
      throw new HoldfastError('timeout', `${action}: did not end in time`)
    }
    await this.#world.clock.sleep(action === 'status' ? statusMs : switchMs)
    if (fault === 'slow') await this.#world.clock.sleep(slowMs)
    if (fault === 'fail') throw new HoldfastError('host-error', `${action} failed: a fault`)
    if (action === 'status') return this.#liesOf.has(lie) || !host.isOn ? 'off' : 'on'
    if (action === 'on') {
      this.#liesOf.delete(lie)
      host.isOn = true
      void host.boot()
    } else if (fault === 'lie') this.#liesOf.add(lie)
    else if (fault !== 'ignore') this.#off(host)
    return null
  }

  #off(host: SimulatedHost): void {
    if (!host.isOn) return
    host.crash()
    for (const other of this.#world.hosts) this.#world.truth.reset(host.address, other.address)
  }
}
