/** What the keepers of VMs need of the rest of the host. */
import type { Clock } from '../../base/clock.ts'
import type { HostId, TaskId, VmId } from '../../base/ids.ts'
import type { Logger } from '../../base/log.ts'
import type { Random } from '../../base/random.ts'
import type { MovingDisk, VmDeployment } from '../../contracts/agent-api.ts'
import type { LeftBy } from '../../contracts/host-lease.ts'
import type { ManagerApi } from '../../contracts/manager-api.ts'
import type { Hypervisor, MachineConfig } from '../../hypervisor/hypervisor.ts'
import type { Monitored } from '../guest/monitor-loop.ts'
import type { Pumps } from '../protect/pumps.ts'
import type { VmStates } from './vm-state.ts'

/** A place on this host for a VM's QEMU: its folder, its taps with their rules, its files' owner. */
export interface VmPlaces {
  /** Makes the place ready, or mends it; what a QEMU of this deployment needs. Idempotent. */
  prepare(deployment: VmDeployment): Promise<MachineConfig>
  /** Folder of the VM's sockets. */
  runDirectory(vm: VmId): string
  /** VMs that have such a folder: a QEMU of theirs may be running. */
  found(): Promise<VmId[]>
  /** Takes the place away: only when QEMU is gone. Idempotent. */
  release(vm: VmId): Promise<void>
  /** Empty disks for a mirror to fill. Replaces what an earlier attempt of the move left. */
  createMovingDisks(vm: VmId, disks: readonly MovingDisk[], task: TaskId | null): Promise<void>
  /** Removes the copies of a move at one end. Throws `stale-generation` when a newer task than `task` made them. */
  removeMovedDisks(disks: readonly MovingDisk[], end: 'from' | 'to', task: TaskId | null): Promise<void>
  /** Runs `work`, in which a QEMU of the VM is told to listen for a move that may end in post-copy, with the right to it. */
  withPostCopyRight<T>(vm: VmId, work: () => Promise<T>): Promise<T>
  /** Takes that right back where an agent was killed before it could. Never rejects. */
  endPostCopyRight(vm: VmId): Promise<void>
  /** Whether every datastore of its disks has room to go on writing. */
  hasSpace(deployment: VmDeployment): Promise<boolean>
  /** Whether every datastore of its disks answers. */
  hasStorage(deployment: VmDeployment): Promise<boolean>
  /** The address on which incoming streams are listened for, and the name in this host's certificate. */
  readonly incoming: { readonly host: string; readonly tlsName: string }
}

/** This host's lease, as its VMs need it (lease/host-lease.ts). */
export interface VmLease {
  /** Throws `unreachable` when vCPUs of this VM may not begin to run here now. */
  mustHold(vm: VmId): void
  /** A VM that another host left behind is to be started here. Throws `refused` when that was promised not to be. */
  takes(left: LeftBy): Promise<void>
}

/** Where nobody grants leases. */
export const noLease: VmLease = { mustHold: () => undefined, takes: async () => undefined }

export interface VmPorts {
  readonly host: HostId
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  readonly hypervisor: Hypervisor
  readonly manager: ManagerApi
  readonly places: VmPlaces
  readonly states: VmStates
  readonly pumps: Pumps
  readonly lease: VmLease
  /** Which VMs are monitored: a guest of those that panics is kept as it is, for the manager to decide. */
  readonly monitored: Pick<Monitored, 'has'>
  /** Something that a report tells has changed: send one now, or after so many milliseconds. */
  readonly onChange: (afterMs?: number) => void
  /** Ends the agent's own loops; what runs on the host runs on. */
  readonly signal: AbortSignal
}
