/**
 * What decisions are made from: a snapshot of the inventory and of the newest observations, in the terms of the contracts
 * (records of the store satisfy these shapes as they are).
 */
import type { DatastoreId, DiskId, HostId, ImageId, NetworkId, RuleId, VmId } from '../../base/ids.ts'
import type { DatastoreObservation, HostFacts, NetworkObservation } from '../../contracts/host.ts'
import type { Host, VmPolicies } from '../../contracts/inventory.ts'
import type { MachineSpec } from '../../contracts/machine-spec.ts'
import type { RestartPriority, ruleKinds, ruleStrengths } from '../../contracts/restart-words.ts'
import type { AdmissionSettings } from '../../contracts/restart.ts'
import type { RunRecord } from '../../contracts/run-record.ts'

export type HostState = Host['state']

/** A host counts as out of reach then. Four reports missed: one that is only slow still gets one through. */
export const unreachableAfterMs = 8000

export interface HostView {
  readonly id: HostId
  readonly name: string
  readonly state: HostState
  readonly maintenance: Host['maintenance']
  readonly addresses: HostFacts['addresses']
  /** Null until its first report. */
  readonly facts: HostFacts | null
  /** As of its newest report; empty when there is none. */
  readonly datastores: readonly DatastoreObservation[]
  readonly networks: readonly NetworkObservation[]
  readonly load1: number
  /** The program that renews it runs, whatever its record says. */
  readonly isBeingRenewed?: boolean
}

export interface DatastoreView {
  readonly id: DatastoreId
  readonly name: string
  readonly isShared: boolean
  readonly path: string
  /** Empty: every host. */
  readonly hosts: readonly HostId[]
}

/** What a network is, whoever looks at it. */
export interface NetworkSettings {
  readonly kind: 'vxlan' | 'vlan' | 'isolated'
  readonly tag: number | null
  readonly uplink: string | null
  readonly mtu: number
  readonly macSpoofing: 'allowed' | 'dropped'
  readonly ipSpoofing: 'allowed' | 'dropped'
  readonly ipv4: {
    readonly cidr: string
    readonly gateway: string | null
    readonly dns: readonly string[]
    readonly service: string
    readonly rangeStart: string
    readonly rangeEnd: string
  } | null
  readonly externalPeers: readonly string[]
}

export interface NetworkView extends NetworkSettings {
  readonly id: NetworkId
  readonly name: string
}

export interface ImageView {
  readonly id: ImageId
  readonly name: string
  readonly datastore: DatastoreId
  readonly state: 'importing' | 'ready'
  readonly format: 'raw' | 'qcow2'
  readonly virtualBytes: number
}

export interface VmView {
  readonly id: VmId
  readonly name: string
  readonly spec: MachineSpec
  readonly run: RunRecord
  /** Where an open task starts it, before the record says so. */
  readonly startingOn: HostId | null
  /** Absent: `medium`. */
  readonly restartPriority?: RestartPriority
  /** It should run and waits to be started again after the loss of a host. */
  readonly isAwaited?: boolean
  readonly policies?: Pick<VmPolicies, 'monitoring'>
}

/** A rule of placement. */
export interface RuleView {
  readonly id: RuleId
  readonly name: string
  readonly kind: (typeof ruleKinds)[number]
  readonly strength: (typeof ruleStrengths)[number]
  readonly vms: readonly VmId[]
  /** Of `on-hosts` and `not-on-hosts`. */
  readonly hosts: readonly HostId[]
}

export interface DiskView {
  readonly id: DiskId
  readonly datastore: DatastoreId
}

export interface ClusterView {
  readonly cpuBaseline: string
  readonly hosts: readonly HostView[]
  readonly datastores: readonly DatastoreView[]
  readonly networks: readonly NetworkView[]
  readonly images: readonly ImageView[]
  readonly vms: readonly VmView[]
  /** Absent: none. */
  readonly rules?: readonly RuleView[]
  /** What is to be kept free for failures of hosts; absent: nothing. */
  readonly admission?: AdmissionSettings
}

/** Why something cannot be; `code` for programs, `message` for people. */
export interface Reason {
  readonly code:
    | 'cpu'
    | 'network'
    | 'storage'
    | 'memory'
    | 'host-state'
    | 'name'
    | 'qemu'
    | 'disk-space'
    | 'vm-state'
    | 'protected'
    | 'rule'
  readonly message: string
}

/** Hosts whose memory a VM holds: where it runs, where it arrives, where its second copy is, where it is being started. */
export function hostsHeldBy(vm: VmView): HostId[] {
  const { phase, host, target, protection } = vm.run
  const held = phase === 'running' || phase === 'moving' || phase === 'unknown' ? [host, target] : []
  return [...new Set([...held, protection?.second ?? null, vm.startingOn])].filter((each) => each !== null)
}

/** Memory that a host keeps for itself (kernel, agent, QEMU's own), MiB. */
export function reservedMiB(memoryMiB: number): number {
  return Math.min(2048, Math.floor(memoryMiB / 8))
}

/**
 * Whether a host is meant to have a datastore. One that is not shared holds different files on each host, so it counts
 * only where it names exactly one.
 */
export function isMountedOn(datastore: DatastoreView, host: HostId): boolean {
  if (!datastore.isShared) return datastore.hosts.length === 1 && datastore.hosts[0] === host
  return datastore.hosts.length === 0 || datastore.hosts.includes(host)
}

/** Connected hosts that have the datastore in use, in order of id. */
export function hostsReaching(cluster: ClusterView, datastore: DatastoreId): HostView[] {
  const found = cluster.datastores.find((each) => each.id === datastore)
  if (found === undefined) return []
  return cluster.hosts.filter(
    (host) =>
      host.state === 'connected' && isMountedOn(found, host.id) && storageOf(host, datastore)?.isUsable === true,
  )
}

/** The host's newest word on a datastore. */
export function storageOf(host: HostView, datastore: DatastoreId): DatastoreObservation | undefined {
  return host.datastores.find((each) => each.datastore === datastore)
}

/** Datastores of the images that a machine has at hand: CD-ROMs, kernel, initrd. */
export function imagesOf(spec: MachineSpec): ImageId[] {
  const boot = spec.kernelBoot
  const ids = [...spec.cdroms.map((cdrom) => cdrom.image), boot?.kernel ?? null, boot?.initrd ?? null]
  return [...new Set(ids.filter((id) => id !== null))]
}
