/** What the renewal of one host is given. */
import type { HostId, TaskId, VmId } from '../../base/ids.ts'
import type { MaintenanceDeps } from './host-maintenance.ts'

export interface HostUpgradeParams {
  /** The roll that this is of. */
  readonly roll: TaskId
  readonly host: HostId
  /** A person renews it; else the program that its administrator has put there. */
  readonly isByHand: boolean
  /** How long the renewal may take. By hand it takes as long as it takes. */
  readonly timeoutSeconds: number
}

export interface HostUpgradeDeps extends MaintenanceDeps {
  /** Moves a VM to this host. Throws what refuses it. */
  moveTo(vm: VmId, host: HostId, startedBy: string): Promise<TaskId>
}
