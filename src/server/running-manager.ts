/** A manager that serves: certificate, manager and HTTPS server, opened in this order and closed in the other. */
import type { FastifyInstance } from 'fastify'
import type { Server as HttpsServer } from 'node:https'
import type { Clock } from '../base/clock.ts'
import { HoldfastError } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import type { Mailer } from '../base/mailer.ts'
import type { Network, TlsIdentity } from '../base/network.ts'
import type { Random } from '../base/random.ts'
import type { Authority, CertificateNames, KeyPair } from '../manager/app/authority.ts'
import { Manager, managerTlsName, type ManagerOptions } from '../manager/app/manager.ts'
import { httpAgent } from './agents/http-agent.ts'
import type { HandOver } from '../manager/app/manager-joins.ts'
import type { ManagersPort } from '../manager/app/managers.ts'
import { urlOf } from './data-folder.ts'
import type { FrontDoor } from './lead/front-door.ts'
import type { DocsFiles } from './rest/docs.ts'
import { createServer } from './rest/server.ts'
import type { WebFiles } from './web/web-page.ts'

export interface RunningOptions {
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly network: Network
  readonly mailer: Mailer
  readonly store: ManagerOptions['store']
  readonly authority: Authority
  /** Where our own certificate is kept. */
  readonly serverFolder: string
  /** Names and addresses that our certificate bears beside `manager.holdfast`. */
  readonly addresses: readonly string[]
  readonly listen: { readonly host: string; readonly port: number }
  readonly web: WebFiles & DocsFiles
  readonly version: string
  readonly clusterName: string
  /** Of one of several managers: the port, which listens already. */
  readonly door?: FrontDoor
  readonly holdsLead?: () => boolean
  /** Several managers may share the store: hosts get leases. */
  readonly isClustered?: boolean
  readonly cluster?: ManagersPort
  /** Where this manager is asked, as it was told when it was set up; default: by every address of this machine. */
  readonly urls?: readonly string[]
  readonly handOver?: HandOver
  readonly fencing?: NonNullable<ManagerOptions['fencing']>
}

const renewalCheckMs = 12 * 60 * 60_000

export class RunningManager implements AsyncDisposable {
  readonly manager: Manager
  /** Where it listens; with port 0 the one that it was given. */
  readonly port: number
  readonly #resources: AsyncDisposableStack

  private constructor(manager: Manager, port: number, resources: AsyncDisposableStack) {
    this.manager = manager
    this.port = port
    this.#resources = resources
  }

  static async open(options: RunningOptions): Promise<RunningManager> {
    const { authority, clock, network, logger } = options
    await using made = new AsyncDisposableStack()
    const names: CertificateNames = { commonName: managerTlsName, subjects: [managerTlsName, ...options.addresses] }
    let pair = await authority.serverPair(options.serverFolder, names)
    const identity = (): Omit<TlsIdentity, 'serverName'> => ({ ca: authority.ca, ...pair })
    const agents: ManagerOptions['agents'] = (host) => httpAgent(host, { network, clock, identity })
    let listening = options.listen.port
    const urls = (): readonly string[] =>
      options.urls ?? reachedAt(options.addresses).map((address) => urlOf(address, listening))
    const { door, cluster, handOver, holdsLead } = options
    const certificates: ManagerOptions['certificates'] = () => [
      { what: 'the certificate of the manager', pem: pair.cert },
      { what: "the certificate of the cluster's authority", pem: authority.ca },
    ]
    const manager = made.use(
      await Manager.open({
        ...{ ...options, agents, urls, certificates },
        ...(cluster === undefined ? {} : { managers: cluster }),
        ...(handOver === undefined ? {} : { handOver }),
      }),
    )
    const tls = { ...pair, ca: authority.ca }
    const isBehindDoor = door !== undefined
    const server = await createServer({ manager, clock, logger, tls, isBehindDoor, web: options.web })
    made.defer(async () => {
      const drained = door?.drain()
      await server.close()
      await drained
    })
    const port = door?.port ?? (await listen(server, options.listen))
    door?.lead(server, holdsLead ?? (() => true))
    listening = port
    const ended = new AbortController()
    made.defer(() => ended.abort())
    const use = (renewed: KeyPair): void => {
      pair = renewed
      if (door === undefined)
        (server.server as unknown as HttpsServer).setSecureContext({ ...renewed, ca: authority.ca })
      else door.renew(renewed)
    }
    void keepCertificate(options, names, ended.signal, use)
    return new RunningManager(manager, port, made.move())
  }

  /** Streams and consoles end, requests that run are answered, tasks come to the end of their step. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync()
  }
}

/** Addresses that other machines can use; where there are none but this machine's own, all is on this machine. */
function reachedAt(addresses: readonly string[]): readonly string[] {
  const others = addresses.filter((address) => !/^(localhost|127\..*|::1)$/.test(address))
  return others.length === 0 ? addresses : others
}

async function listen(server: FastifyInstance, { host, port }: RunningOptions['listen']): Promise<number> {
  try {
    await server.listen({ host, port })
  } catch (cause) {
    throw new HoldfastError(
      'wrong-state',
      `the manager cannot listen on ${host}, port ${port}`,
      { mend: 'See whether another program has that port (ss -tlnp), or listen elsewhere (--listen).' },
      { cause },
    )
  }
  const address = server.server.address()
  return typeof address === 'object' && address !== null ? address.port : port
}

/** Our own certificate is made anew long before its end; connections that stand are not touched. */
export async function keepCertificate(
  { authority, clock, logger, serverFolder }: Pick<RunningOptions, 'authority' | 'clock' | 'logger' | 'serverFolder'>,
  names: CertificateNames,
  signal: AbortSignal,
  onRenewed: (pair: KeyPair) => void,
): Promise<void> {
  let current = (await authority.serverPair(serverFolder, names)).cert
  for (;;) {
    try {
      await clock.sleep(renewalCheckMs, signal)
    } catch {
      return
    }
    try {
      const pair = await authority.serverPair(serverFolder, names)
      if (pair.cert === current) continue
      current = pair.cert
      onRenewed(pair)
      logger.info({}, "the manager's certificate was renewed")
    } catch (thrown) {
      logger.error({ err: thrown }, "the manager's certificate could not be renewed; it is tried again")
    }
  }
}
