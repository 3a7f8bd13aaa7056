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

export function arbiterClient(
  deps: { readonly network: Network; readonly clock: Clock; readonly identity: () => Omit<TlsIdentity, 'serverName'> },
  address: ArbiterAddress,
): ArbiterApi {
  const calls = address.arbiter === managersArbiter ? managerCalls : agentCalls
  const post = async (url: string, path: string, body: unknown): Promise<unknown> => {
    const late = new HoldfastError('timeout', `the arbiter ${address.arbiter} did not answer in ${answerWithinMs} ms`)
    using limit = deadline(deps.clock, answerWithinMs, late)
    return await exchangeJson(deps.network, {
      ...{ method: 'POST', url: url.replace(/\/+$/, '') + path, body: JSON.stringify(body) },
      headers: { 'content-type': 'application/json' },
      tls: { ...deps.identity(), serverName: address.tlsName },
      signal: limit.signal,
    })
  }
  const call = async <T>(name: keyof ArbiterApi, body: unknown): Promise<T> => {
    let last: unknown
    for (const url of address.urls) {
      try {
        return (await post(url, calls[name].path, body)) as T
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
