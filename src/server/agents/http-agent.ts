/**
 * The manager's client of one agent: AgentApi over HTTPS with certificates on both sides. Every call has a deadline; one
 * that is over is `timeout`, which means unknown.
 */
import type { Duplex, Readable } from 'node:stream'
import { deadline, type Clock } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { HttpRequest, Network, TlsIdentity } from '../../base/network.ts'
import type { AgentApi } from '../../contracts/agent-api.ts'
import { agentCalls, agentStreams } from '../../contracts/agent-routes.ts'
import { exchange, exchangeJson, fillPath, queryText, readBody } from '../../contracts/http-exchange.ts'

export interface AgentAddress {
  readonly addresses: { readonly management: string }
  readonly agentPort: number
  readonly tlsName: string
}

export interface HttpAgentPorts {
  readonly network: Network
  readonly clock: Clock
  /** Our certificate, as it is now: it is renewed while the manager runs. */
  readonly identity: () => Omit<TlsIdentity, 'serverName'>
}

const usualMs = 30_000
/** What waits for QEMU to start, to be reaped, or to listen. */
const longMs = 120_000
/** A piece of an upload takes as long as its sender does. */
const uploadMs = 60 * 60_000

const longCalls = new Set<keyof typeof agentCalls>(['start', 'stop', 'prepareIncoming', 'discardIncoming', 'settle'])

export function httpAgent(host: AgentAddress, ports: HttpAgentPorts): AgentApi {
  const name = host.addresses.management
  const base = `https://${name.includes(':') ? `[${name}]` : name}:${host.agentPort}`
  const tls = (): TlsIdentity => ({ ...ports.identity(), serverName: host.tlsName })
  const within = async <T>(ms: number, what: string, run: (signal: AbortSignal) => Promise<T>): Promise<T> => {
    const late = new HoldfastError('timeout', `${host.tlsName} did not answer to ${what} in ${ms / 1000} s`, {
      mend: 'Whether it was done is not known; Holdfast asks again.',
    })
    using limit = deadline(ports.clock, ms, late)
    return await run(limit.signal)
  }
  const call = async <T>(method: keyof typeof agentCalls, body: unknown, outer?: AbortSignal): Promise<T> => {
    const { path } = agentCalls[method]
    return within(longCalls.has(method) ? longMs : usualMs, method, async (signal) => {
      const request: HttpRequest = {
        ...{ method: 'POST', url: base + path, tls: tls(), body: JSON.stringify(body) },
        headers: { 'content-type': 'application/json' },
        signal: outer === undefined ? signal : AbortSignal.any([signal, outer]),
      }
      return (await exchangeJson(ports.network, request)) as T
    })
  }
  return {
    report: (signal) => call('report', {}, signal),
    configure: (configuration) => call('configure', { configuration }),
    observe: (vm) => call('observe', { vm }),
    start: (deployment) => call('start', { deployment }),
    stop: (vm, request) => call('stop', { vm, request }),
    signal: (vm, request) => call('signal', { vm, request }),
    prepareIncoming: (request) => call('prepareIncoming', request),
    discardIncoming: (vm, generation) => call('discardIncoming', { vm, generation }),
    releaseIncoming: (vm, generation) => call('releaseIncoming', { vm, generation }),
    settle: (vm, request) => call('settle', { vm, request }),
    startJob: (request) => call('startJob', request),
    job: (id) => call('job', { id }),
    cancelJob: (id) => call('cancelJob', { id }),
    uploadStatus: (id, datastore) => call('uploadStatus', { id, datastore }),
    deleteDisk: (disk, datastore) => call('deleteDisk', { disk, datastore }),
    deleteImage: (image, datastore) => call('deleteImage', { image, datastore }),
    tellRecord: (record) => call('tellRecord', { record }),
    upload: (id, datastore, offset, body) =>
      within(uploadMs, 'upload', (signal) =>
        sendUpload(ports.network, base, tls(), { id, datastore, offset, body, signal }),
      ),
    screenshot: (vm) =>
      within(usualMs, 'screenshot', async (signal) => {
        const url = base + fillPath(agentStreams.screenshot, { vm })
        return readBody((await exchange(ports.network, { method: 'GET', url, tls: tls(), signal })).body)
      }),
    console: (vm, kind): Promise<Duplex> => {
      const url = `${base.replace(/^https/, 'wss')}${fillPath(agentStreams.console, { vm, kind })}`
      return ports.network.webSocket(url, { tls: tls() })
    },
  }
}

async function sendUpload(
  network: Network,
  base: string,
  tls: TlsIdentity,
  piece: { id: string; datastore: string; offset: number; body: Readable; signal: AbortSignal },
): Promise<{ offset: number }> {
  const { id, datastore, offset, body, signal } = piece
  const url = base + fillPath(agentStreams.upload, { id }) + queryText({ datastore, offset })
  const headers = { 'content-type': 'application/octet-stream' }
  return (await exchangeJson(network, { method: 'PUT', url, tls, headers, body, signal })) as { offset: number }
}
