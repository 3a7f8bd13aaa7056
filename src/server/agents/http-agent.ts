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
import { exchange, exchangeJson, fillPath, openWebSocket, queryText, readBody } from '../../contracts/http-exchange.ts'

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

const longCalls = new Set<keyof typeof agentCalls>([
  ...(['start', 'stop', 'prepareIncoming', 'discardIncoming', 'settle'] as const),
  ...(['prepareSecond', 'discardSecond', 'unprotect', 'changeArbiter'] as const),
])

export function httpAgent(host: AgentAddress, ports: HttpAgentPorts): AgentApi {
  const line = new AgentLine(host, ports)
  return {
    report: (signal) => line.call('report', {}, signal),
    configure: (configuration) => line.call('configure', { configuration }),
    observe: (vm) => line.call('observe', { vm }),
    start: (deployment) => line.call('start', { deployment }),
    stop: (vm, request) => line.call('stop', { vm, request }),
    signal: (vm, request) => line.call('signal', { vm, request }),
    prepareIncoming: (request) => line.call('prepareIncoming', request),
    discardIncoming: (vm, generation) => line.call('discardIncoming', { vm, generation }),
    releaseIncoming: (vm, generation) => line.call('releaseIncoming', { vm, generation }),
    settle: (vm, request) => line.call('settle', { vm, request }),
    prepareSecond: (request) => line.call('prepareSecond', request),
    discardSecond: (vm, n) => line.call('discardSecond', { vm, n }),
    unprotect: (vm, request) => line.call('unprotect', { vm, request }),
    changeArbiter: (vm, request) => line.call('changeArbiter', { vm, request }),
    arbiterLife: () => line.call('arbiterLife', {}),
    arbiterOpen: (request) => line.call('arbiterOpen', request),
    arbiterClaim: (request) => line.call('arbiterClaim', request),
    arbiterLook: (request) => line.call('arbiterLook', request),
    arbiterSupersede: (request) => line.call('arbiterSupersede', request),
    probe: (vm, request) => line.call('probe', { vm, request }),
    serialTail: (vm) => line.call('serialTail', { vm }),
    startJob: (request) => line.call('startJob', request),
    job: (id) => line.call('job', { id }),
    cancelJob: (id) => line.call('cancelJob', { id }),
    uploadStatus: (id, datastore) => line.call('uploadStatus', { id, datastore }),
    deleteDisk: (disk, datastore, task) => line.call('deleteDisk', { disk, datastore, task }),
    deleteImage: (image, datastore) => line.call('deleteImage', { image, datastore }),
    startUpgrade: (request) => line.call('startUpgrade', request),
    tellRecord: (record) => line.call('tellRecord', { record }),
    upload: (id, datastore, offset, body) => line.upload(id, { datastore, offset }, body),
    screenshot: (vm) => line.screenshot(vm),
    console: (vm, kind) => line.console(vm, kind),
  }
}

/** One agent as it is reached over HTTPS. */
class AgentLine {
  readonly #host: AgentAddress
  readonly #ports: HttpAgentPorts
  readonly #base: string

  constructor(host: AgentAddress, ports: HttpAgentPorts) {
    const name = host.addresses.management
    this.#host = host
    this.#ports = ports
    this.#base = `https://${name.includes(':') ? `[${name}]` : name}:${host.agentPort}`
  }

  call<T>(method: keyof typeof agentCalls, body: unknown, outer?: AbortSignal): Promise<T> {
    const { path } = agentCalls[method]
    return this.#within(longCalls.has(method) ? longMs : usualMs, method, async (signal) => {
      const request: HttpRequest = {
        ...{ method: 'POST', url: this.#base + path, tls: this.#tls(), body: JSON.stringify(body) },
        headers: { 'content-type': 'application/json' },
        signal: outer === undefined ? signal : AbortSignal.any([signal, outer]),
      }
      return (await exchangeJson(this.#ports.network, request)) as T
    })
  }

  upload(id: string, query: { datastore: string; offset: number }, body: Readable): Promise<{ offset: number }> {
    return this.#within(uploadMs, 'upload', async (signal) => {
      const url = this.#base + fillPath(agentStreams.upload, { id }) + queryText(query)
      const headers = { 'content-type': 'application/octet-stream' }
      const request: HttpRequest = { method: 'PUT', url, tls: this.#tls(), headers, body, signal }
      return (await exchangeJson(this.#ports.network, request)) as { offset: number }
    })
  }

  screenshot(vm: string): Promise<Uint8Array> {
    return this.#within(usualMs, 'screenshot', async (signal) => {
      const url = this.#base + fillPath(agentStreams.screenshot, { vm })
      return readBody((await exchange(this.#ports.network, { method: 'GET', url, tls: this.#tls(), signal })).body)
    })
  }

  console(vm: string, kind: string): Promise<Duplex> {
    const url = this.#base.replace(/^https/, 'wss') + fillPath(agentStreams.console, { vm, kind })
    return openWebSocket(this.#ports.network, url, { tls: this.#tls() })
  }

  #tls(): TlsIdentity {
    return { ...this.#ports.identity(), serverName: this.#host.tlsName }
  }

  async #within<T>(ms: number, what: string, run: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const late = new HoldfastError('timeout', `${this.#host.tlsName} did not answer to ${what} in ${ms / 1000} s`, {
      mend: 'Whether it was done is not known; Holdfast asks again.',
    })
    using limit = deadline(this.#ports.clock, ms, late)
    return await run(limit.signal)
  }
}
