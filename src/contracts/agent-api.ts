/**
 * What a manager asks of an agent, over mutual TLS (`/v1/…` on the agent's port). Every command that changes a VM carries
 * the generation of the run record it was decided on; an agent refuses one that is older than the newest it has seen
 * (`stale-generation`). All commands are idempotent: the same command again is answered as the first time.
 *
 * A command is a wish: `start` leads to a running vCPU only after the agent itself has moved the run record.
 */
import type { Duplex, Readable } from 'node:stream'
import {
  DatastoreIdSchema,
  DiskIdSchema,
  HostIdSchema,
  ImageIdSchema,
  NetworkIdSchema,
  TaskIdSchema,
  VmIdSchema,
} from './ids.ts'
import { LeftBy, type VouchAnswer, type VouchRequest } from './host-lease.ts'
import { HostReport, VmObservation } from './host.ts'
import type { StartUpgradeRequest, UpgradeReport } from './host-upgrade.ts'
import { diskFormats, MachineSpec } from './machine-spec.ts'
import { MonitoredVm } from './monitoring.ts'
import {
  ArbiterAddress,
  CopyDisk,
  ProtectionConfig,
  ProtectionSettings,
  SecondEndpoint,
  type ArbiterApi,
} from './protection.ts'
import type { ProbeRequest, ProbeResult } from './probe.ts'
import { RunRecord } from './run-record.ts'
import { Count, Ipv4, Mac, Nullable, OneOf, Open, Sha256, Type, type Static } from './schema.ts'

/** A datastore as a host has it: a folder. */
export const DatastoreConfig = Open({
  datastore: DatastoreIdSchema,
  name: Type.String(),
  path: Type.String(),
  isShared: Type.Boolean(),
})
export type DatastoreConfig = Static<typeof DatastoreConfig>

/** A port group as a host has it: a bridge, joined to its peers. */
export const NetworkConfig = Open({
  network: NetworkIdSchema,
  name: Type.String(),
  /** `vxlan`: joined by VXLAN `tag` to peers; `vlan`: by VLAN `tag` on `uplink`; `isolated`: this host only. */
  kind: OneOf(['vxlan', 'vlan', 'isolated']),
  tag: Nullable(Type.Integer({ minimum: 1, maximum: 16777215 })),
  uplink: Nullable(Type.String()),
  mtu: Type.Integer({ minimum: 576, maximum: 9216 }),
  /** Guest-network addresses of the other hosts that carry this network. */
  peers: Type.Array(Ipv4),
  macSpoofing: OneOf(['allowed', 'dropped']),
  ipSpoofing: OneOf(['allowed', 'dropped']),
  /** Where Holdfast assigns the addresses; null where it does not. */
  ipv4: Nullable(
    Open({
      /** a.b.c.d/len */
      cidr: Type.String(),
      gateway: Nullable(Ipv4),
      dns: Type.Array(Ipv4),
      /** The address (the same on every host, never leaving it) from which dnsmasq answers. */
      service: Ipv4,
    }),
  ),
})
export type NetworkConfig = Static<typeof NetworkConfig>

export const LeaseConfig = Open({
  vm: VmIdSchema,
  network: NetworkIdSchema,
  mac: Mac,
  address: Ipv4,
  hostname: Type.String(),
})
export type LeaseConfig = Static<typeof LeaseConfig>

/** All that a host must have; the agent makes reality match it. */
export const HostConfiguration = Open({
  datastores: Type.Array(DatastoreConfig),
  networks: Type.Array(NetworkConfig),
  leases: Type.Array(LeaseConfig),
  /** Every VM of the cluster whose guest is watched, wherever it runs; absent: none. */
  monitored: Type.Optional(Type.Array(MonitoredVm)),
  /** It is empty and kept so; absent: it takes VMs. */
  isInMaintenance: Type.Optional(Type.Literal(true)),
  /** SHA-256 of the canonical JSON of the rest; made by `configurationDigest`. */
  digest: Type.String(),
})
export type HostConfiguration = Static<typeof HostConfiguration>

/** A VM to have on this host, with all that its start needs. */
export const VmDeployment = Open({
  vm: VmIdSchema,
  name: Type.String(),
  spec: MachineSpec,
  generation: Type.Integer({ minimum: 0 }),
  /** Networks and leases of its NICs, so that a start never waits for the host configuration. */
  networks: Type.Array(NetworkConfig),
  leases: Type.Array(LeaseConfig),
  /** Image → its file key on a datastore, for CD-ROMs and direct kernel boot. */
  images: Type.Array(Open({ image: ImageIdSchema, datastore: DatastoreIdSchema, format: OneOf(['raw', 'qcow2']) })),
  /** It was left behind by a host whose lease was over: this one must not have vouched for that. */
  leftBy: Type.Optional(LeftBy),
})
export type VmDeployment = Static<typeof VmDeployment>

export const StartRequest = Open({ deployment: VmDeployment })
export const StopRequest = Open({ generation: Count, how: OneOf(['off', 'acpi']) })
export const SignalRequest = Open({
  generation: Count,
  signal: OneOf(['reset', 'pause', 'resume', 'nmi']),
  /**
   * The task that asks. A signal changes no generation, so this is what tells a late request: one of an older task than the
   * newest that signalled this VM is refused (`stale-generation`), and one task resets once. Absent: from an older manager.
   */
  task: Type.Optional(TaskIdSchema),
})

/** A disk to be created on the target of a migration and filled by a mirror. */
export const MovingDisk = Open({
  disk: DiskIdSchema,
  key: Count,
  from: DatastoreIdSchema,
  to: DatastoreIdSchema,
  format: OneOf(diskFormats),
  sizeBytes: Count,
})
export type MovingDisk = Static<typeof MovingDisk>

export const PrepareIncomingRequest = Open({
  /** The spec names the datastores that the disks will be on after the move. */
  deployment: VmDeployment,
  source: HostIdSchema,
  /** The certificate name of the source, which the stream must bear. */
  sourceTlsName: Type.String(),
  movingDisks: Type.Array(MovingDisk),
  allowPostCopy: Type.Boolean(),
  /**
   * `complete`: run as soon as the whole state is here (no return path is open, so the source cannot resume by itself).
   * `released`: hold until the source says that its stream completed (a return path is open, as post-copy needs).
   */
  runWhen: OneOf(['complete', 'released']),
  useTls: Type.Boolean(),
  /** As the source is told; absent: one stream. */
  multifdChannels: Type.Optional(Type.Integer({ minimum: 0, maximum: 16 })),
  /** The task that moves it: whose the files of moving disks are from now on. Absent: from an older manager. */
  task: Type.Optional(TaskIdSchema),
  /** The guest is paused and is to arrive paused. */
  isGuestPaused: Type.Optional(Type.Boolean()),
})
export type PrepareIncomingRequest = Static<typeof PrepareIncomingRequest>

export const PrepareIncomingResponse = Open({
  /** Where the source sends to. */
  host: Type.String(),
  port: Type.Integer(),
  tlsName: Type.String(),
  nbdPort: Nullable(Type.Integer()),
  /** Disk key → NBD export name. */
  exports: Type.Array(Open({ key: Count, name: Type.String() })),
})
export type PrepareIncomingResponse = Static<typeof PrepareIncomingResponse>

/**
 * - `discarded`: durable; nothing of this move has run here, and never will.
 * - `running`: too late, it runs here.
 * - `gone`: no QEMU is here any more, and nobody saw its whole life: it may have run. Never resume the source's memory on
 *   this answer once its stream completed; a restart from disk is safe.
 */
export const DiscardResponse = Open({ outcome: OneOf(['discarded', 'running', 'gone']), observation: VmObservation })
export type DiscardResponse = Static<typeof DiscardResponse>

export const MigrateOutRequest = Open({
  generation: Count,
  incoming: PrepareIncomingResponse,
  movingDisks: Type.Array(MovingDisk),
  runWhen: OneOf(['complete', 'released']),
  useTls: Type.Boolean(),
  /** Bytes per second; null: as fast as it goes. */
  maxBandwidth: Nullable(Count),
  /** How long the guest may stand still at the switch, milliseconds. */
  downtimeLimitMs: Count,
  autoConverge: Type.Boolean(),
  allowPostCopy: Type.Boolean(),
  multifdChannels: Type.Integer({ minimum: 0, maximum: 16 }),
})
export type MigrateOutRequest = Static<typeof MigrateOutRequest>

/** Ends the source's part: `resume` goes on here (with proof of `discarded`, or a stream that never completed), `release` quits. */
export const SettleRequest = Open({
  generation: Count,
  verdict: OneOf(['resume', 'release']),
  /** With `resume`: the target has durably answered `discarded`. */
  targetDiscarded: Type.Boolean(),
  /** With `release`: disks whose old copies here are to be removed. */
  movedDisks: Type.Array(MovingDisk),
  /** The task that moved it; what a newer one made is not removed. Absent: from an older manager. */
  task: Type.Optional(TaskIdSchema),
})
export type SettleRequest = Static<typeof SettleRequest>

/** Makes a host ready to hold the second copy of a VM. The manager's word is a wish: the record must name it as second. */
export const PrepareSecondRequest = Open({
  /** The spec names the second's own images. */
  deployment: VmDeployment,
  config: ProtectionConfig,
  arbiter: ArbiterAddress,
  /** Name in the primary host's certificate, and in that of its migration streams. */
  primaryTlsName: Type.String(),
  primaryStreamTlsName: Type.String(),
  copies: Type.Array(CopyDisk),
  settings: ProtectionSettings,
  /** The task that protects it: whose the files of the copies are. */
  task: TaskIdSchema,
})
export type PrepareSecondRequest = Static<typeof PrepareSecondRequest>

/** The work of a `protect` job on the primary: done when the second is in step. Cancelled or failed: it runs on as before. */
export const ProtectRequest = Open({
  generation: Count,
  config: ProtectionConfig,
  arbiter: ArbiterAddress,
  second: SecondEndpoint,
  copies: Type.Array(CopyDisk),
  settings: ProtectionSettings,
})
export type ProtectRequest = Static<typeof ProtectRequest>

/**
 * Ends the protection of configuration n, on the primary.
 * - `end`: the primary wins n and goes on alone. Throws `unreachable` while the arbiter cannot be asked.
 * - `hand-over`: the second takes over as it stands: a planned move. The answer is that it has been told to.
 */
export const UnprotectRequest = Open({ generation: Count, n: Count, how: OneOf(['end', 'hand-over']) })
export type UnprotectRequest = Static<typeof UnprotectRequest>

/**
 * Another decides between the two copies of the pair that began with configuration n, from configuration `next` on: a number
 * that was never used. On the primary.
 * - `asked`: who decides now is asked to step back. Nothing changes where it does not, and `next` is used up.
 * - `gone`: it cannot be asked any more.
 */
export const ChangeArbiterRequest = Open({
  generation: Count,
  n: Count,
  next: Count,
  arbiter: ArbiterAddress,
  old: OneOf(['asked', 'gone']),
})
export type ChangeArbiterRequest = Static<typeof ChangeArbiterRequest>

/** Long work on a host. The id is made by the caller (`task-17/disk-1`) and makes the request idempotent. */
export const JobRequest = Open({
  id: Type.String({ pattern: '^[a-z0-9][a-z0-9/._-]{0,127}$' }),
  task: Nullable(TaskIdSchema),
  work: Type.Union([
    Open({
      kind: Type.Literal('create-disk'),
      disk: DiskIdSchema,
      datastore: DatastoreIdSchema,
      format: OneOf(diskFormats),
      sizeBytes: Count,
      image: Nullable(Open({ image: ImageIdSchema, datastore: DatastoreIdSchema, format: OneOf(['raw', 'qcow2']) })),
      vm: VmIdSchema,
    }),
    Open({ kind: Type.Literal('create-nvram'), disk: DiskIdSchema, datastore: DatastoreIdSchema, vm: VmIdSchema }),
    Open({
      kind: Type.Literal('move-disk'),
      vm: VmIdSchema,
      generation: Count,
      moving: MovingDisk,
      /** Moves nothing: ends what an earlier attempt has left. Either way the result says `isMoved`. */
      settleOnly: Type.Optional(Type.Boolean()),
    }),
    Open({
      kind: Type.Literal('copy-disk'),
      disk: DiskIdSchema,
      from: DatastoreIdSchema,
      to: DatastoreIdSchema,
      format: OneOf(diskFormats),
      vm: VmIdSchema,
    }),
    Open({
      kind: Type.Literal('import-image'),
      image: ImageIdSchema,
      datastore: DatastoreIdSchema,
      source: Open({ kind: OneOf(['path', 'upload']), path: Type.String() }),
      sha256: Nullable(Sha256),
      expectFormat: Nullable(Type.String()),
    }),
    Open({ kind: Type.Literal('migrate-out'), vm: VmIdSchema, request: MigrateOutRequest }),
    Open({ kind: Type.Literal('protect'), vm: VmIdSchema, request: ProtectRequest }),
  ]),
})
export type JobRequest = Static<typeof JobRequest>
export type JobWork = JobRequest['work']

export const JobProgress = Open({
  /** 0–1, never going back. */
  fraction: Type.Number({ minimum: 0, maximum: 1 }),
  phase: Type.String(),
  doneBytes: Count,
  totalBytes: Count,
  bytesPerSecond: Count,
  /** Bytes of guest memory made dirty per second; 0 where it has no meaning. */
  dirtyBytesPerSecond: Count,
  /** Seconds until done by today's rate; null when unknown. */
  remainingSeconds: Nullable(Type.Number()),
})
export type JobProgress = Static<typeof JobProgress>

export const JobStatus = Open({
  id: Type.String(),
  state: OneOf(['running', 'done', 'failed', 'cancelled']),
  progress: JobProgress,
  /** Of the kind of work: the imported image's facts, a migration's outcome. Null until done. */
  result: Nullable(Type.Record(Type.String(), Type.Unknown())),
  problem: Nullable(Open({ code: Type.String(), detail: Type.String(), mend: Type.Optional(Type.String()) })),
})
export type JobStatus = Static<typeof JobStatus>

export const ImageFacts = Open({
  format: OneOf(['raw', 'qcow2']),
  virtualBytes: Count,
  fileBytes: Count,
  sha256: Sha256,
})
export type ImageFacts = Static<typeof ImageFacts>

/** The end of a `migrate-out` job. `unknown` when QEMU died or could not be asked: the target must be asked. */
export const MigrateOutcome = Open({
  outcome: OneOf(['sent', 'not-sent', 'unknown']),
  reason: Nullable(Type.String()),
  totalMs: Count,
  downtimeMs: Count,
  ramBytes: Count,
  diskBytes: Count,
})
export type MigrateOutcome = Static<typeof MigrateOutcome>

/** The typed client of one agent. The sim has its own; the real one speaks HTTPS. Every call may throw `unreachable`. */
export interface AgentApi extends ArbiterApi {
  report(signal?: AbortSignal): Promise<HostReport>
  configure(configuration: HostConfiguration): Promise<void>
  observe(vm: VmDeployment['vm']): Promise<VmObservation>
  /** Resolves when vCPUs run (the record moved) or the start has failed for good. */
  start(deployment: VmDeployment): Promise<VmObservation>
  /** `off`: resolves when QEMU is reaped and the record is `stopped`. `acpi`: resolves when the button is pressed. */
  stop(vm: VmDeployment['vm'], request: Static<typeof StopRequest>): Promise<VmObservation>
  signal(vm: VmDeployment['vm'], request: Static<typeof SignalRequest>): Promise<VmObservation>
  prepareIncoming(request: PrepareIncomingRequest): Promise<PrepareIncomingResponse>
  discardIncoming(vm: VmDeployment['vm'], generation: number): Promise<DiscardResponse>
  /** With `runWhen: released`: the source's stream completed, so run. */
  releaseIncoming(vm: VmDeployment['vm'], generation: number): Promise<VmObservation>
  settle(vm: VmDeployment['vm'], request: SettleRequest): Promise<VmObservation>
  /** On the second host: its images, its network, a QEMU that waits, and a pump that listens. */
  prepareSecond(request: PrepareSecondRequest): Promise<SecondEndpoint>
  /**
   * On the second host: it gives configuration n up and ends what it holds. Its observation says whether it runs the VM
   * instead (`process`): then it was too late. Durable: nothing of n runs here afterwards.
   */
  discardSecond(vm: VmDeployment['vm'], n: number): Promise<VmObservation>
  /** On the primary host. With `end`: the record says so when it resolves. */
  unprotect(vm: VmDeployment['vm'], request: UnprotectRequest): Promise<VmObservation>
  /** On the primary host. When it resolves the record says so. Throws `wrong-state` when the one before did not step back. */
  changeArbiter(vm: VmDeployment['vm'], request: ChangeArbiterRequest): Promise<VmObservation>
  /** Whether the guest that runs here is ready. Answers within seconds. Throws `wrong-state` when none runs here. */
  probe(vm: VmDeployment['vm'], request: ProbeRequest): Promise<ProbeResult>
  startJob(request: JobRequest): Promise<JobStatus>
  /** Throws `not-found` for a job this agent does not know (it restarted, or never got it): start it again. */
  job(id: string): Promise<JobStatus>
  cancelJob(id: string): Promise<JobStatus>
  /** Appends a piece of an upload at `offset`; answers how much is durably there. `conflict` when the offset is not the end. */
  upload(
    id: string,
    datastore: Static<typeof DatastoreIdSchema>,
    offset: number,
    body: Readable,
  ): Promise<{ offset: number }>
  uploadStatus(id: string, datastore: Static<typeof DatastoreIdSchema>): Promise<{ offset: number }>
  /** The guest's screen as PNG. */
  screenshot(vm: VmDeployment['vm']): Promise<Uint8Array>
  /** The end of what the guest said on its serial line, at most 64 KiB. An agent of an older version has no such call. */
  serialTail(vm: VmDeployment['vm']): Promise<{ base64: string }>
  /** A byte stream to the serial line or the VNC server; ends when QEMU does. */
  console(vm: VmDeployment['vm'], kind: 'serial' | 'vnc'): Promise<Duplex>
  /**
   * One that is not there is no error. Throws `stale-generation` when a newer task than the one that asks made the file: a
   * disk that moved away and came back has the same path again. Without a task: from an older manager.
   */
  deleteDisk(
    disk: Static<typeof DiskIdSchema>,
    datastore: Static<typeof DatastoreIdSchema>,
    task?: Static<typeof TaskIdSchema>,
  ): Promise<void>
  /** A late one does no harm: an image's id is given once, and its file is made by one task alone, never anew. */
  deleteImage(image: Static<typeof ImageIdSchema>, datastore: Static<typeof DatastoreIdSchema>): Promise<void>
  /**
   * Starts the program that renews this host; again for the same task it answers with how that stands. Throws `wrong-state`
   * while the host is not empty and in maintenance, `refused` where it has no program that may be run. An agent of an older
   * version has no such call.
   */
  startUpgrade(request: Static<typeof StartUpgradeRequest>): Promise<UpgradeReport>
  /** The run records as the manager has them now, so that an agent that lost a reply learns the truth. */
  tellRecord(record: RunRecord): Promise<void>
}

/** What other hosts of the cluster ask of an agent. */
export interface NeighbourApi {
  /** By a host that hears no manager (contracts/host-lease.ts). */
  vouch(request: VouchRequest): Promise<VouchAnswer>
}
