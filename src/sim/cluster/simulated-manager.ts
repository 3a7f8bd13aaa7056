/** The real manager as a process that can be killed at any call that it makes, and started again over the same store. */
import { HoldfastError } from '../../base/errors.ts'
import type { HostId } from '../../base/ids.ts'
import type { Network } from '../../base/network.ts'
import type { AgentApi } from '../../contracts/agent-api.ts'
import type { Fencer } from '../../manager/app/fence-agents.ts'
import { Manager } from '../../manager/app/manager.ts'
import { sealedBy } from '../../manager/app/sealed.ts'
import type { MemoryStore } from '../../manager/store/memory/memory-store.ts'
import type { SeededRandom } from '../seeded-random.ts'
import type { VirtualClock } from '../virtual-clock.ts'
import { SimulatedProcess } from './process.ts'
import type { Trace } from './trace.ts'

export interface ManagerParts {
  readonly clock: VirtualClock
  readonly random: SeededRandom
  readonly trace: Trace
  readonly store: MemoryStore
  readonly isClustered: boolean
  readonly agents: (host: HostId) => AgentApi
  /** What switches hosts off; absent: nothing. */
  readonly fencer?: Fencer
  /** Who is told of alarms by webhook. */
  readonly receivers: Pick<Network, 'request'>
}

const noAuthority = {
  ca: '',
  sign: () => Promise.reject(new HoldfastError('not-allowed', 'the simulation signs nothing')),
  deriveKey: () => Promise.resolve(new Uint8Array(32)),
}

export class SimulatedManager {
  readonly #parts: ManagerParts
  running: { readonly process: SimulatedProcess; readonly api: Manager } | undefined
  #process: SimulatedProcess | undefined
  #starts = 0

  constructor(parts: ManagerParts) {
    this.#parts = parts
  }

  get process(): SimulatedProcess | undefined {
    return this.#process
  }

  /** Starts it, when none runs. It dies after `dieAfter` calls when that is given. */
  async start(dieAfter?: number): Promise<void> {
    if (this.#process?.isAlive === true) return
    const { clock, random, trace, store, agents, isClustered, fencer, receivers } = this.#parts
    const process = new SimulatedProcess(clock)
    this.#process = process
    if (dieAfter !== undefined) process.life.endAfter(dieAfter)
    const api = await Manager.open({
      store: process.port(store),
      clock: process.clock,
      random: random.fork(),
      logger: trace.logger(`manager#${++this.#starts}`),
      authority: noAuthority,
      agents: (host) => process.port(agents(host.id)),
      network: process.port(receivers),
      version: '0.1.0',
      isClustered,
      clusterName: 'sim',
      ...(fencer === undefined
        ? {}
        : { fencing: { fencer: process.port(fencer), sealed: sealedBy(new Uint8Array(32), random.fork()) } }),
    })
    if (process.isAlive) this.running = { process, api }
  }

  kill(): void {
    this.#process?.kill()
    this.running = undefined
  }

  /** A use case as somebody's request: `unreachable` when no manager runs, or it dies meanwhile. */
  async ask<T>(work: (manager: Manager) => Promise<T>): Promise<T> {
    const { running } = this
    if (running === undefined) throw new HoldfastError('unreachable', 'no manager runs')
    return running.process.serve(() => work(running.api))
  }
}
