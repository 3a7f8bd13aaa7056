/** Asks the arbiter of a configuration: another host's agent, or the managers. */
import { deadline, type Clock } from '../../../base/clock.ts'
import { HoldfastError } from '../../../base/errors.ts'
import type { Network, TlsIdentity } from '../../../base/network.ts'
import { agentCalls, managerCalls } from '../../../contracts/agent-routes.ts'
import { exchangeJson } from '../../../contracts/http-exchange.ts'
import {
  managersArbiter,
  type ArbiterAddress,
  type ArbiterApi,
  type RegisterAnswer,
} from '../../../contracts/protection.ts'

/** Who does not answer by then is asked again; the first answer is not waited for any longer. */
const answerWithinMs = 3000
const connectMs = 1000

export interface ArbiterClientDeps {
  readonly network: Network
  readonly clock: Clock
  readonly identity: () => Omit<TlsIdentity, 'serverName'>
  /** Where the managers are asked now; where they were when the pair began may be gone. Default: there. */
  readonly managers?: () => Promise<readonly string[]>
}

export function arbiterClient(deps: ArbiterClientDeps, address: ArbiterAddress): ArbiterApi {
  const calls = address.arbiter === managersArbiter ? managerCalls : agentCalls
  const post = async (url: string, path: string, body: unknown, isOneOfSeveral: boolean): Promise<unknown> => {
    const late = new HoldfastError('timeout', `the arbiter ${address.arbiter} did not answer in ${answerWithinMs} ms`)
    using limit = deadline(deps.clock, answerWithinMs, late)
    return await exchangeJson(deps.network, {
      ...{ method: 'POST', url: url.replace(/\/+$/, '') + path, body: JSON.stringify(body) },
      headers: { 'content-type': 'application/json' },
      tls: { ...deps.identity(), serverName: address.tlsName },
      signal: limit.signal,
      ...(isOneOfSeveral ? { connectMs } : {}),
    })
  }
  const call = async <T>(name: keyof ArbiterApi, body: unknown): Promise<T> => {
    let last: unknown
    const told = address.arbiter === managersArbiter ? await deps.managers?.() : undefined
    const urls = new Set([...(told ?? []), ...address.urls])
    for (const url of urls) {
      try {
        return (await post(url, calls[name].path, body, urls.size > 1)) as T
      } catch (thrown) {
        if (!(thrown instanceof HoldfastError) || !thrown.isUnknown) throw thrown
        last = thrown
      }
    }
    throw last
  }
  return {
    arbiterLife: () => call<{ life: string }>('arbiterLife', {}),
    arbiterOpen: (request) => call<void>('arbiterOpen', request),
    arbiterClaim: (request) => call<RegisterAnswer>('arbiterClaim', request),
    arbiterLook: (request) => call<RegisterAnswer>('arbiterLook', request),
    arbiterSupersede: (request) => call<RegisterAnswer>('arbiterSupersede', request),
  }
}
