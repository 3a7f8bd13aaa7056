import type { Duplex } from 'node:stream'

/** Byte streams between processes and hosts, passed in. */
export interface StreamIdentity {
  /** The only authority that the other side's certificate may come from, PEM. */
  readonly ca: string
  readonly cert: string
  readonly key: string
}

export interface Listening extends AsyncDisposable {
  /** As it was chosen, where 0 was asked for. */
  readonly port: number
}

export interface Streams {
  /**
   * Mutual TLS 1.3: both sides show certificates of `ca`, the other's bearing `peerName`. Rejects with `unreachable`, or
   * `not-allowed` when the other side is somebody else.
   */
  connect(
    to: { readonly host: string; readonly port: number; readonly peerName: string },
    identity: StreamIdentity,
    signal: AbortSignal,
  ): Promise<Duplex>
  /** Whoever bears another name than `peerName` is turned away, and `onRefused` told why. Port 0: any free one. */
  listen(
    at: { readonly host: string; readonly port: number; readonly peerName: string },
    identity: StreamIdentity,
    onStream: (stream: Duplex) => void,
    onRefused: (why: string) => void,
  ): Promise<Listening>
  /**
   * Replaces what is at the path. The socket is `uid`'s (default: this process's user) and nobody else's. Its folder must be
   * one that only this process's user can write to.
   */
  listenUnix(path: string, onStream: (stream: Duplex) => void, uid?: number): Promise<AsyncDisposable>
  /**
   * `listener`: the process that must be behind it. For a path in a folder that others may write to, who could put another
   * program's socket there. Throws `unreachable` when nobody listens, `not-allowed` when it is somebody else.
   */
  connectUnix(path: string, listener?: number): Promise<CountedStream>
}

/** A stream over a unix socket that knows what is still in the kernel's hands. */
export interface CountedStream {
  readonly stream: Duplex
  /** Bytes that have arrived here and were not handed to `data` listeners yet. */
  unread(): number
  /** Bytes that were written and that the other process has not read yet. */
  unsent(): number
}
