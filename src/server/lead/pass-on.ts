/**
 * A standby's requests: passed on to the manager that leads, byte for byte, whatever they are. While nobody leads, or the leader
 * cannot be reached, they wait for a while. A request is sent anew only if it has not arrived, or if it only reads.
 */
import type { IncomingMessage, ServerResponse, ClientRequest } from 'node:http'
import * as https from 'node:https'
import type { Duplex } from 'node:stream'
import { checkServerIdentity, connect, type ConnectionOptions } from 'node:tls'
import type { Clock } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import { problemMediaType, toProblem } from '../../contracts/problem-errors.ts'
import type { KeyPair } from '../../manager/app/authority.ts'
import type { LeadRecord } from '../../manager/app/leadership.ts'
import { managerTlsName } from '../../manager/app/manager.ts'

/** For whom a manager asks in another's name. Taken from managers alone. */
export const forwardedHeader = 'x-forwarded-for'
/** In answers of a manager that does not lead and passes nothing on. */
export const standbyHeader = 'holdfast-standby'

export interface PassOnOptions {
  readonly clock: Clock
  readonly ca: string
  /** Our own certificate, which the leader knows us by. */
  readonly pair: () => KeyPair
  /** Why nobody can lead, as far as it is known here. */
  readonly trouble: () => string | undefined
  /** How long a request waits for a leader; default 10 s. */
  readonly waitMs?: number
}

const connectMs = 1000
const pauseMs = 100
const safe = new Set(['GET', 'HEAD', 'OPTIONS'])

type Outcome = 'answered' | 'not-arrived' | 'unknown'

/** This manager's own answers, once it leads. */
interface OwnAnswers {
  readonly request: (request: IncomingMessage, response: ServerResponse) => void
  readonly upgrade: (request: IncomingMessage, socket: Duplex, head: Buffer) => void
}

export class PassOn {
  readonly #options: PassOnOptions
  readonly #waiting = new Set<() => void>()
  /** What is under way to the leader of now. */
  readonly #underWay = new Set<() => void>()
  #leader: LeadRecord | undefined
  /** Which of the leader's addresses is asked: it may have some that are not reached from here. */
  #at = 0
  #own: OwnAnswers | undefined
  #agent: https.Agent | undefined

  constructor(options: PassOnOptions) {
    this.#options = options
  }

  get leader(): LeadRecord | undefined {
    return this.#leader
  }

  /** Another leads from now on. What is under way to the former leader ends: it would wait for ever for one that is frozen. */
  follow(leader: LeadRecord | undefined): void {
    const isSame = leader !== undefined && leader.manager === this.#leader?.manager && leader.term === this.#leader.term
    this.#leader = leader
    if (!isSame) this.#at = 0
    if (!isSame && leader !== undefined) this.#breakOff()
    this.#wake()
  }

  /** We lead ourselves: what waits is answered here. */
  takeOver(own: OwnAnswers): void {
    this.#leader = undefined
    this.#own = own
    this.#breakOff()
    this.#wake()
  }

  close(): void {
    this.#breakOff()
    this.#wake()
  }

  #breakOff(): void {
    for (const end of [...this.#underWay]) end()
    this.#agent?.destroy()
    this.#agent = undefined
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake()
  }

  async request(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // The caller has been passed on once: two managers that each take the other for the leader must not go in circles.
    if (isPassedOn(request)) return answerProblem(response, notLeading(this.#leader), true)
    const until = this.#options.clock.monotonic() + (this.#options.waitMs ?? 10_000)
    for (;;) {
      const leader = await this.#leaderBy(until)
      if (isGone(response)) return
      if (this.#own !== undefined) return this.#own.request(request, response)
      if (leader === undefined) return answerProblem(response, this.#nobodyLeads())
      const url = this.#urlOf(leader)
      const outcome = await this.#attempt(url, request, response)
      if (outcome === 'answered' || isGone(response)) return
      if (outcome === 'not-arrived') this.#leave(leader, url)
      if (outcome === 'unknown' && !safe.has(request.method ?? '')) return answerProblem(response, brokenOff())
      await this.#pause(pauseMs)
    }
  }

  #nobodyLeads(): HoldfastError {
    const trouble = this.#options.trouble()
    const message = `no manager leads at this moment${trouble === undefined ? '' : `: ${trouble}`}`
    return new HoldfastError('unreachable', message, {
      mend: 'Ask again in a few seconds. If that does not help, see `etcdctl endpoint status` and the logs of the managers.',
    })
  }

  async #leaderBy(until: number): Promise<LeadRecord | undefined> {
    const { clock } = this.#options
    while (this.#leader === undefined && this.#own === undefined) {
      const left = until - clock.monotonic()
      if (left <= 0) return undefined
      await this.#pause(left)
    }
    return clock.monotonic() > until ? undefined : this.#leader
  }

  #urlOf({ urls }: LeadRecord): string {
    return urls[this.#at % urls.length] ?? ''
  }

  /** That address does not answer: the next is asked. */
  #leave(leader: LeadRecord, url: string): void {
    if (this.#urlOf(leader) === url) this.#at++
  }

  /** Until something changes, or so long. */
  async #pause(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    using _timer = this.#options.clock.timer(ms, resolve)
    this.#waiting.add(resolve)
    await promise
    this.#waiting.delete(resolve)
  }

  #attempt(url: string, request: IncomingMessage, response: ServerResponse): Promise<Outcome> {
    const { promise, resolve } = Promise.withResolvers<Outcome>()
    const outgoing = https.request(this.#order(url, request))
    let isSent = false
    const end = (): void => void outgoing.destroy(new Error('another manager leads'))
    this.#underWay.add(end)
    const onGone = (): void => void outgoing.destroy(new Error('the caller has gone'))
    response.once('close', onGone)
    const onConnected = (): void => {
      isSent = true
      request.pipe(outgoing)
    }
    this.#whenConnected(outgoing, onConnected)
    outgoing.once('error', () => resolve(isSent ? 'unknown' : 'not-arrived'))
    outgoing.once('response', (incoming) => {
      if (incoming.headers[standbyHeader] !== undefined) {
        incoming.resume()
        // It has answered without reading what came with the request; that can be sent once only.
        return resolve(safe.has(request.method ?? '') ? 'not-arrived' : 'unknown')
      }
      copyAnswer(incoming, response)
      resolve('answered')
    })
    outgoing.once('close', () => {
      this.#underWay.delete(end)
      response.off('close', onGone)
      request.unpipe(outgoing)
      resolve('unknown')
    })
    return promise
  }

  #order(url: string, request: IncomingMessage): https.RequestOptions {
    const { hostname, port } = new URL(url)
    const isSafe = safe.has(request.method ?? '')
    // A kept connection may be closed at the moment when it is used again; what changes anything has one of its own.
    if (isSafe) this.#agent ??= new https.Agent({ keepAlive: true, maxFreeSockets: 32, scheduling: 'lifo' })
    return {
      ...this.#tls(),
      ...{ host: bare(hostname), port, method: request.method, path: request.url },
      headers: passedHeaders(request),
      agent: isSafe ? this.#agent : false,
    }
  }

  #tls(): ConnectionOptions {
    const { ca, pair } = this.#options
    return {
      ...{ ca, ...pair(), minVersion: 'TLSv1.3', servername: managerTlsName },
      checkServerIdentity: (_host, certificate) => checkServerIdentity(managerTlsName, certificate),
    }
  }

  #whenConnected(outgoing: ClientRequest, onConnected: () => void): void {
    const late = this.#options.clock.timer(connectMs, () => outgoing.destroy(new Error('it does not answer')))
    const done = (): void => {
      late[Symbol.dispose]()
      onConnected()
    }
    outgoing.once('socket', (socket) => {
      if (outgoing.reusedSocket) done()
      else socket.once('secureConnect', done)
    })
    outgoing.once('close', () => late[Symbol.dispose]())
  }

  /** A WebSocket: once it is open only bytes go by. */
  async upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    socket.on('error', () => socket.destroy())
    if (isPassedOn(request)) return refuseUpgrade(socket, notLeading(this.#leader))
    const until = this.#options.clock.monotonic() + (this.#options.waitMs ?? 10_000)
    for (;;) {
      const leader = await this.#leaderBy(until)
      if (socket.destroyed) return
      if (this.#own !== undefined) return this.#own.upgrade(request, socket, head)
      if (leader === undefined) return refuseUpgrade(socket, this.#nobodyLeads())
      const url = this.#urlOf(leader)
      if (await this.#tunnel(url, request, socket, head)) return
      this.#leave(leader, url)
      await this.#pause(pauseMs)
    }
  }

  /** False where there was no connection to begin with. */
  #tunnel(url: string, request: IncomingMessage, socket: Duplex, head: Buffer): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>()
    const { hostname, port } = new URL(url)
    const upstream = connect({ ...this.#tls(), host: bare(hostname), port: Number(port) })
    const end = (): void => void upstream.destroy()
    this.#underWay.add(end)
    const late = this.#options.clock.timer(connectMs, end)
    let isOpen = false
    upstream.on('error', end)
    upstream.once('close', () => {
      late[Symbol.dispose]()
      this.#underWay.delete(end)
      socket.off('close', end)
      if (isOpen) socket.destroy()
      resolve(isOpen)
    })
    socket.once('close', end)
    upstream.once('secureConnect', () => {
      late[Symbol.dispose]()
      isOpen = true
      resolve(true)
      upstream.write(headText(request))
      if (head.length > 0) upstream.write(head)
      upstream.pipe(socket)
      socket.pipe(upstream)
    })
    return promise
  }
}

/** Whether a manager passes this on. Whoever is no manager has lost that header before (front-door.ts). */
function isPassedOn(request: IncomingMessage): boolean {
  return request.headers[forwardedHeader] !== undefined
}

function isGone(response: ServerResponse): boolean {
  return response.destroyed
}

function bare(hostname: string): string {
  return hostname.replace(/^\[|\]$/g, '')
}

const ownHeaders = new Set(['connection', 'keep-alive', 'proxy-connection', 'te', 'trailer', forwardedHeader])

function passedHeaders(request: IncomingMessage): string[] {
  const headers: string[] = []
  for (let at = 0; at < request.rawHeaders.length; at += 2) {
    const [name = '', value = ''] = request.rawHeaders.slice(at, at + 2)
    if (!ownHeaders.has(name.toLowerCase())) headers.push(name, value)
  }
  return [...headers, forwardedHeader, callerOf(request)]
}

function callerOf(request: IncomingMessage): string {
  return request.socket.remoteAddress ?? 'unknown'
}

function headText(request: IncomingMessage): string {
  const lines = [`${request.method ?? 'GET'} ${request.url ?? '/'} HTTP/1.1`]
  for (let at = 0; at < request.rawHeaders.length; at += 2) {
    const [name = '', value = ''] = request.rawHeaders.slice(at, at + 2)
    if (name.toLowerCase() !== forwardedHeader) lines.push(`${name}: ${value}`)
  }
  return `${lines.join('\r\n')}\r\n${forwardedHeader}: ${callerOf(request)}\r\n\r\n`
}

function copyAnswer(incoming: IncomingMessage, response: ServerResponse): void {
  const headers: string[] = []
  for (let at = 0; at < incoming.rawHeaders.length; at += 2) {
    const [name = '', value = ''] = incoming.rawHeaders.slice(at, at + 2)
    if (!ownHeaders.has(name.toLowerCase()) && name.toLowerCase() !== 'transfer-encoding') headers.push(name, value)
  }
  response.writeHead(incoming.statusCode ?? 502, headers)
  response.flushHeaders()
  // An answer that broke off must not look like a whole one.
  incoming.once('error', () => response.destroy())
  incoming.once('close', () => {
    if (!incoming.complete) response.destroy()
  })
  incoming.pipe(response)
}

function brokenOff(): HoldfastError {
  return new HoldfastError(
    'unreachable',
    'the manager that leads went away before it answered; what it did is not known',
    {
      mend: 'Look whether it was done, or repeat the request with the same Idempotency-Key.',
    },
  )
}

/** What agents are told, who ask for themselves: another's certificate cannot be shown for them. */
export function notLeading(leader: LeadRecord | undefined): HoldfastError {
  return new HoldfastError('unreachable', 'this manager does not lead', {
    mend: 'Ask the manager that leads.',
    // (Agents of an older version know the first alone.)
    ...(leader === undefined ? {} : { leader: leader.urls[0], leaderUrls: leader.urls }),
  })
}

export function answerProblem(response: ServerResponse, error: HoldfastError, isStandby = false): void {
  if (response.destroyed || response.headersSent) return void response.destroy()
  const problem = toProblem(error)
  const body = JSON.stringify(problem)
  response.writeHead(problem.status, {
    'content-type': problemMediaType,
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
    'retry-after': '1',
    ...(isStandby ? { [standbyHeader]: '1' } : {}),
    // What came with the request may not have been read.
    connection: 'close',
  })
  response.end(body)
}

export function refuseUpgrade(socket: Duplex, error: HoldfastError): void {
  const problem = toProblem(error)
  const body = JSON.stringify(problem)
  socket.end(
    `HTTP/1.1 ${problem.status} ${problem.code}\r\nContent-Type: ${problemMediaType}\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  )
}
