/** The agent's client of another host's agent: HTTPS with both hosts' certificates. */
import { deadline, type Clock } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { Network, TlsIdentity } from '../../base/network.ts'
import { agentCalls } from '../../contracts/agent-routes.ts'
import type { VouchAnswer, Witness } from '../../contracts/host-lease.ts'
import { exchangeJson } from '../../contracts/http-exchange.ts'
import type { NeighbourCalls } from './parts.ts'

export interface NeighbourClientDeps {
  readonly network: Network
  readonly clock: Clock
  readonly identity: () => Omit<TlsIdentity, 'serverName'>
}

/** As long as there is to ask; who asks does not wait so long before it asks once more. */
const vouchMs = 2000

export function neighbourClient({ network, clock, identity }: NeighbourClientDeps, witness: Witness): NeighbourCalls {
  const post = (path: string, body: unknown, signal: AbortSignal): Promise<unknown> =>
    exchangeJson(network, {
      ...{ method: 'POST', url: witness.url.replace(/\/+$/, '') + path, body: JSON.stringify(body), signal },
      headers: { 'content-type': 'application/json' },
      tls: { ...identity(), serverName: witness.tlsName },
    })
  return {
    async vouch(request) {
      using limit = deadline(clock, vouchMs, new HoldfastError('timeout', `${witness.host} does not answer`))
      return (await post(agentCalls.vouch.path, request, limit.signal)) as VouchAnswer
    },
    greet: (signal) => post(agentCalls.arbiterLife.path, {}, signal),
  }
}
