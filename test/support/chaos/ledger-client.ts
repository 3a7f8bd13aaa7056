/**
 * A client outside of the cluster that has a guest put numbers down, one after the other, for as long as it lives. A number
 * whose answer does not come is asked for again on a new connection: putting it down twice is putting it down.
 */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { readAnswer, type LedgerJudge } from './ledger-judge.ts'

const usualPort = 7002
const [paceMs, connectMs, answerMs, readMs] = [300, 1500, 4000, 60_000] as const

export class LedgerClient implements AsyncDisposable {
  readonly judge: LedgerJudge
  readonly #address: string
  readonly #port: number
  readonly #stop = new AbortController()
  readonly #done: Promise<void>

  constructor(judge: LedgerJudge, address: string, port = usualPort) {
    this.judge = judge
    this.#address = address
    this.#port = port
    this.#done = this.#run()
  }

  /** Reads back all that was acknowledged so far. Throws when the guest does not answer to the end. */
  async verify(): Promise<void> {
    const count = this.judge.next
    using line = await Line.open(this.#address, this.#port)
    line.send(`read ${count}`)
    const records: string[] = []
    const end = performance.now() + readMs
    for (;;) {
      const said = await line.next(end - performance.now())
      if (said === 'end') break
      if (said.startsWith('= ')) records.push(said.slice(2))
    }
    this.judge.verify(records, count)
  }

  async #run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      await this.#converse().catch(() => undefined)
      await this.#pause()
    }
  }

  async #converse(): Promise<void> {
    using line = await Line.open(this.#address, this.#port)
    while (!this.#stop.signal.aborted) {
      const asked = this.judge.next
      line.send(`put ${asked}`)
      const answer = readAnswer(await line.next(answerMs))
      if (answer === undefined) return
      this.judge.answered(asked, answer, performance.now())
      if (this.judge.problem !== undefined) return this.#stop.abort()
      await this.#pause()
    }
  }

  #pause(): Promise<void> {
    return sleep(paceMs, undefined, { signal: this.#stop.signal }).catch(() => undefined)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#done
  }
}

/** One connection, line by line. */
class Line implements Disposable {
  readonly #socket: Socket
  readonly #lines: string[] = []
  #rest = ''
  #wake = (): void => undefined

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.setNoDelay(true)
    socket.on('data', (data) => this.#hear(data.toString('latin1')))
    socket.on('error', () => undefined)
    socket.on('close', () => this.#wake())
  }

  static async open(address: string, port: number): Promise<Line> {
    const socket = connect({ host: address, port })
    const line = new Line(socket)
    try {
      await once(socket, 'connect', { signal: AbortSignal.timeout(connectMs) })
      return line
    } catch (thrown) {
      socket.destroy()
      throw thrown
    }
  }

  send(text: string): void {
    this.#socket.write(`${text}\n`)
  }

  /** The next line. Throws when none comes in time, or the connection is closed. */
  async next(withinMs: number): Promise<string> {
    const end = performance.now() + withinMs
    while (this.#lines.length === 0) {
      const leftMs = end - performance.now()
      if (this.#socket.destroyed || leftMs <= 0) throw new Error('no answer')
      const stop = new AbortController()
      const woken = new Promise<void>((resolve) => (this.#wake = resolve))
      await Promise.race([woken, sleep(leftMs, undefined, { signal: stop.signal }).catch(() => undefined)])
      stop.abort()
    }
    return this.#lines.shift() ?? ''
  }

  #hear(text: string): void {
    const lines = (this.#rest + text).split('\n')
    this.#rest = lines.pop() ?? ''
    this.#lines.push(...lines)
    this.#wake()
  }

  [Symbol.dispose](): void {
    this.#socket.destroy()
  }
}
