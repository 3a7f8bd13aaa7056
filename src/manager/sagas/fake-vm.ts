/** Test code: what a fake agent has of one VM. */
import type { PrepareIncomingRequest, VmDeployment } from '../../contracts/agent-api.ts'
import type { VmProcessState } from '../../contracts/host.ts'
import type { ProtectionConfig } from '../../contracts/protection.ts'

export interface FakeVm {
  process: VmProcessState
  generation: number
  discarded: number | null
  /** Its QEMU ended while nobody looked, in a move to here: it may have run. */
  hasVanished: boolean
  incoming: PrepareIncomingRequest | null
  deployment: VmDeployment | null
  /** The configuration whose second copy waits here. */
  second: ProtectionConfig | null
  /** The newest configuration that this host has durably given up. */
  givenUp: number
  /** How often its guest was reset. */
  resets: number
}

export function emptyFakeVm(): FakeVm {
  const nothing = { discarded: null, incoming: null, deployment: null, second: null }
  return { process: 'none', generation: 0, hasVanished: false, givenUp: 0, resets: 0, ...nothing }
}
