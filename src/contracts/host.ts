/** What a host says of itself: facts (rarely change) and observations (each report). */
import { DatastoreIdSchema, HostIdSchema, NetworkIdSchema, TaskIdSchema, VmIdSchema } from './ids.ts'
import { LeaseReport, NeighbourLook } from './host-lease.ts'
import { UpgradeReport } from './host-upgrade.ts'
import { GuestObservation } from './monitoring.ts'
import { ProtectionObservation } from './protection.ts'
import { trackerKinds } from '../base/process-memory.ts'
import { Count, Nullable, OneOf, Open, Time, Type, type Static } from './schema.ts'

export const CpuFacts = Open({
  model: Type.String(),
  cores: Count,
  /** Flags as in /proc/cpuinfo. */
  flags: Type.Array(Type.String()),
})

export const Accelerator = Open({
  kind: OneOf(['kvm', 'tcg']),
  /** In words: why KVM is not used, or what the probe ran. */
  reason: Type.String(),
})

export const QemuFacts = Open({
  /** major.minor.micro */
  version: Type.String(),
  /** What the distribution calls its build; empty where it adds nothing. Older agents do not say. */
  package: Type.Optional(Type.String()),
  /** Versioned machine types that it offers. */
  machineTypes: Type.Array(Type.String()),
  /** Named CPU models that it can run with the accelerator in use. */
  cpuModels: Type.Array(Type.String()),
})

export const HostFacts = Open({
  hostname: Type.String(),
  agentVersion: Type.String(),
  kernel: Type.String(),
  cpu: CpuFacts,
  memoryMiB: Count,
  accelerator: Accelerator,
  qemu: QemuFacts,
  /** Why no guest can come here by post-copy, in words; null: it can. Older agents do not say. */
  postCopyObstacle: Type.Optional(Nullable(Type.String())),
  /** Why it can hold no VM in step with another host, in words; null: it can. Older agents do not say, and cannot. */
  protectionObstacle: Type.Optional(Nullable(Type.String())),
  /** How it finds the pages that a guest writes, to hold it in step; `kind` null: it cannot. Older agents do not say. */
  writeTracker: Type.Optional(Open({ kind: Nullable(OneOf(trackerKinds)), reason: Type.String() })),
  /** Where other agents and migration streams reach it: address of each network. */
  addresses: Open({ management: Type.String(), storage: Type.String(), guests: Type.String() }),
  /** VMs that other software runs here (libvirt, Proxmox): shown, and left alone. */
  foreignVms: Type.Array(Open({ owner: Type.String(), name: Type.String(), pid: Count })),
})
export type HostFacts = Static<typeof HostFacts>

/** What QEMU on this host does with a VM, as the agent sees it now. */
export const vmProcessStates = [
  'none',
  'prelaunch',
  'running',
  'paused',
  'incoming',
  'incoming-complete',
  'outgoing',
  'sent',
  'failed',
  'second',
] as const
export type VmProcessState = (typeof vmProcessStates)[number]

/**
 * - `none`: no QEMU of this VM here.
 * - `prelaunch`: started, no vCPU has run.
 * - `incoming`: waits for, or receives, a migration; `incoming-complete`: holds the whole state, does not run yet.
 * - `outgoing`: runs (or is about to switch over) and sends; `sent`: sent everything, stopped, waits for the verdict.
 * - `second`: holds the second copy of a VM that runs elsewhere, and waits.
 * - `failed`: QEMU is there but cannot go on (internal error).
 */
export const VmObservation = Open({
  vm: VmIdSchema,
  process: OneOf(vmProcessStates),
  /** The newest generation of the run record that this agent knows. */
  generation: Type.Integer({ minimum: 0 }),
  /** The generation of the move whose incoming side this agent has durably given up; null when there is none. */
  discarded: Nullable(Type.Integer({ minimum: 0 })),
  /** Why QEMU stopped by itself, in words; null when it did not. */
  problem: Nullable(Type.String()),
  /** True when a disk write failed for lack of space and QEMU paused the guest. */
  outOfSpace: Type.Boolean(),
  startedAt: Nullable(Time),
  cpuSeconds: Type.Number(),
  rssMiB: Type.Number(),
  /** Of a VM that is held in step on two hosts, or is about to be. */
  protection: Type.Optional(Nullable(ProtectionObservation)),
  /** Of a VM that is monitored and whose QEMU is here. */
  guest: Type.Optional(GuestObservation),
})
export type VmObservation = Static<typeof VmObservation>

export const DatastoreObservation = Open({
  datastore: DatastoreIdSchema,
  path: Type.String(),
  isUsable: Type.Boolean(),
  problem: Nullable(Type.String()),
  totalBytes: Count,
  freeBytes: Count,
})
export type DatastoreObservation = Static<typeof DatastoreObservation>

export const NetworkObservation = Open({
  network: NetworkIdSchema,
  bridge: Type.String(),
  isUp: Type.Boolean(),
  problem: Nullable(Type.String()),
  mtu: Count,
})
export type NetworkObservation = Static<typeof NetworkObservation>

export const HostLoad = Open({
  /** Load average of the last minute. */
  load1: Type.Number(),
  /** Share of all cores in use since the last report, 0–1. */
  cpuUsed: Type.Number(),
  memoryUsedMiB: Type.Number(),
})

/** One report: the whole of what this host knows, every interval and at once after a change. */
export const HostReport = Open({
  host: HostIdSchema,
  /** Of this agent process; changes when it restarts. */
  session: Type.String(),
  /** Rises with each report of a session; an older one that comes late is dropped. */
  sequence: Count,
  sentAt: Time,
  facts: HostFacts,
  load: HostLoad,
  vms: Type.Array(VmObservation),
  datastores: Type.Array(DatastoreObservation),
  networks: Type.Array(NetworkObservation),
  /** Digest of the host configuration (datastores, networks, leases) that is in force here. */
  configurationDigest: Type.String(),
  /** Jobs that run here now. */
  jobs: Type.Array(Open({ id: Type.String(), task: Nullable(TaskIdSchema) })),
  /** Absent: from an older agent, which holds no lease. */
  lease: Type.Optional(LeaseReport),
  /** Of the hosts that the managers asked about in their last answer. */
  neighbours: Type.Optional(Type.Array(NeighbourLook)),
  /** The newest run of the program that renews this host; absent: there was none. */
  upgrade: Type.Optional(UpgradeReport),
})
export type HostReport = Static<typeof HostReport>
