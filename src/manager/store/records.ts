/**
 * What the store keeps. Records are open (fields of a newer version pass through) and bear the version of their schema.
 * The manager owns specs; agents own (through it) the run records; observations stay in memory.
 */
import type {
  ClusterId,
  DatacenterId,
  DatastoreId,
  DiskId,
  FolderId,
  HostId,
  ImageId,
  ManagerId,
  NetworkId,
  PoolId,
  ProjectId,
  RuleId,
  TaskId,
  TokenId,
  VmId,
} from '../../base/ids.ts'
import type { AlarmSettings } from '../../contracts/alarms.ts'
import type { VmPolicies } from '../../contracts/inventory.ts'
import type { FencingSettings } from '../../contracts/fence.ts'
import type { HostFacts } from '../../contracts/host.ts'
import type { MachineSpec } from '../../contracts/machine-spec.ts'
import type {
  ArbiterId,
  CopyDisk,
  ProtectionSettings,
  ProtectionSide,
  RegisterRecord,
} from '../../contracts/protection.ts'
import type { AdmissionSettings, RestartSettings, VmDependency } from '../../contracts/restart.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import type { Role } from '../../contracts/routes.ts'
import type { AlarmRecord } from '../domain/alarms/alarm-record.ts'
import type { DeliveryRecord, TargetRecord } from '../domain/alarms/notification.ts'
import type { NetworkSettings, RuleView } from '../domain/cluster-view.ts'
import type { KeptPromise } from '../domain/host-promise.ts'
import type { Evidence } from '../../contracts/monitoring.ts'
import type { MonitoringHistory } from '../domain/monitoring.ts'

interface Base<Id extends string> {
  readonly id: Id
  readonly uuid: string
  readonly name: string
  readonly created: string
  /** Version of this record's schema. */
  readonly v: 1
}

export interface ClusterRecord extends Base<ClusterId> {
  readonly datacenter: DatacenterId
  readonly cpuBaseline: string
  /** Raised when the store is restored from a backup. */
  readonly incarnation: number
  /** What was set of it; the rest is as usual (domain/fence-plan.ts). */
  readonly fencing?: Partial<FencingSettings>
  /** Absent: the defaults. */
  readonly restart?: RestartSettings
  /** Absent: off. */
  readonly admission?: AdmissionSettings
}
export interface DatacenterRecord extends Base<DatacenterId> {
  readonly folder: FolderId
}
export interface FolderRecord extends Base<FolderId> {
  readonly parent: FolderId | null
}
export interface PoolRecord extends Base<PoolId> {
  readonly cluster: ClusterId
  readonly parent: PoolId | null
}
export interface ProjectRecord extends Base<ProjectId> {
  readonly description: string
}

export interface HostRecord extends Base<HostId> {
  readonly cluster: ClusterId
  readonly addresses: HostFacts['addresses']
  readonly agentPort: number
  readonly tlsName: string
  /** SHA-256 of the certificate that this host must show; a removed or re-joined host's old one is worthless. */
  readonly certificateFingerprint: string
  /** Of a renewed certificate that the host has not shown yet; the old one works until then. */
  readonly nextFingerprint?: string | null
  /** The name in the certificate of its migration streams; absent: it shows its own there (an older agent). */
  readonly streamTlsName?: string
  readonly maintenance: 'off' | 'entering' | 'on'
  /** Set by a person or a fence device; taken back by the host's next report. */
  readonly confirmedOff: boolean
  /** The last facts it reported; null until then. Written when they change. */
  readonly facts: HostFacts | null
  /** What can switch it off from outside. */
  readonly fence?: HostFenceRecord | null
  /** The task that renews it now: it has put the host into maintenance, and takes it out again. `renewing`: not before it is renewed. */
  readonly renewal?: { readonly task: TaskId; readonly phase: 'emptying' | 'renewing' } | null
  /** Its last renewal by `cluster upgrade`. */
  readonly upgraded?: { readonly at: string; readonly from: HostVersions; readonly to: HostVersions } | null
  /** The fencing that confirmed it off last, and the newest session of its agent then: a report of that one comes from a host that is not off. */
  readonly fencedBy?: { readonly task: TaskId; readonly session: string | null } | null
}

/** What of a host a renewal changes. */
export interface HostVersions {
  readonly agent: string
  /** With what the distribution calls its build. */
  readonly qemu: string
}

export interface HostFenceRecord {
  /** Tried in this order; every device of a level must succeed. */
  readonly levels: readonly (readonly FenceDeviceRecord[])[]
  readonly then: 'on' | 'off'
  /** Of the last test; null before it. */
  readonly test: { readonly problem: string | null; readonly testedAt: string } | null
  /** What people were told last of a fencing that does not succeed. */
  readonly told?: { readonly task: TaskId; readonly problem: string } | null
  /** They said that the host was off, and it was not. Until they are set anew, or a test that really switched has succeeded. */
  readonly lied?: { readonly at: string; readonly task: TaskId } | null
}

export interface FenceDeviceRecord {
  readonly agent: string
  readonly options: Readonly<Record<string, string>>
  /** Sealed values by option (app/sealed.ts). */
  readonly secrets: Readonly<Record<string, string>>
}

export interface VmRecord extends Base<VmId> {
  readonly description: string
  readonly project: ProjectId
  readonly pool: PoolId
  readonly folder: FolderId
  readonly power: 'on' | 'off'
  readonly spec: MachineSpec
  readonly policies: VmPolicies
  /** The task that holds this VM; one changing operation at a time. */
  readonly operation: TaskId | null
  /** While it moves with disks: the spec that the commit of its arrival puts in place of `spec`. */
  readonly specAfterMove?: MachineSpec | null
  /** VMs that are to be ready before this one is started again. */
  readonly dependsOn?: readonly VmDependency[]
  /** Why it is not started again yet although it should; shown while it is stopped. */
  readonly restartWait?: RestartWait | null
  /** There from the first time on that somebody wanted it held in step on two hosts. */
  readonly protection?: VmProtectionRecord
  /** There from the first reset of a guest that hung or had panicked. */
  readonly monitoring?: MonitoringHistory
}

export interface RestartWait {
  /** `no-host`, `storage`, `rule`, `dependency`, `failed`, `exhausted`: people are told once of each. */
  readonly code: string
  readonly why: string
}

/** What should be of a VM's protection, and what there is for it. Which hosts take part now is the run record's to say. */
export interface VmProtectionRecord {
  readonly isWanted: boolean
  /** The newest configuration that was ever begun; durable before it is used, and never used again. */
  readonly lastN: number
  readonly settings: ProtectionSettings
  /** Present exactly while the run record names a second. */
  readonly second: SecondCopy | null
  /** Copies that are out: to be ended on their hosts, and their images deleted. */
  readonly former: readonly FormerCopy[]
  /** Why it is not protected although that is wanted, in words. */
  readonly reason: string | null
  /** People were told that the guest's clock is too far behind, and not yet that it is right again. */
  readonly isClockBehind?: boolean
}

export interface SecondCopy {
  readonly n: number
  readonly host: HostId
  readonly arbiter: ArbiterId
  readonly copies: readonly CopyDisk[]
  /** The machine with the second's images: what the VM is from the commit of a takeover on. */
  readonly spec: MachineSpec
}

export interface FormerCopy {
  readonly n: number
  readonly host: HostId
  /** What it was: a primary that has lost holds nothing that would have to be given up. */
  readonly side: ProtectionSide
  readonly disks: readonly DiskId[]
}

/** The run record under the VM's id: written by transitions alone. */
export interface RunRecordStored {
  readonly id: VmId
  readonly v: 1
  readonly run: RunRecord
  readonly lastAttempt: string | null
}

export interface DatastoreRecord extends Base<DatastoreId> {
  readonly datacenter: DatacenterId
  readonly kind: 'folder'
  readonly isShared: boolean
  readonly path: string
  /** Empty: every host. */
  readonly hosts: readonly HostId[]
}

export interface NetworkRecord extends Base<NetworkId>, NetworkSettings {
  readonly datacenter: DatacenterId
}

/** A rule of placement: which VMs belong together, apart, or on which hosts. */
export interface RuleRecord extends Base<RuleId>, Omit<RuleView, 'id' | 'name'> {
  readonly cluster: ClusterId
}

export interface ImageRecord extends Base<ImageId> {
  readonly datastore: DatastoreId
  readonly state: 'importing' | 'ready'
  readonly format: 'raw' | 'qcow2'
  readonly virtualBytes: number
  readonly fileBytes: number
  readonly sha256: string
}

/** Ties a disk's id to its place; made with the disk, so that a crash leaves no file that nobody owns. */
export interface DiskRecord {
  readonly id: DiskId
  readonly v: 1
  readonly datastore: DatastoreId
  readonly vm: VmId
  readonly sizeBytes: number
  readonly kind: 'disk' | 'nvram'
  /** Other datastores where a copy is or may be (a move under way, or its leftovers); never read, only cleaned up. */
  readonly alsoAt?: readonly DatastoreId[]
}

/** A saga's log, and what the API shows as a task. */
export interface TaskRecord {
  readonly id: TaskId
  readonly v: 1
  /** `vm.migrate/1`: name and version of the saga. */
  readonly saga: string
  readonly target: { readonly kind: string; readonly id: string; readonly name: string } | null
  readonly params: unknown
  readonly state: 'running' | 'undoing' | 'done' | 'failed' | 'cancelled' | 'stuck'
  /** The step being done (or undone). */
  readonly step: string | null
  /** Output of each step done, in order. */
  readonly outputs: readonly { readonly step: string; readonly output: unknown }[]
  readonly cancelAsked: boolean
  readonly problem: {
    readonly code: string
    readonly detail: string
    readonly mend?: string
    readonly details?: Record<string, unknown>
  } | null
  readonly result: Record<string, unknown> | null
  /** The VM whose `operation` this task is; cleared with the task's end. */
  readonly holds?: VmId | null
  /** The engine that works on it; another one that takes it over writes itself here, and the former lets go. */
  readonly runner?: string
  /** In state `stuck`: what it goes on with when it can, and the failure (if any) that it is being undone for. */
  readonly stuck?: { readonly was: 'running' | 'undoing'; readonly failure: TaskRecord['problem'] } | null
  readonly startedBy: string
  readonly created: string
  readonly ended: string | null
}

export interface TokenRecord extends Base<TokenId> {
  readonly role: Role
  /** SHA-256 of the secret, hex; the secret itself is never kept. */
  readonly secretHash: string
  readonly expires: string | null
  readonly lastUsed: string | null
}

/** One-time secrets: join tokens, sign-in codes; sessions of browsers. Keyed by the SHA-256 of the secret. */
export interface SecretRecord {
  readonly id: string
  readonly v: 1
  readonly kind: 'join' | 'manager' | 'sign-in' | 'session'
  readonly role: Role
  readonly expires: string
  readonly usedBy: string | null
  /** Who made it, for the names in events and tasks. */
  readonly madeBy?: string
}

/** An idempotency key's first answer. */
export interface IdempotencyRecord {
  readonly id: string
  readonly v: 1
  readonly requestDigest: string
  readonly status: number
  readonly body: unknown
  readonly expires: string
  /**
   * What the request made, committed with it. There until the answer itself is known; an answer that never was (the manager
   * died) is made from it.
   */
  readonly made?: MadeObject
}

export interface MadeObject {
  readonly kind: 'task' | 'datastore' | 'network' | 'upload' | 'rule'
  readonly id: string
}

/** A taken name, MAC or address: `vm/project-1/web`, `mac/52:54:…`, `address/net-1/10.0.0.5`. Created with its owner, so uniqueness is the store's own. */
export interface ClaimRecord {
  readonly id: string
  readonly v: 1
  readonly owner: string
}

/** What a host has promised of its armed VMs; under the host's id (contracts/host-lease.ts). */
export interface HostPromiseRecord extends KeptPromise {
  readonly v: 1
}

/** What the managers keep as the arbiter of a VM; under the VM's id. */
export interface RegisterStored {
  readonly id: VmId
  readonly v: 1
  /** Of the managers' memory that wrote it. */
  readonly life: string
  readonly register: RegisterRecord
}

/** What was seen of a guest before a reset, under the VM's id and one of a few places: `vm-42/2`. The oldest gives way. */
export interface EvidenceRecord extends Evidence {
  readonly id: string
  readonly v: 1
}

export interface UploadRecord {
  readonly id: string
  readonly v: 1
  readonly datastore: DatastoreId
  readonly host: HostId
  readonly sizeBytes: number
  readonly created: string
}

/** A manager of the cluster; written by whoever leads when it is heard of, or tells of other addresses. */
export interface ManagerRecord extends Base<ManagerId> {
  /** Where it is asked: `https://…` each. */
  readonly urls: readonly string[]
  readonly version: string
}

/** There is one, or none while all are the defaults. */
export interface AlarmSettingsRecord {
  readonly id: 'alarm-settings'
  readonly v: 1
  readonly settings: Partial<AlarmSettings>
}

/** What is kept, by kind. */
export interface Records {
  cluster: ClusterRecord
  datacenter: DatacenterRecord
  folder: FolderRecord
  pool: PoolRecord
  project: ProjectRecord
  host: HostRecord
  vm: VmRecord
  run: RunRecordStored
  datastore: DatastoreRecord
  network: NetworkRecord
  image: ImageRecord
  disk: DiskRecord
  task: TaskRecord
  token: TokenRecord
  secret: SecretRecord
  idempotency: IdempotencyRecord
  claim: ClaimRecord
  upload: UploadRecord
  register: RegisterStored
  manager: ManagerRecord
  promise: HostPromiseRecord
  alarm: AlarmRecord
  'alarm-settings': AlarmSettingsRecord
  target: TargetRecord
  delivery: DeliveryRecord
  rule: RuleRecord
  evidence: EvidenceRecord
}

export type Kind = keyof Records
