/** Who decides between the two copies of a VM: where pumps ask it, and where it is asked from here. */
import {
  managersArbiter as managersId,
  type ArbiterAddress,
  type ArbiterApi,
  type ArbiterId,
} from '../../contracts/protection.ts'
import type { SagaDeps } from './deps.ts'
import { managersArbiter } from './managers-arbiter.ts'
import { needHost } from './vm-records.ts'

/** Where an arbiter is asked. Throws `not-found` for a host that is no more. */
export async function arbiterAddress(deps: SagaDeps, arbiter: ArbiterId): Promise<ArbiterAddress> {
  if (arbiter === managersId) return { arbiter, urls: [...deps.managers.urls()], tlsName: deps.managers.tlsName }
  const { addresses, agentPort, tlsName } = await needHost(deps, arbiter)
  const name = addresses.management.includes(':') ? `[${addresses.management}]` : addresses.management
  return { arbiter, urls: [`https://${name}:${agentPort}`], tlsName }
}

/** The arbiter itself, to be asked from here. */
export function arbiterOf(deps: SagaDeps, arbiter: ArbiterId): ArbiterApi {
  return arbiter === managersId ? managersArbiter(deps.store) : deps.hosts.agent(arbiter)
}
