import { createHash } from 'node:crypto'
import * as http from 'node:http'
import * as https from 'node:https'
import { connect, isIP } from 'node:net'
import type { Duplex } from 'node:stream'
import { Readable } from 'node:stream'
import { checkServerIdentity, type ConnectionOptions } from 'node:tls'
import { HoldfastError } from '../errors.ts'
import type { HttpRequest, HttpResponse, Network, TlsIdentity } from '../network.ts'

/** Asking again cannot do a thing twice. */
const repeatable = new Set(['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS'])

/** The real network. Connections are pooled by TLS identity and kept alive; dispose it to close the idle ones. */
export function nodeNetwork(): Network & Disposable {
  const agents = new Map<string, http.Agent>()
  return {
    request: (request) => send(request, agentFor(agents, request)),
    connectUnix,
    webSocket,
    [Symbol.dispose]: () => agents.forEach((agent) => agent.destroy()),
  }
}

function agentFor(agents: Map<string, http.Agent>, request: HttpRequest): http.Agent {
  const minVersion = request.allowsTls12 === true ? 'TLSv1.2' : 'TLSv1.3'
  const name = request.url.startsWith('https:') ? `https ${minVersion} ${identityDigest(request.tls)}` : 'http'
  let agent = agents.get(name)
  if (agent === undefined) {
    const settings = { keepAlive: true, keepAliveMsecs: 10_000, maxFreeSockets: 16, scheduling: 'lifo' as const }
    agent =
      name === 'http'
        ? new http.Agent(settings)
        : new https.Agent({ ...settings, ...tlsOptions(request.tls), minVersion })
    agents.set(name, agent)
  }
  return agent
}

function identityDigest(tls: TlsIdentity | undefined): string {
  const parts = [tls?.ca, tls?.cert, tls?.key, tls?.serverName].map((part) => part ?? '')
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex')
}

function tlsOptions(tls: TlsIdentity | undefined): ConnectionOptions {
  if (tls === undefined) return { minVersion: 'TLSv1.3' }
  const { serverName } = tls
  return {
    minVersion: 'TLSv1.3',
    ca: tls.ca,
    ...(tls.cert === undefined ? {} : { cert: tls.cert }),
    ...(tls.key === undefined ? {} : { key: tls.key }),
    ...(serverName === undefined
      ? {}
      : {
          // The name that we demand, whatever address it was reached by.
          checkServerIdentity: (_host, certificate) => checkServerIdentity(serverName, certificate),
          ...(isIP(serverName) === 0 ? { servername: serverName } : {}),
        }),
  }
}

async function send(request: HttpRequest, agent: http.Agent): Promise<HttpResponse> {
  try {
    return await sendOnce(request, agent)
  } catch (thrown) {
    // The far side may close a kept connection at the moment when we use it again: that is no answer, nor a failure.
    if (!(thrown instanceof StaleConnection)) throw thrown
    if (repeatable.has(request.method) && !(request.body instanceof Readable)) return await sendOnce(request, agent)
    throw unreachable(request, thrown.cause)
  }
}

class StaleConnection extends Error {}

function sendOnce(request: HttpRequest, agent: http.Agent): Promise<HttpResponse> {
  return new Promise((resolve, reject) => {
    const { signal } = request
    if (signal?.aborted === true) return reject(abortReason(signal))
    const door = request.url.startsWith('https:') ? https : http
    const outgoing = door.request(request.url, {
      method: request.method,
      headers: { ...request.headers },
      agent,
      ...(signal === undefined ? {} : { signal }),
    })
    if (request.connectMs !== undefined) limitConnecting(outgoing, request.connectMs)
    outgoing.once('response', (incoming) => {
      // An error in the middle of the body is the reader's; without a reader it must not end the process.
      incoming.on('error', () => undefined)
      resolve({ status: incoming.statusCode ?? 0, headers: flatHeaders(incoming.headers), body: incoming })
    })
    outgoing.on('error', (cause: NodeJS.ErrnoException) => {
      if (signal?.aborted === true) return reject(abortReason(signal))
      const isStale = outgoing.reusedSocket && (cause.code === 'ECONNRESET' || cause.code === 'EPIPE')
      reject(isStale ? new StaleConnection('kept connection was closed', { cause }) : unreachable(request, cause))
    })
    writeBody(outgoing, request.body)
  })
}

/** Until the connection stands, TLS and all: one to a machine that is gone, or to a program that is frozen, never does. */
function limitConnecting(outgoing: http.ClientRequest, ms: number): void {
  const late = setTimeout(() => {
    outgoing.destroy(Object.assign(new Error(`no connection within ${ms} ms`), { code: 'ECONNLATE' }))
  }, ms)
  const done = (): void => clearTimeout(late)
  outgoing.once('close', done)
  outgoing.once('socket', (socket) => {
    if (outgoing.reusedSocket) done()
    else socket.once(outgoing.protocol === 'https:' ? 'secureConnect' : 'connect', done)
  })
}

function writeBody(outgoing: http.ClientRequest, body: HttpRequest['body']): void {
  if (!(body instanceof Readable)) {
    outgoing.end(body)
    return
  }
  body.once('error', (cause) => outgoing.destroy(cause))
  outgoing.once('close', () => body.destroy())
  body.pipe(outgoing)
}

function flatHeaders(headers: http.IncomingHttpHeaders): Record<string, string> {
  const flat: Record<string, string> = {}
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined) flat[name] = Array.isArray(value) ? value.join(', ') : value
  }
  return flat
}

function abortReason(signal: AbortSignal): Error {
  const reason: unknown = signal.reason
  return reason instanceof Error ? reason : new Error(String(reason))
}

function unreachable(request: { url: string }, cause: unknown): HoldfastError {
  const { host } = new URL(request.url)
  return new HoldfastError(
    'unreachable',
    `${host} did not answer`,
    { mend: `Check that ${host} is up and can be reached.` },
    { cause },
  )
}

function connectUnix(path: string): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path })
    const onError = (cause: Error): void =>
      reject(new HoldfastError('unreachable', `nobody listens on ${path}`, {}, { cause }))
    socket.once('error', onError)
    socket.once('connect', () => {
      socket.off('error', onError)
      resolve(socket)
    })
  })
}

/** What the other side says instead of opening a WebSocket. */
async function refusal(url: string, response: http.IncomingMessage): Promise<HoldfastError> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > maxRefusalBytes) break
    chunks.push(chunk)
  }
  const status = response.statusCode ?? 0
  return new HoldfastError('host-error', `${new URL(url).host} refused the connection with status ${status}`, {
    status,
    contentType: response.headers['content-type'] ?? '',
    answer: Buffer.concat(chunks).toString('utf8'),
  })
}

const maxRefusalBytes = 64 * 1024

async function webSocket(
  url: string,
  options: { tls?: TlsIdentity; headers?: Readonly<Record<string, string>> },
): Promise<Duplex> {
  // Loaded at first use: most commands of the CLI open no console, and this takes a third of their start.
  const { createWebSocketStream, WebSocket } = await import('ws')
  return await new Promise((resolve, reject) => {
    const socket = new WebSocket(url, {
      headers: { ...options.headers },
      ...(url.startsWith('wss:') ? tlsOptions(options.tls) : {}),
      handshakeTimeout: 15_000,
      perMessageDeflate: false,
    })
    const onError = (cause: Error): void => reject(unreachable({ url }, cause))
    socket.once('error', onError)
    socket.once('unexpected-response', (request, response) => {
      refusal(url, response)
        .then(reject, onError)
        .finally(() => request.destroy())
    })
    socket.once('open', () => {
      socket.off('error', onError)
      resolve(createWebSocketStream(socket))
    })
  })
}
