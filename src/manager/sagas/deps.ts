/** What sagas and reconcilers need of the rest of the manager: narrow ports, wired by the app. */
import type { Clock } from '../../base/clock.ts'
import type { HostId, TaskId, VmId } from '../../base/ids.ts'
import type { Logger } from '../../base/log.ts'
import type { Random } from '../../base/random.ts'
import type { AgentApi } from '../../contracts/agent-api.ts'
import type { HostReport, VmObservation } from '../../contracts/host.ts'
import type { Host } from '../../contracts/inventory.ts'
import type { ClusterView } from '../domain/cluster-view.ts'
import type { HostRecord, TaskRecord } from '../store/records.ts'
import type { Store } from '../store/store.ts'
import type { HostPromises } from './host-promises.ts'

export interface HostsPort {
  /** The client of a host's agent. Its calls throw `unreachable` when the host does not answer. */
  agent(host: HostId): AgentApi
  /** The newest report, however old; undefined when there has been none since this manager began. */
  report(host: HostId): HostReport | undefined
  /** What a connected host sees of a VM; undefined where it is not connected. */
  observation(host: HostId | null, vm: VmId): VmObservation | undefined
  /** How long the host has been silent, milliseconds; since this manager's start when it never reported. */
  silentMs(host: HostId): number
  /** For how long it has gone on reporting without a gap, milliseconds. */
  steadyMs(host: HostId): number
  stateOf(record: HostRecord): Host['state']
  /** Whatever the host reports from now on earns it no lease, until `keepLease`. False where it was heard within `silentMs`. */
  giveUpLease(host: HostId, silentMs: number): boolean
  keepLease(host: HostId): void
}

export interface ManagersPort {
  urls(): readonly string[]
  /** Name that their certificates bear. */
  readonly tlsName: string
}

/** What every saga of VMs gets. */
export interface SagaDeps {
  readonly store: Store
  readonly hosts: HostsPort
  /** The inventory with the newest observations, including every commit made before the call. */
  cluster(): Promise<ClusterView>
  /** Hosts that were chosen a moment ago; one for all sagas of a manager. */
  readonly promises: HostPromises
  /** Where the managers themselves are asked, by pumps of VMs whose arbiter they are. */
  readonly managers: ManagersPort
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

/** Operations that a saga begins for other VMs (maintenance). */
export interface OperationsPort {
  /**
   * Begins what takes a VM off this host: a move to a host that placement chooses, the takeover by its second copy, or the
   * end of a second copy that is there. Throws what refuses it (`refused`, `operation-in-progress`).
   */
  leaveHost(vm: VmId, host: HostId, startedBy: string): Promise<TaskId>
  /** Resolves when the task has ended; rejects with the signal's reason. */
  ended(task: TaskId, signal: AbortSignal): Promise<TaskRecord>
  /** Asks for the cancel of a task; one that is too far or over is left alone. */
  cancel(task: TaskId): Promise<void>
}
