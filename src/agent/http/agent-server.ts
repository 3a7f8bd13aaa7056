/**
 * The agent's door: HTTPS with certificates on both sides, for the cluster's managers; hosts of the cluster may ask this
 * one as the arbiter of what they take part in, and nothing else. Commands are the table of contracts/agent-routes.ts; what
 * is not JSON (uploads, screens, consoles) has its own paths.
 */
import { createServer, type Server } from 'node:https'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import Value from 'typebox/value'
import { createWebSocketStream, WebSocketServer } from 'ws'
import { HoldfastError, toHoldfastError } from '../../base/errors.ts'
import type { DatastoreId, HostId, VmId } from '../../base/ids.ts'
import type { Logger } from '../../base/log.ts'
import type { TlsIdentity } from '../../base/network.ts'
import type { AgentApi, NeighbourApi } from '../../contracts/agent-api.ts'
import { agentCalls, type WireCall } from '../../contracts/agent-routes.ts'
import { readBody } from '../../contracts/http-exchange.ts'
import type { VouchRequest } from '../../contracts/host-lease.ts'
import { problemMediaType, toProblem } from '../../contracts/problem.ts'
import type { ArbiterAskRequest, ArbiterOpenRequest, ArbiterSupersedeRequest } from '../../contracts/protection.ts'
import type { Static } from '../../contracts/schema.ts'
import type { ArbiterAsk } from '../../contracts/arbiter-door.ts'
import { callerOf, mustBeManager, type Caller } from './caller.ts'

export interface AgentServerOptions {
  readonly host: string
  /** 0: any free one. */
  readonly port: number
  /** This host's certificate; the clients' must come from the same authority. */
  readonly identity: Required<Pick<TlsIdentity, 'ca' | 'cert' | 'key'>>
  readonly log: Logger
}

/** What stands behind the door. */
export interface ServedAgent extends AgentApi, NeighbourApi {
  /** Throws `not-allowed` when this host of the cluster may not ask this of the arbiter. */
  mustTakePart(host: HostId, asked: ArbiterAsk): void
}

const mostBodyBytes = 16 * 1024 * 1024
/** A console's connection that is quiet for so long is asked whether its other end is there still. */
const quietMs = 20_000

type Calls = typeof agentCalls
type Handlers = {
  readonly [M in keyof Calls]: (agent: ServedAgent, body: Static<Calls[M]['body']>) => Promise<unknown>
}

const handlers: Handlers = {
  report: (agent) => agent.report(),
  configure: (agent, body) => agent.configure(body.configuration),
  observe: (agent, body) => agent.observe(body.vm),
  start: (agent, body) => agent.start(body.deployment),
  stop: (agent, body) => agent.stop(body.vm, body.request),
  signal: (agent, body) => agent.signal(body.vm, body.request),
  prepareIncoming: (agent, body) => agent.prepareIncoming(body),
  discardIncoming: (agent, body) => agent.discardIncoming(body.vm, body.generation),
  releaseIncoming: (agent, body) => agent.releaseIncoming(body.vm, body.generation),
  settle: (agent, body) => agent.settle(body.vm, body.request),
  prepareSecond: (agent, body) => agent.prepareSecond(body),
  discardSecond: (agent, body) => agent.discardSecond(body.vm, body.n),
  unprotect: (agent, body) => agent.unprotect(body.vm, body.request),
  changeArbiter: (agent, body) => agent.changeArbiter(body.vm, body.request),
  arbiterLife: (agent) => agent.arbiterLife(),
  arbiterOpen: (agent, body) => agent.arbiterOpen(body),
  arbiterClaim: (agent, body) => agent.arbiterClaim(body),
  arbiterLook: (agent, body) => agent.arbiterLook(body),
  arbiterSupersede: (agent, body) => agent.arbiterSupersede(body),
  probe: (agent, body) => agent.probe(body.vm, body.request),
  serialTail: (agent, body) => agent.serialTail(body.vm),
  startJob: (agent, body) => agent.startJob(body),
  job: (agent, body) => agent.job(body.id),
  cancelJob: (agent, body) => agent.cancelJob(body.id),
  uploadStatus: (agent, body) => agent.uploadStatus(body.id, body.datastore),
  deleteDisk: (agent, body) => agent.deleteDisk(body.disk, body.datastore, body.task),
  deleteImage: (agent, body) => agent.deleteImage(body.image, body.datastore),
  startUpgrade: (agent, body) => agent.startUpgrade(body),
  vouch: (agent, body) => agent.vouch(body),
  tellRecord: (agent, body) => agent.tellRecord(body.record),
}

/** The calls that hosts may make too. */
const hostsMayAsk: Partial<Record<keyof Calls, (body: unknown) => ArbiterAsk>> = {
  arbiterLife: () => ({ ask: 'life' }),
  arbiterOpen: (body) => ({ ask: 'open', request: body as ArbiterOpenRequest }),
  arbiterClaim: (body) => ({ ask: 'claim', request: body as ArbiterAskRequest }),
  arbiterLook: (body) => ({ ask: 'look', request: body as ArbiterAskRequest }),
  arbiterSupersede: (body) => ({ ask: 'supersede', request: body as ArbiterSupersedeRequest }),
}

const callsByPath = new Map(
  (Object.keys(agentCalls) as (keyof Calls)[]).map((name) => [agentCalls[name].path as string, name]),
)

export class AgentServer implements AsyncDisposable {
  readonly #server: Server
  readonly #sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: 1024 * 1024 })
  readonly #agent: ServedAgent
  readonly #log: Logger

  private constructor(agent: ServedAgent, options: AgentServerOptions) {
    const { ca, cert, key } = options.identity
    this.#agent = agent
    this.#log = options.log
    this.#server = createServer(
      { ca, cert, key, requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.3' },
      (request, response) => void this.#answer(request, response),
    )
    // A piece of an upload may take long; what hangs is ended by the sender's deadline.
    this.#server.requestTimeout = 0
    this.#server.keepAliveTimeout = 65_000
    this.#server.on('upgrade', (request, socket, head) => void this.#upgrade(request, socket, head))
  }

  /** Resolves when it listens. Rejects when the address cannot be had. */
  static async listen(agent: ServedAgent, options: AgentServerOptions): Promise<AgentServer> {
    const server = new AgentServer(agent, options)
    await new Promise<void>((resolve, reject) => {
      server.#server.once('error', (cause: NodeJS.ErrnoException) => {
        const where = `${options.host}:${options.port}`
        reject(
          new HoldfastError('host-error', `the agent cannot listen on ${where} (${cause.code ?? ''})`, {}, { cause }),
        )
      })
      server.#server.listen(options.port, options.host, resolve)
    })
    return server
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** From now on with a renewed certificate; connections that are open go on. */
  renew(identity: AgentServerOptions['identity']): void {
    this.#server.setSecureContext({ ...identity, minVersion: 'TLSv1.3' })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#sockets.clients) client.terminate()
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    this.#server.closeAllConnections()
    await closed
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const url = new URL(request.url ?? '/', 'https://agent')
      const name = request.method === 'POST' ? callsByPath.get(url.pathname) : undefined
      const caller = callerOf(request)
      const isForHosts = name === 'vouch' || (name !== undefined && hostsMayAsk[name] !== undefined)
      if (caller === undefined || !isForHosts) mustBeManager(caller)
      if (name !== undefined) await this.#call(name, caller, request, response)
      else await this.#stream(url, request, response)
    } catch (thrown) {
      this.#refuse(request, response, thrown)
    }
  }

  async #call(
    name: keyof Calls,
    caller: Caller | undefined,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const call: WireCall = agentCalls[name]
    const body = await readJsonBody(request)
    check(call, body)
    const asked = hostsMayAsk[name]
    if (caller?.is === 'host' && asked !== undefined) this.#agent.mustTakePart(caller.host, asked(body))
    if (name === 'vouch') mustSpeakForItself(caller, body as VouchRequest)
    const handler = handlers[name] as (agent: ServedAgent, body: unknown) => Promise<unknown>
    const answer = await handler(this.#agent, body)
    if (call.reply === null) response.writeHead(204).end()
    else sendJson(response, 200, answer)
  }

  async #stream(url: URL, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const upload = /^\/v1\/uploads\/([^/]+)$/.exec(url.pathname)?.[1]
    const screen = /^\/v1\/vms\/(vm-[1-9][0-9]{0,15})\/screenshot$/.exec(url.pathname)?.[1]
    if (upload !== undefined) {
      const id = decodeURIComponent(upload)
      const datastore = url.searchParams.get('datastore') as DatastoreId | null
      if (datastore === null) throw new HoldfastError('invalid-request', 'datastore is missing')
      if (request.method === 'GET') return sendJson(response, 200, await this.#agent.uploadStatus(id, datastore))
      if (request.method === 'PUT') {
        return sendJson(response, 200, await this.#agent.upload(id, datastore, offsetOf(url), request))
      }
    } else if (screen !== undefined && request.method === 'GET') {
      const png = await this.#agent.screenshot(screen as VmId)
      response.writeHead(200, { 'content-type': 'image/png', 'content-length': png.length }).end(png)
      return
    }
    throw new HoldfastError('not-found', `the agent has no ${request.method ?? ''} ${url.pathname}`)
  }

  async #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    socket.on('error', () => socket.destroy())
    try {
      mustBeManager(callerOf(request))
      const path = new URL(request.url ?? '/', 'https://agent').pathname
      const match = /^\/v1\/vms\/(vm-[1-9][0-9]{0,15})\/console\/(serial|vnc)$/.exec(path)
      if (match === null) throw new HoldfastError('not-found', `the agent has no console ${path}`)
      const stream = await this.#agent.console(match[1] as VmId, match[2] as 'serial' | 'vnc')
      // A manager whose machine is gone would hold the line else.
      if (socket instanceof TLSSocket) socket.setKeepAlive(true, quietMs)
      this.#sockets.handleUpgrade(request, socket, head, (client) => join(createWebSocketStream(client), stream))
    } catch (thrown) {
      const problem = toProblem(toHoldfastError(thrown))
      const body = JSON.stringify(problem)
      socket.end(
        `HTTP/1.1 ${problem.status} ${problem.title}\r\ncontent-type: ${problemMediaType}\r\n` +
          `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
      )
    }
  }

  #refuse(request: IncomingMessage, response: ServerResponse, thrown: unknown): void {
    const error = toHoldfastError(thrown)
    if (error.code === 'internal') this.#log.error({ err: thrown }, 'a command failed')
    if (response.headersSent) {
      response.destroy()
      return
    }
    const problem = toProblem(error)
    // What is left of the body is read and dropped: a connection closed on it would take the answer with it.
    request.resume()
    sendJson(response, problem.status, problem, problemMediaType)
  }
}

/** A host is vouched for at its own asking alone. */
function mustSpeakForItself(caller: Caller | undefined, { host }: VouchRequest): void {
  if (caller?.is === 'host' && caller.host === host) return
  throw new HoldfastError('not-allowed', `only ${host} itself may ask for this`)
}

async function readJsonBody(request: IncomingMessage): Promise<unknown> {
  const text = Buffer.from(await readBody(request, mostBodyBytes)).toString('utf8')
  try {
    return text === '' ? {} : JSON.parse(text)
  } catch (cause) {
    throw new HoldfastError('invalid-request', 'the request is not JSON', {}, { cause })
  }
}

/** Fields that this version does not know pass, and are ignored. */
function check(call: WireCall, body: unknown): void {
  if (Value.Check(call.body, body)) return
  const [first] = Value.Errors(call.body, body)
  const field = first?.instancePath.split('/').slice(1).join('.') ?? ''
  throw new HoldfastError(
    'invalid-request',
    `${field === '' ? 'the request' : field} ${first?.message ?? 'is malformed'}`,
    {
      field,
    },
  )
}

function offsetOf(url: URL): number {
  const text = url.searchParams.get('offset') ?? ''
  const offset = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
  if (Number.isSafeInteger(offset)) return offset
  throw new HoldfastError('invalid-request', 'offset must be a whole number')
}

function sendJson(response: ServerResponse, status: number, body: unknown, type = 'application/json'): void {
  const text = JSON.stringify(body)
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(text) }).end(text)
}

/** Two streams as one; the end of either ends both. */
function join(a: Duplex, b: Duplex): void {
  const end = (): void => {
    a.destroy()
    b.destroy()
  }
  for (const stream of [a, b]) stream.on('error', end).on('close', end)
  a.pipe(b)
  b.pipe(a)
}
