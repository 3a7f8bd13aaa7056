/** What the rest of the agent needs of this host's networks. */
import type { VmId } from '../../base/ids.ts'
import type { LeaseConfig, NetworkConfig, VmDeployment } from '../../contracts/agent-api.ts'
import type { NetworkObservation } from '../../contracts/host.ts'

export interface HostNetworks {
  /** Makes the host's networks these; those of VMs that are plugged in stay as long as they are. Idempotent. */
  configure(networks: readonly NetworkConfig[], leases: readonly LeaseConfig[]): Promise<void>
  /** Makes the VM's taps, their rules first, and its leases. NIC key → name of the tap. Idempotent. */
  plug(deployment: VmDeployment, uid: number): Promise<ReadonlyMap<number, string>>
  /** Takes them away again. */
  unplug(vm: VmId): Promise<void>
  observe(): Promise<NetworkObservation[]>
}
