/** A wire between source and target that breaks at a chosen byte. */
import { once } from 'node:events'
import { createServer, connect, type AddressInfo, type Server, type Socket } from 'node:net'

export interface Cut {
  /** Both connections are reset once exactly so many bytes have reached the target. */
  readonly after?: number
  /** Once so many bytes have come, no more are taken, and nobody is told: a cable that was pulled. */
  readonly stall?: number
  /** So many bytes are kept back; when the source has closed its end they are thrown away. */
  readonly tail?: number
  /** From this byte on; before it everything goes through at once. */
  readonly tailFrom?: number
  /** Nothing that the target says reaches the source, and when the source is silent for long, the wire breaks. */
  readonly answers?: boolean
}

const silenceMs = 1500

export class Wire implements AsyncDisposable {
  /** Bytes that the source has sent. */
  sent = 0
  isCut = false
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #cut: Cut
  #silence: NodeJS.Timeout | undefined
  #kept: Buffer = Buffer.alloc(0)

  private constructor(server: Server, cut: Cut) {
    this.#server = server
    this.#cut = cut
  }

  static async open(targetPort: number, cut: Cut): Promise<Wire> {
    const server = createServer({ allowHalfOpen: true })
    const wire = new Wire(server, cut)
    server.on('connection', (source) =>
      wire.#join(source, connect({ port: targetPort, host: '127.0.0.1', allowHalfOpen: true })),
    )
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return wire
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  #join(source: Socket, target: Socket): void {
    for (const socket of [source, target]) {
      this.#sockets.add(socket)
      socket.on('error', () => undefined)
    }
    source.on('data', (data: Buffer) => this.#pass(source, target, data))
    source.on('end', () => target.end())
    target.on('data', (data: Buffer) => this.#cut.answers !== true && source.write(data))
    target.on('end', () => source.end())
    target.on('close', () => source.destroy())
    source.on('close', () => target.destroySoon())
  }

  #pass(source: Socket, target: Socket, data: Buffer): void {
    const { after, tail, tailFrom, stall } = this.#cut
    if (stall !== undefined && this.sent + data.length > stall) return void source.pause()
    let part = data
    if (after !== undefined && this.sent + data.length >= after) part = data.subarray(0, after - this.sent)
    this.sent += data.length
    if (tail !== undefined && this.sent > (tailFrom ?? 0)) {
      const all = Buffer.concat([this.#kept, part])
      this.#kept = all.subarray(Math.max(0, all.length - tail))
      part = all.subarray(0, Math.max(0, all.length - tail))
    }
    const isLast = after !== undefined && this.sent >= after
    const isFull = !target.write(part, () => {
      if (isLast) this.#break()
    })
    if (isLast) source.pause()
    else if (isFull) {
      source.pause()
      target.once('drain', () => source.resume())
    }
    if (this.#cut.answers === true) {
      clearTimeout(this.#silence)
      this.#silence = setTimeout(() => this.#break(), silenceMs)
    }
  }

  /** The target sees the end of the stream after the bytes it got; the source a reset. */
  #break(): void {
    this.isCut = true
    const [source, target] = [...this.#sockets]
    target?.end()
    source?.resetAndDestroy()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#silence)
    for (const socket of this.#sockets) socket.destroy()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}
