/**
 * A machine becomes one more manager. The token carries the cluster's CA, which alone is believed. What was cut short is gone on
 * with: this manager's UUID is durable before it asks, and manager.json is written last.
 */
import { deadline } from '../base/clock.ts'
import { HoldfastError } from '../base/errors.ts'
import { managerCalls } from '../contracts/agent-routes.ts'
import { exchangeJson } from '../contracts/http-exchange.ts'
import { readManagerToken } from '../contracts/join-token.ts'
import type { JoinManagerRequest, JoinManagerResponse, StorePlace } from '../contracts/manager-join.ts'
import { Authority, type AuthorityPorts } from '../manager/app/authority.ts'
import { managerTlsName } from '../manager/app/manager.ts'
import type { Network } from '../base/network.ts'
import { urlOf, type DataFolder, type ManagerSettings } from './data-folder.ts'

export interface JoinManagerPorts extends AuthorityPorts {
  readonly network: Network
  /** Throws unless that cluster's inventory is reached there from here. */
  readonly checkStore: (place: StorePlace, cluster: string) => Promise<void>
}

export interface JoinManagerOptions {
  readonly url: string
  readonly token: string
  readonly name: string
  readonly listen: ManagerSettings['listen']
  readonly addresses: readonly string[]
}

const answerMs = 30_000

/** Throws `wrong-state` where the folder is a manager's already, `not-allowed` for a token that does not open. */
export async function joinManager(
  folder: DataFolder,
  ports: JoinManagerPorts,
  options: JoinManagerOptions,
): Promise<{ clusterName: string }> {
  if (await folder.isComplete()) {
    throw new HoldfastError('wrong-state', `${folder.path} is a manager's data folder already`, {
      mend: 'Start it with `holdfast manager run`, or name another folder.',
    })
  }
  const token = readManagerToken(options.token)
  if (token === undefined) {
    throw new HoldfastError('not-allowed', 'this is no whole token for a manager', {
      mend: 'Copy the whole text that `holdfast manager token --manager` printed, beginning with hfm.',
    })
  }
  await folder.make()
  const id = await folder.identity(() => ports.random.uuid())
  const request: JoinManagerRequest = { token: options.token.trim(), name: options.name, uuid: id }
  const answer = await ask(ports, options.url, token.ca, request)
  await ports.checkStore(answer.store, answer.cluster)
  await Authority.adopt(folder.authority, { ca: answer.ca, key: answer.caKey }, ports)
  const url = urlOf(options.addresses[0] ?? '127.0.0.1', options.listen.port)
  await folder.writeClient({ url, urls: [url, ...answer.managers], token: answer.token, ca: answer.ca })
  const { listen, addresses, name } = options
  await folder.writeSettings({
    ...{ v: 1, clusterName: answer.clusterName, listen, addresses, id, name, cluster: answer.cluster },
    store: await folder.keepStorePlace(answer.store),
  })
  return { clusterName: answer.clusterName }
}

async function ask(
  { network, clock }: JoinManagerPorts,
  url: string,
  ca: string,
  request: JoinManagerRequest,
): Promise<JoinManagerResponse> {
  if (!/^https:\/\/[^/]+\/?$/.test(url)) {
    throw new HoldfastError('invalid-request', `${url} is not the address of a manager`, {
      mend: 'Write it as https://NAME:PORT.',
    })
  }
  const late = new HoldfastError('timeout', `the manager ${url} did not answer in ${answerMs / 1000} s`)
  using limit = deadline(clock, answerMs, late)
  return (await exchangeJson(network, {
    ...{ method: 'POST', url: url.replace(/\/+$/, '') + managerCalls.joinManager.path, body: JSON.stringify(request) },
    headers: { 'content-type': 'application/json' },
    tls: { ca, serverName: managerTlsName },
    signal: limit.signal,
  })) as JoinManagerResponse
}
