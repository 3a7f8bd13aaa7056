/**
 * The port of a manager that is one of several: it listens from the first moment on, whoever leads. While another leads,
 * requests are passed on (pass-on.ts) and agents are told whom to ask; once this manager leads, its own server answers.
 */
import { createServer, type Server } from 'node:https'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import type { FastifyInstance } from 'fastify'
import { HoldfastError } from '../../base/errors.ts'
import { managerCalls } from '../../contracts/agent-routes.ts'
import type { KeyPair } from '../../manager/app/authority.ts'
import type { LeadRecord } from '../../manager/app/leadership.ts'
import { managerTlsName } from '../../manager/app/manager.ts'
import { answerProblem, forwardedHeader, notLeading, PassOn, refuseUpgrade, type PassOnOptions } from './pass-on.ts'

export interface FrontDoorOptions extends Omit<PassOnOptions, 'pair'> {
  readonly pair: KeyPair
  readonly listen: { readonly host: string; readonly port: number }
}

/** Joining is opened by a token, which can be passed on; the rest by a certificate, which cannot. */
const openedByToken: ReadonlySet<string> = new Set([managerCalls.join.path, managerCalls.joinManager.path])

/** How long requests that run may take to end when the manager stops. */
const drainMs = 3000

export class FrontDoor implements AsyncDisposable {
  readonly port: number
  readonly #options: FrontDoorOptions
  readonly #server: Server
  readonly #passOn: PassOn
  readonly #pair: { current: KeyPair }
  readonly #running = new Set<ServerResponse>()
  #own: FastifyInstance | undefined
  #holds: () => boolean = () => true
  #isClosing = false

  private constructor(
    options: FrontDoorOptions,
    parts: { server: Server; port: number; passOn: PassOn; pair: { current: KeyPair } },
  ) {
    this.#options = options
    this.#server = parts.server
    this.#passOn = parts.passOn
    this.#pair = parts.pair
    this.port = parts.port
    this.#server.on('request', (request, response) => this.#answer(request, response))
    this.#server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head))
  }

  /** Throws `wrong-state` where it cannot listen. */
  static async open(options: FrontDoorOptions): Promise<FrontDoor> {
    const pair = { current: options.pair }
    const passOn = new PassOn({ ...options, pair: () => pair.current })
    const server = createServer(tlsOptions(options.pair, options.ca))
    // As a manager that is alone has them: an upload may take longer than Node allows a request, and browsers keep connections.
    server.requestTimeout = 0
    server.keepAliveTimeout = 72_000
    const port = await listen(server, options.listen)
    return new FrontDoor(options, { server, port, passOn, pair })
  }

  /** Another leads, or nobody. */
  follow(leader: LeadRecord | undefined): void {
    this.#passOn.follow(leader)
  }

  /** This manager leads: `own` answers from now on, as long as `holds` is true. */
  lead(own: FastifyInstance, holds: () => boolean): void {
    this.#own = own
    this.#holds = holds
    this.#passOn.takeOver({
      request: (request, response) => this.#answer(request, response),
      upgrade: (request, socket, head) => this.#upgrade(request, socket, head),
    })
  }

  renew(pair: KeyPair): void {
    this.#pair.current = pair
    this.#server.setSecureContext(tlsOptions(pair, this.#options.ca))
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    dropForged(request)
    if (this.#isClosing) return answerProblem(response, stopping(), true)
    this.#running.add(response)
    response.once('close', () => this.#running.delete(response))
    if (this.#own !== undefined) {
      // Whoever asks now must not be answered by one that was frozen, and is about to learn that it leads no more.
      if (!this.#holds()) return answerProblem(response, notLeading(undefined), true)
      this.#own.server.emit('request', request, response)
      return
    }
    const path = request.url?.split('?', 1)[0] ?? ''
    if (path.startsWith('/agent/') && !openedByToken.has(path)) {
      return answerProblem(response, notLeading(this.#passOn.leader), true)
    }
    void this.#passOn.request(request, response).catch(() => response.destroy())
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    dropForged(request)
    if (this.#isClosing) return refuseUpgrade(socket, stopping())
    if (this.#own !== undefined) {
      if (!this.#holds()) return refuseUpgrade(socket, notLeading(undefined))
      this.#own.server.emit('upgrade', request, socket, head)
      return
    }
    void this.#passOn.upgrade(request, socket, head).catch(() => socket.destroy())
  }

  /** Takes no more requests; those that run have a while to end. */
  async drain(): Promise<void> {
    this.#isClosing = true
    this.#passOn.close()
    this.#server.closeIdleConnections()
    const until = this.#options.clock.monotonic() + drainMs
    while (this.#running.size > 0 && this.#options.clock.monotonic() < until) await this.#options.clock.sleep(20)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosing = true
    this.#passOn.close()
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    this.#server.closeAllConnections()
    await closed
  }
}

function tlsOptions(pair: KeyPair, ca: string) {
  // Agents and managers show certificates, people show none: who must is decided by route.
  return { ...pair, ca, minVersion: 'TLSv1.3' as const, requestCert: true, rejectUnauthorized: false }
}

/** For whom somebody asks is believed of managers alone. */
function dropForged(request: IncomingMessage): void {
  if (request.headers[forwardedHeader] === undefined || isManager(request.socket)) return
  Reflect.deleteProperty(request.headers, forwardedHeader)
}

function isManager(socket: IncomingMessage['socket']): boolean {
  if (!(socket instanceof TLSSocket) || !socket.authorized) return false
  return socket.getPeerX509Certificate()?.checkHost(managerTlsName) !== undefined
}

function stopping(): HoldfastError {
  return new HoldfastError('unreachable', 'this manager is stopping', {
    mend: 'Ask another, or again in a few seconds.',
  })
}

async function listen(server: Server, { host, port }: FrontDoorOptions['listen']): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', reject)
  server.listen({ host, port }, resolve)
  try {
    await promise
  } catch (cause) {
    const mend = 'See whether another program has that port (ss -tlnp), or listen elsewhere (--listen).'
    const message = `the manager cannot listen on ${host}, port ${port}`
    throw new HoldfastError('wrong-state', message, { mend }, { cause })
  }
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : port
}
