/** QMP as a script would speak it: commands, and every event with the time that QEMU gave it. */
import { connect, type Socket } from 'node:net'

interface Heard {
  readonly event: string
  readonly at: number
  readonly status: string | undefined
}

interface Message {
  readonly QMP?: unknown
  readonly id?: number
  readonly return?: unknown
  readonly error?: { readonly desc: string }
  readonly event?: string
  readonly data?: { readonly status?: string }
  readonly timestamp?: { readonly seconds: number; readonly microseconds: number }
}

export class BenchQmp implements Disposable {
  readonly #socket: Socket
  readonly #events: Heard[] = []
  readonly #waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>()
  #text = ''
  #next = 1
  #changed = Promise.withResolvers<void>()

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.setEncoding('utf8')
    socket.on('data', (text: string) => this.#take(text))
    const end = (): void => {
      for (const { reject } of this.#waiting.values()) reject(new Error('QEMU has gone'))
      this.#changed.resolve()
    }
    socket.on('error', end).on('close', end)
  }

  static async open(path: string): Promise<BenchQmp> {
    const socket = connect(path)
    await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject))
    const qmp = new BenchQmp(socket)
    await qmp.execute('qmp_capabilities')
    return qmp
  }

  #take(text: string): void {
    this.#text += text
    const lines = this.#text.split('\n')
    this.#text = lines.pop() ?? ''
    for (const line of lines.filter((one) => one.trim() !== '')) this.#hear(JSON.parse(line) as Message)
  }

  #hear({ id, event, error, data, timestamp, return: value }: Message): void {
    if (event !== undefined && timestamp !== undefined) {
      const at = timestamp.seconds * 1000 + timestamp.microseconds / 1000
      this.#events.push({ event, at, status: data?.status })
      this.#changed.resolve()
      this.#changed = Promise.withResolvers<void>()
    }
    if (id === undefined) return
    const waiting = this.#waiting.get(id)
    this.#waiting.delete(id)
    if (error === undefined) waiting?.resolve(value)
    else waiting?.reject(new Error(error.desc))
  }

  execute<T = unknown>(command: string, args: Readonly<Record<string, unknown>> = {}): Promise<T> {
    const id = this.#next++
    const answer = Promise.withResolvers<unknown>()
    this.#waiting.set(id, answer)
    this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`)
    return answer.promise as Promise<T>
  }

  /** When an event came last, milliseconds since the epoch. */
  when(event: string): number | undefined {
    return this.#events.findLast((heard) => heard.event === event)?.at
  }

  forget(): void {
    this.#events.length = 0
  }

  /** Waits for an event (of MIGRATION: with this status) since the last `forget`. */
  async until(event: string, status?: string, timeoutMs = 60_000): Promise<void> {
    const end = performance.now() + timeoutMs
    for (;;) {
      const changed = this.#changed.promise
      if (this.#events.some((heard) => heard.event === event && (status === undefined || heard.status === status)))
        return
      const hasFailed = this.#events.some((heard) => heard.event === 'MIGRATION' && heard.status === 'failed')
      if (hasFailed || this.#socket.destroyed || performance.now() > end) {
        throw new Error(`no ${event} ${status ?? ''}: ${hasFailed ? 'the migration failed' : 'QEMU says nothing'}`)
      }
      let limit: NodeJS.Timeout | undefined
      await Promise.race([changed, new Promise<void>((resolve) => (limit = setTimeout(resolve, 1000)))])
      clearTimeout(limit)
    }
  }

  [Symbol.dispose](): void {
    this.#socket.destroy()
  }
}
