/** The objects of the inventory as the API shows them. */
import {
  ClusterIdSchema,
  DatacenterIdSchema,
  DatastoreIdSchema,
  DiskIdSchema,
  FolderIdSchema,
  HostIdSchema,
  ImageIdSchema,
  ManagerIdSchema,
  NetworkIdSchema,
  PoolIdSchema,
  ProjectIdSchema,
  TaskIdSchema,
  TokenIdSchema,
  VmIdSchema,
} from './ids.ts'
import { HostFence } from './fence.ts'
import { DatastoreObservation, HostFacts, HostLoad, NetworkObservation } from './host.ts'
import { isolationPolicies, leaseStates } from './host-lease.ts'
import { MachineSpec } from './machine-spec.ts'
import { restartPriorities } from './restart-words.ts'
import { AdmissionSettings, RestartSettings, VmDependency } from './restart.ts'
import { GuestObservation, MonitoringPolicy } from './monitoring.ts'
import { RunRecord } from './run-record.ts'
import {
  Count,
  Ipv4,
  Name,
  Nullable,
  OneOf,
  Open,
  Ref,
  Sha256,
  Strict,
  Time,
  Type,
  Uuid,
  type Static,
} from './schema.ts'
import { Protection } from './vm-protection.ts'

/** What every object has. */
const common = { uuid: Uuid, name: Type.String(), created: Time, revision: Count }

export const VmPolicies = Open({
  /** May a migration that does not converge switch to post-copy? */
  allowPostCopy: Type.Boolean(),
  /** May a migration slow the guest's CPUs down so that it converges? */
  autoConverge: Type.Boolean(),
  /** Start it again when it stopped without being asked (QEMU died, its host was lost). */
  restart: OneOf(['on-failure', 'never']),
  /**
   * What a host does with it that hears no manager any more while others do (contracts/host-lease.ts): `stop`, so that it
   * comes back elsewhere within seconds; or `leave-running`, until the host is known to be off. Absent: `leave-running`.
   */
  isolation: Type.Optional(OneOf(isolationPolicies)),
  /** Its turn when VMs are started again after the loss of a host; absent: `medium`. */
  restartPriority: Type.Optional(OneOf(restartPriorities)),
  /** When its guest is reset because it hangs or has panicked; absent: never. */
  monitoring: Type.Optional(MonitoringPolicy),
})
export type VmPolicies = Static<typeof VmPolicies>

/**
 * State for people, made from intent, run record and observation:
 * `stopped`, `starting`, `running`, `paused`, `stopping`, `migrating`, `unknown` (its host is out of reach),
 * `stuck` (needs a person: `problem` says what).
 */
export const vmStates = [
  'stopped',
  'starting',
  'running',
  'paused',
  'stopping',
  'migrating',
  'unknown',
  'stuck',
] as const
export type VmState = (typeof vmStates)[number]

export const Vm = Open({
  id: VmIdSchema,
  ...common,
  description: Type.String(),
  project: ProjectIdSchema,
  pool: PoolIdSchema,
  folder: FolderIdSchema,
  /** What should be. */
  power: OneOf(['on', 'off']),
  state: OneOf(vmStates),
  /** Name of the host that runs it (or ran it last). */
  host: Nullable(Type.String()),
  hostId: Nullable(HostIdSchema),
  addresses: Type.Array(Ipv4),
  spec: MachineSpec,
  policies: VmPolicies,
  /** VMs that are to be ready before this one is started again; absent: none. */
  dependsOn: Type.Optional(Type.Array(VmDependency)),
  run: RunRecord,
  protection: Protection,
  /** The task that holds the VM now. */
  operation: Nullable(TaskIdSchema),
  problem: Nullable(Type.String()),
  /** What its host sees of the guest, where it is monitored. */
  guest: Type.Optional(Nullable(GuestObservation)),
  usage: Nullable(Open({ cpuSeconds: Type.Number(), rssMiB: Type.Number(), startedAt: Nullable(Time) })),
})
export type Vm = Static<typeof Vm>

/** Of what a renewal of a host changes. */
const HostVersions = Open({ agent: Type.String(), qemu: Type.String() })

export const Host = Open({
  id: HostIdSchema,
  ...common,
  cluster: ClusterIdSchema,
  /** `connected`, `unreachable` (no report lately), `confirmed-off` (a person or a fence device said so). */
  state: OneOf(['connected', 'unreachable', 'confirmed-off', 'never-seen']),
  maintenance: OneOf(['off', 'entering', 'on']),
  lastSeen: Nullable(Time),
  addresses: HostFacts.properties.addresses,
  facts: Nullable(HostFacts),
  load: Nullable(HostLoad),
  datastores: Type.Array(DatastoreObservation),
  networks: Type.Array(NetworkObservation),
  vmCount: Count,
  /** Memory promised to VMs that run (or start, or arrive) here. */
  committedMiB: Count,
  clockSkewMs: Nullable(Type.Number()),
  /** Its lease; null where none are granted (one manager alone). `over`: its round is closed, what was armed may run elsewhere. `unheard`: not since this manager began. */
  lease: Nullable(
    Open({
      state: OneOf([...leaseStates, 'over', 'unheard']),
      round: Count,
      armed: Type.Array(VmIdSchema),
      watchdogMs: Nullable(Count),
    }),
  ),
  /** Of a host that the managers do not hear: what the others see of it. */
  seenBy: Type.Array(Open({ host: Type.String(), network: Type.Boolean(), storage: Nullable(Type.Boolean()) })),
  /** Its last renewal by a roll over the hosts: what it was, and became. */
  upgraded: Type.Optional(Nullable(Open({ at: Time, from: HostVersions, to: HostVersions }))),
  /** What can switch it off from outside; null: nothing. Older managers do not say. */
  fence: Type.Optional(Nullable(HostFence)),
})
export type Host = Static<typeof Host>

export const Manager = Open({
  id: ManagerIdSchema,
  ...common,
  /** Where it is asked. */
  urls: Type.Array(Type.String()),
  version: Type.String(),
  /** `leads`; `stands-by` (passes requests on, and leads when the leader is gone); `silent` (not heard of lately). */
  state: OneOf(['leads', 'stands-by', 'silent']),
  leadsSince: Nullable(Time),
  lastSeen: Nullable(Time),
})
export type Manager = Static<typeof Manager>

export const Datastore = Open({
  id: DatastoreIdSchema,
  ...common,
  datacenter: DatacenterIdSchema,
  kind: OneOf(['folder']),
  isShared: Type.Boolean(),
  /** Host → folder. */
  mounts: Type.Array(Open({ host: HostIdSchema, hostName: Type.String(), path: Type.String() })),
  totalBytes: Nullable(Count),
  freeBytes: Nullable(Count),
  isUsable: Type.Boolean(),
  problem: Nullable(Type.String()),
})
export type Datastore = Static<typeof Datastore>

export const CreateDatastore = Strict({
  name: Name,
  path: Type.String({ pattern: '^/[^\\0]*$', maxLength: 1024, description: 'the folder, on each of the hosts' }),
  hosts: Type.Optional(Type.Array(Ref, { minItems: 1, description: 'default: every host' })),
  isShared: Type.Optional(Type.Boolean({ description: 'the same storage on all of them' })),
})
export type CreateDatastore = Static<typeof CreateDatastore>

const NetworkKind = OneOf(['vxlan', 'vlan', 'isolated'])
const Spoofing = OneOf(['allowed', 'dropped'])

export const NetworkObject = Open({
  id: NetworkIdSchema,
  ...common,
  datacenter: DatacenterIdSchema,
  kind: NetworkKind,
  tag: Nullable(Count),
  uplink: Nullable(Type.String()),
  mtu: Count,
  macSpoofing: Spoofing,
  ipSpoofing: Spoofing,
  ipv4: Nullable(
    Open({
      cidr: Type.String(),
      gateway: Nullable(Ipv4),
      dns: Type.Array(Ipv4),
      service: Ipv4,
      rangeStart: Ipv4,
      rangeEnd: Ipv4,
    }),
  ),
  /** Addresses outside the cluster that carry this network too (other VXLAN ends, such as a gateway). */
  externalPeers: Type.Array(Ipv4),
  leases: Count,
})
export type NetworkObject = Static<typeof NetworkObject>

export const CreateNetwork = Strict({
  name: Name,
  kind: Type.Optional(NetworkKind),
  tag: Type.Optional(Type.Integer({ minimum: 1, maximum: 16777215 })),
  uplink: Type.Optional(Type.String({ pattern: '^[a-zA-Z0-9._-]{1,15}$' })),
  mtu: Type.Optional(Type.Integer({ minimum: 576, maximum: 9216 })),
  macSpoofing: Type.Optional(Spoofing),
  ipSpoofing: Type.Optional(Spoofing),
  cidr: Type.Optional(Type.String({ pattern: '^[0-9.]+/[0-9]{1,2}$' })),
  gateway: Type.Optional(Ipv4),
  dns: Type.Optional(Type.Array(Ipv4, { maxItems: 3 })),
  externalPeers: Type.Optional(Type.Array(Ipv4, { maxItems: 16 })),
})
export type CreateNetwork = Static<typeof CreateNetwork>

export const Image = Open({
  id: ImageIdSchema,
  ...common,
  datastore: DatastoreIdSchema,
  format: OneOf(['raw', 'qcow2']),
  virtualBytes: Count,
  fileBytes: Count,
  sha256: Sha256,
  /** `importing` until it is checked and whole. */
  state: OneOf(['importing', 'ready']),
})
export type Image = Static<typeof Image>

export const ImportImage = Strict({
  name: Name,
  datastore: Type.Optional(Ref),
  /** A path on the host that holds the datastore, in one of the folders that its agent allows. */
  path: Type.Optional(Type.String({ pattern: '^/' })),
  host: Type.Optional(Type.String({ description: 'with `path`: the host that reads it' })),
  /** An upload that is complete. */
  upload: Type.Optional(Type.String()),
  format: Type.Optional(OneOf(['raw', 'qcow2', 'vmdk'])),
  sha256: Type.Optional(Sha256),
})
export type ImportImage = Static<typeof ImportImage>

export const Upload = Open({
  id: Type.String(),
  datastore: DatastoreIdSchema,
  sizeBytes: Count,
  offset: Count,
  created: Time,
})
export type Upload = Static<typeof Upload>

export const Task = Open({
  id: TaskIdSchema,
  /** `vm.migrate`, `image.import`, … */
  name: Type.String(),
  /** What it works on. */
  target: Nullable(Open({ kind: Type.String(), id: Type.String(), name: Type.String() })),
  state: OneOf(['running', 'undoing', 'done', 'failed', 'cancelled', 'stuck']),
  step: Nullable(Type.String()),
  /** 0–1. */
  progress: Type.Number(),
  /** Of long steps: bytes, rates, rest. */
  detail: Nullable(Type.Record(Type.String(), Type.Unknown())),
  isCancellable: Type.Boolean(),
  problem: Nullable(
    Open({
      code: Type.String(),
      detail: Type.String(),
      mend: Type.Optional(Type.String()),
      details: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
    }),
  ),
  result: Nullable(Type.Record(Type.String(), Type.Unknown())),
  startedBy: Type.String(),
  created: Time,
  ended: Nullable(Time),
  revision: Count,
})
export type Task = Static<typeof Task>

export const Event = Open({
  /** The store's revision at which it happened: the place to resume a stream from. */
  revision: Count,
  /** Several events may share a revision; this tells them apart. */
  sequence: Count,
  time: Time,
  /** `vm.created`, `vm.migrated`, `host.unreachable`, … */
  type: Type.String(),
  subject: Nullable(Open({ kind: Type.String(), id: Type.String(), name: Type.String() })),
  /** One sentence for people. */
  message: Type.String(),
  task: Nullable(TaskIdSchema),
  data: Type.Record(Type.String(), Type.Unknown()),
})
export type Event = Static<typeof Event>

export const ApiToken = Open({
  id: TokenIdSchema,
  name: Type.String(),
  role: OneOf(['administrator', 'operator', 'reader']),
  created: Time,
  lastUsed: Nullable(Time),
  expires: Nullable(Time),
})
export type ApiToken = Static<typeof ApiToken>

export const ClusterInfo = Open({
  id: ClusterIdSchema,
  uuid: Uuid,
  name: Type.String(),
  version: Type.String(),
  incarnation: Count,
  revision: Count,
  datacenter: DatacenterIdSchema,
  /** The CPU model that new VMs get; any host must be able to run it. */
  cpuBaseline: Type.String(),
  counts: Open({ hosts: Count, vms: Count, running: Count, tasks: Count }),
  /** How VMs are started again after the loss of a host, and the room that is kept for it. */
  restart: Type.Optional(RestartSettings),
  admission: Type.Optional(AdmissionSettings),
})
export type ClusterInfo = Static<typeof ClusterInfo>

export const DiskUsage = Open({
  disk: DiskIdSchema,
  datastore: DatastoreIdSchema,
  vm: Nullable(VmIdSchema),
  sizeBytes: Count,
})
