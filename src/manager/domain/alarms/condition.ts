/**
 * What a condition of alarms is: a pure function from what is known of the world to what it sees in it. To add one, write
 * the function and put it into the list in conditions.ts; docs/alarms.md says what people are to know of it.
 */
import type { DatastoreId, HostId, ManagerId, TaskId, VmId } from '../../../base/ids.ts'
import type { AlarmSettings, AlarmSeverity, AlarmSubject } from '../../../contracts/alarms.ts'
import type { DatastoreObservation, VmObservation } from '../../../contracts/host.ts'
import type { VmPolicies } from '../../../contracts/inventory.ts'
import type { RunRecord } from '../../../contracts/run-record.ts'
import type { DatastoreView, HostState } from '../cluster-view.ts'

export interface AlarmWorld {
  /** Wall clock, milliseconds. */
  readonly now: number
  readonly settings: AlarmSettings
  /** Of the manager that looks. */
  readonly version: string
  readonly hosts: readonly AlarmHost[]
  readonly datastores: readonly DatastoreView[]
  readonly vms: readonly AlarmVm[]
  readonly tasks: readonly AlarmTask[]
  readonly certificates: readonly AlarmCertificate[]
  /** Those that are written down; none where this one is alone. */
  readonly managers: readonly AlarmManager[]
  /** Members of etcd that this manager is told of; none where the inventory is a file. */
  readonly storeMembers: readonly { readonly url: string; readonly problem: string | null }[]
  /** Whether the room that is to be kept for failures is there; null: none is to be kept. */
  readonly room: AlarmRoom | null
}

export interface AlarmManager {
  readonly id: ManagerId
  readonly name: string
  readonly isSilent: boolean
}

export interface AlarmRoom {
  /** The cluster. */
  readonly subject: AlarmSubject
  /** Why it is not there, with figures; null: it is. */
  readonly problem: string | null
}

export interface AlarmHost {
  readonly id: HostId
  readonly name: string
  readonly state: HostState
  readonly maintenance: 'off' | 'entering' | 'on'
  /** How long it has said nothing, milliseconds. */
  readonly silentMs: number
  /** Of its agent; null until its first report. */
  readonly agentVersion: string | null
  /** By its newest report, while it is connected; null else. */
  readonly clockSkewMs: number | null
  readonly datastores: readonly DatastoreObservation[] | null
  readonly vms: ReadonlyMap<VmId, VmObservation> | null
  /** Who sees of a silent host that it lives, in words; null: nobody does. */
  readonly seenBy: string | null
  /** Why its fence devices failed their last test; null: they did not, or there are none. */
  readonly fenceProblem: string | null
  /** When they said that it was off and it was not; null: never, as far as is known. */
  readonly fenceLiedAt: string | null
}

export interface AlarmVm {
  readonly id: VmId
  readonly name: string
  readonly power: 'on' | 'off'
  readonly operation: TaskId | null
  readonly restart: VmPolicies['restart']
  /** Its guest hangs or has panicked, and was reset as often as its policy allows. */
  readonly isGivenUp: boolean
  readonly run: RunRecord
  /** Null where nobody ever wanted it held in step. */
  readonly protection: {
    readonly isWanted: boolean
    readonly reason: string | null
    readonly isClockBehind: boolean
  } | null
}

export interface AlarmTask {
  readonly id: TaskId
  /** `vm.start/1` */
  readonly saga: string
  readonly target: AlarmSubject | null
  readonly state: 'running' | 'undoing' | 'done' | 'failed' | 'cancelled' | 'stuck'
  readonly problem: {
    readonly detail: string
    readonly mend?: string
    readonly details?: Record<string, unknown>
  } | null
  readonly startedBy: string
  readonly ended: string | null
}

export interface AlarmCertificate {
  readonly subject: AlarmSubject
  /** `the certificate of the manager` */
  readonly what: string
  /** Milliseconds since 1970; null: not known now. */
  readonly endsAt: number | null
}

/** A condition that holds of a subject. */
export interface Finding {
  readonly subject: AlarmSubject
  readonly place?: AlarmSubject
  readonly severity: AlarmSeverity
  readonly message: string
  readonly mend: string
  /** Which one, where there may be one after another (restarts of a VM): another one is news. */
  readonly occurrence?: string
}

/** Whether it holds cannot be told now (its host says nothing): an alarm stays as it is, and none is raised. */
export interface Unknown {
  readonly subject: AlarmSubject
  readonly place?: AlarmSubject
  readonly isUnknown: true
}

export type Sight = Finding | Unknown

export interface Condition {
  readonly type: string
  /** How long it must hold before it is raised. */
  readonly raiseAfterMs: number
  /** How long it must be over before it is cleared; longer for one that comes and goes. */
  readonly clearAfterMs: number
  /**
   * Subjects of which it holds, or of which that cannot be told. Of all others it is over. `isOpen` says whether there is an
   * alarm: a threshold may be another for clearing than for raising.
   */
  readonly look: (
    world: AlarmWorld,
    isOpen: (subject: AlarmSubject, place?: AlarmSubject) => boolean,
  ) => readonly Sight[]
}

export function isUnknown(sight: Sight): sight is Unknown {
  return 'isUnknown' in sight
}

export function unknown(subject: AlarmSubject, place?: AlarmSubject): Unknown {
  return { subject, ...(place === undefined ? {} : { place }), isUnknown: true }
}

export function hostSubject({ id, name }: { readonly id: HostId; readonly name: string }): AlarmSubject {
  return { kind: 'host', id, name }
}

export function vmSubject({ id, name }: { readonly id: VmId; readonly name: string }): AlarmSubject {
  return { kind: 'vm', id, name }
}

export function datastoreSubject({ id, name }: { readonly id: DatastoreId; readonly name: string }): AlarmSubject {
  return { kind: 'datastore', id, name }
}

export function runbookText(page: string): string {
  return `What to do is in docs/runbooks/${page}.md.`
}
