/**
 * One open console: bytes between a client's WebSocket and wherever the VM runs.
 *
 * A serial line has no state but its bytes: when the VM moves, the session connects to the new host by itself and the
 * client's socket stays open. A VNC connection has a handshake and a picture that cannot be joined in the middle: the
 * socket closes with `moved`, and the client connects again.
 */
import type { Duplex } from 'node:stream'
import type { WebSocket } from 'ws'
import type { Clock } from '../../base/clock.ts'
import type { HostId, VmId } from '../../base/ids.ts'
import type { Logger } from '../../base/log.ts'
import type { ConsoleKind } from '../../manager/app/consoles.ts'
import type { Manager } from '../../manager/app/manager.ts'
import { consoleCloseCodes } from '../../contracts/console-codes.ts'

export interface ConsoleSessionOptions {
  readonly manager: Manager
  readonly clock: Clock
  readonly logger: Logger
  readonly client: WebSocket
  readonly vm: VmId
  readonly kind: ConsoleKind
}

/** How long a VM may be on its way before its console gives up. */
const searchMs = 60_000
const pauseMs = 250
const pingMs = 20_000
const maxWaitingBytes = 4 * 1024 * 1024

export class ConsoleSession {
  readonly #options: ConsoleSessionOptions
  readonly #closed = new AbortController()
  #host: HostId | undefined
  #upstream: Duplex | undefined
  #isSearching = false

  constructor(options: ConsoleSessionOptions) {
    this.#options = options
  }

  begin(host: HostId, upstream: Duplex): void {
    const { client, manager, vm } = this.#options
    const moves = manager.consoles.onMove(vm, () => void this.#follow())
    client.on('message', (data: Buffer) => this.#fromClient(data))
    client.on('error', () => client.terminate())
    client.once('close', () => {
      moves[Symbol.dispose]()
      this.#closed.abort()
      this.#upstream?.destroy()
    })
    this.#attach(host, upstream)
    void this.#keepAlive()
  }

  end(code: number, reason: string): void {
    this.#options.client.close(code, reason)
  }

  #attach(host: HostId, upstream: Duplex): void {
    const before = this.#upstream
    this.#host = host
    this.#upstream = upstream
    before?.destroy()
    upstream.on('data', (chunk: Buffer) => this.#toClient(upstream, chunk))
    upstream.on('error', () => upstream.destroy())
    upstream.once('close', () => {
      if (this.#upstream === upstream) void this.#search()
    })
  }

  #fromClient(data: Buffer): void {
    const upstream = this.#upstream
    if (upstream === undefined || upstream.destroyed) return
    upstream.write(data)
    if (upstream.writableLength > maxWaitingBytes) this.end(consoleCloseCodes.tooSlow, 'the guest reads too slowly')
  }

  #toClient(upstream: Duplex, chunk: Buffer): void {
    const { client } = this.#options
    if (client.readyState !== client.OPEN || this.#upstream !== upstream) return
    // A client that reads slowly slows the guest's output down; nothing piles up here.
    client.send(chunk, { binary: true }, () => {
      if (upstream.isPaused() && client.bufferedAmount < maxWaitingBytes / 4) upstream.resume()
    })
    if (client.bufferedAmount > maxWaitingBytes) upstream.pause()
  }

  /** The run record has changed: perhaps another host runs the VM now. */
  async #follow(): Promise<void> {
    const { manager, vm } = this.#options
    const host = await manager.consoles.whereabouts(vm).catch(() => undefined)
    if (host === undefined || host === this.#host || this.#closed.signal.aborted) return
    await this.#search()
  }

  /** The connection has ended, or leads to where the VM no longer is: find it, or say why the console ends. */
  async #search(): Promise<void> {
    const { client, clock, kind, vm } = this.#options
    if (this.#isSearching || client.readyState !== client.OPEN) return
    if (kind === 'vnc') return this.end(consoleCloseCodes.moved, 'connect again')
    this.#isSearching = true
    const until = clock.monotonic() + searchMs
    try {
      while (clock.monotonic() < until && !this.#closed.signal.aborted) {
        if (await this.#tryAgain(vm)) return
        await clock.sleep(pauseMs, this.#closed.signal)
      }
      this.end(consoleCloseCodes.ended, 'the VM is out of reach')
    } catch {
      // Closed meanwhile.
    } finally {
      this.#isSearching = false
    }
  }

  /** True when the search is over: attached, or the VM does not run any more. */
  async #tryAgain(vm: VmId): Promise<boolean> {
    const { consoles } = this.#options.manager
    const host = await consoles.whereabouts(vm).catch(() => undefined)
    if (host === undefined) {
      this.end(consoleCloseCodes.ended, 'the VM does not run')
      return true
    }
    const upstream = await consoles.connect(host, vm, 'serial').catch(() => undefined)
    if (upstream === undefined) return false
    if (this.#closed.signal.aborted) upstream.destroy()
    else this.#attach(host, upstream)
    return true
  }

  /** Finds clients that have gone without a word. */
  async #keepAlive(): Promise<void> {
    const { client, clock } = this.#options
    let isAlive = true
    client.on('pong', () => {
      isAlive = true
    })
    try {
      for (;;) {
        await clock.sleep(pingMs, this.#closed.signal)
        if (!isAlive) return client.terminate()
        isAlive = false
        client.ping()
      }
    } catch {
      // Closed.
    }
  }
}
