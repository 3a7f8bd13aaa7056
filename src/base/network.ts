import type { Duplex, Readable } from 'node:stream'

/** The network, passed in. */
export interface TlsIdentity {
  /** The only authority that the other side's certificate may come from, PEM. */
  readonly ca: string
  /** Our own certificate and key, PEM; absent for a client that shows none. */
  readonly cert?: string
  readonly key?: string
  /** The name that the other side's certificate must bear. Absent: the address's host. */
  readonly serverName?: string
}

export interface HttpRequest {
  readonly method: string
  readonly url: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array | Readable
  readonly tls?: TlsIdentity
  /** How long a connection may take to come about; default: as long as the system tries. */
  readonly connectMs?: number
  /** TLS 1.2 is good enough, for others than our own; else it is 1.3 or nothing. */
  readonly allowsTls12?: boolean
  /** Ends the request; what the far side does with it is then unknown. */
  readonly signal?: AbortSignal
}

export interface HttpResponse {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: Readable
}

export interface Network {
  /** One HTTP/1.1 request. Rejects with HoldfastError `unreachable` when no answer came. Connections are kept alive. */
  request(request: HttpRequest): Promise<HttpResponse>
  /** A stream over a unix socket; rejects with `unreachable` when nobody listens. */
  connectUnix(path: string): Promise<Duplex>
  /**
   * A WebSocket client as a stream of binary messages. Rejects with `unreachable`, or with `host-error` when the other side
   * refuses: `details.status`, and what it says as `details.contentType` and `details.answer`.
   */
  webSocket(url: string, options: { tls?: TlsIdentity; headers?: Readonly<Record<string, string>> }): Promise<Duplex>
}
