/**
 * A client outside of the cluster that listens to the small guest's clock: one TCP connection on which the guest counts up,
 * a line each 5 ms. A number that is lost, repeated or late shows what a client noticed.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import type { TestLab } from './lab.ts'

const port = 7001

export class TickStream implements Disposable {
  readonly #socket: Socket
  readonly #problems: string[] = []
  #rest = ''
  #lastAt = 0
  count = 0
  /** Milliseconds of the longest silence since `forget`. */
  longestSilence = 0

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.on('data', (data) => this.#hear(data.toString('latin1')))
    socket.on('error', (error) => this.#problems.push(error.message))
    socket.on('close', () => this.#problems.push('closed'))
  }

  /** Resolves when the first ticks are there. */
  static async open(lab: TestLab, address: string, timeoutMs = 180_000): Promise<TickStream> {
    return await lab.eventually(
      `ticks from ${address}`,
      async () => {
        const socket = connect({ host: address, port })
        const stream = new TickStream(socket)
        socket.setTimeout(2000)
        await Promise.race([once(socket, 'connect'), once(socket, 'timeout')]).catch(() => undefined)
        socket.setTimeout(0)
        const until = lab.ports.clock.monotonic() + 2000
        while (stream.count < 3 && stream.#problems.length === 0 && lab.ports.clock.monotonic() < until) {
          await lab.ports.clock.sleep(20)
        }
        if (stream.count >= 3) return stream
        stream[Symbol.dispose]()
        return undefined
      },
      timeoutMs,
    )
  }

  #hear(text: string): void {
    const now = performance.now()
    if (this.#lastAt > 0) this.longestSilence = Math.max(this.longestSilence, now - this.#lastAt)
    this.#lastAt = now
    const lines = (this.#rest + text).split('\n')
    this.#rest = lines.pop() ?? ''
    for (const line of lines) {
      if (line !== String(this.count)) this.#problems.push(`${line} came in place of ${this.count}`)
      this.count = Number(line) + 1
    }
  }

  forget(): void {
    this.longestSilence = 0
  }

  /** Whether new ticks come on this connection, within the time given. */
  async goesOn(lab: TestLab, timeoutMs = 8000): Promise<boolean> {
    const { count } = this
    const until = lab.ports.clock.monotonic() + timeoutMs
    while (this.count < count + 3) {
      if (this.#socket.destroyed || lab.ports.clock.monotonic() > until) return false
      await lab.ports.clock.sleep(20)
    }
    return true
  }

  /** New ticks come, and none was lost or repeated since the connection was made. */
  async assertWhole(lab: TestLab): Promise<void> {
    assert.ok(await this.goesOn(lab, 20_000), `the ticks have stopped at ${this.count}: ${this.#problems.join(', ')}`)
    assert.deepEqual(this.#problems, [])
  }

  [Symbol.dispose](): void {
    this.#socket.removeAllListeners('close')
    this.#socket.destroy()
  }
}
