/**
 * QEMU's control protocol (QMP) over a stream: one JSON object a line, replies matched by id, events in between.
 * A command that is not answered in time rejects with `timeout`: whether QEMU carried it out is unknown. A lost
 * connection rejects all open commands with `unreachable`.
 */
import type { Duplex } from 'node:stream'
import type { Clock } from '../base/clock.ts'
import { HoldfastError } from '../base/errors.ts'

export interface QmpEvent {
  readonly event: string
  readonly data: Readonly<Record<string, unknown>>
  /** By QEMU's wall clock, milliseconds since 1970, to the microsecond: for differences. */
  readonly at: number
}

export interface ExecuteOptions {
  /** Milliseconds to wait for the answer. Default 30 s: a loaded host may be slow, a hung QEMU is for ever. */
  readonly timeoutMs?: number
}

export interface Qmp {
  /** Rejects with `hypervisor-error` (QEMU said no; `details.qemuClass` is its word), `timeout` or `unreachable`. */
  execute<T = unknown>(command: string, args?: Readonly<Record<string, unknown>>, options?: ExecuteOptions): Promise<T>
  /** Calls back for each event in order, from now on. */
  onEvent(listener: (event: QmpEvent) => void): Disposable
  /** Resolves when the connection has ended, for whatever reason. */
  readonly closed: Promise<void>
  readonly isOpen: boolean
  /** The connection has ended, and all that QEMU said before was read: no event was lost. */
  readonly heardAll: boolean
  close(): void
}

interface Message {
  readonly QMP?: unknown
  readonly id?: unknown
  readonly return?: unknown
  readonly error?: { readonly class: string; readonly desc: string }
  readonly event?: string
  readonly data?: Record<string, unknown>
  readonly timestamp?: { readonly seconds: number; readonly microseconds: number }
}

interface Pending {
  readonly command: string
  resolve(value: unknown): void
  reject(error: HoldfastError): void
}

const defaultTimeoutMs = 30_000
/** Far more than QEMU's longest answer; a line without end must not eat our memory. */
const longestLine = 64 * 1024 * 1024

/** Takes up the conversation: waits for the greeting and leaves negotiation mode. Rejects like a command does. */
export async function openQmp(stream: Duplex, clock: Clock, timeoutMs = defaultTimeoutMs): Promise<Qmp> {
  const connection = new QmpConnection(stream, clock)
  try {
    await connection.greeting(timeoutMs)
    await connection.execute('qmp_capabilities', {}, { timeoutMs })
    return connection
  } catch (thrown) {
    connection.close()
    throw thrown
  }
}

class QmpConnection implements Qmp {
  readonly #stream: Duplex
  readonly #clock: Clock
  readonly #pending = new Map<number, Pending>()
  readonly #listeners = new Set<(event: QmpEvent) => void>()
  readonly #greeting = Promise.withResolvers<void>()
  readonly #closed = Promise.withResolvers<void>()
  #isOpen = true
  #heardAll = false
  #nextId = 1
  #chunks: string[] = []
  #length = 0

  constructor(stream: Duplex, clock: Clock) {
    this.#stream = stream
    this.#clock = clock
    this.#greeting.promise.catch(() => undefined)
    stream.setEncoding('utf8')
    stream.on('data', (text: string) => this.#take(text))
    stream.once('error', () => this.#end())
    stream.once('end', () => {
      this.#heardAll = this.#isOpen
      this.#end()
    })
    stream.once('close', () => this.#end())
  }

  get closed(): Promise<void> {
    return this.#closed.promise
  }

  get isOpen(): boolean {
    return this.#isOpen
  }

  get heardAll(): boolean {
    return this.#heardAll
  }

  async greeting(timeoutMs: number): Promise<void> {
    using _ = this.#clock.timer(timeoutMs, () =>
      this.#greeting.reject(new HoldfastError('timeout', `QEMU gave no greeting within ${timeoutMs} ms`)),
    )
    await this.#greeting.promise
  }

  async execute<T>(
    command: string,
    args?: Readonly<Record<string, unknown>>,
    options: ExecuteOptions = {},
  ): Promise<T> {
    if (!this.#isOpen) throw lost(command)
    const id = this.#nextId++
    const timeoutMs = options.timeoutMs ?? defaultTimeoutMs
    const { promise, resolve, reject } = Promise.withResolvers<unknown>()
    this.#pending.set(id, { command, resolve, reject })
    const timer = this.#clock.timer(timeoutMs, () => {
      this.#pending.delete(id)
      reject(new HoldfastError('timeout', `QEMU did not answer ${command} within ${timeoutMs} ms`, { command }))
    })
    this.#stream.write(
      `${JSON.stringify({ execute: command, ...(args === undefined ? {} : { arguments: args }), id })}\n`,
    )
    try {
      return (await promise) as T
    } finally {
      timer[Symbol.dispose]()
    }
  }

  onEvent(listener: (event: QmpEvent) => void): Disposable {
    this.#listeners.add(listener)
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) }
  }

  close(): void {
    this.#stream.destroy()
    this.#end()
  }

  #take(text: string): void {
    const lines = text.split('\n')
    const rest = lines.pop() ?? ''
    for (const line of lines) {
      this.#chunks.push(line)
      this.#message(this.#chunks.join(''))
      this.#chunks = []
      this.#length = 0
    }
    if (rest === '') return
    this.#chunks.push(rest)
    this.#length += rest.length
    if (this.#length > longestLine) this.close()
  }

  #message(line: string): void {
    if (line.trim() === '') return
    let message: Message
    try {
      message = JSON.parse(line) as Message
    } catch {
      // The other end is no QEMU, or its memory is damaged: nothing that follows can be trusted.
      return this.close()
    }
    if (message.QMP !== undefined) this.#greeting.resolve()
    else if (message.event !== undefined) this.#event(eventOf(message, message.event))
    else this.#reply(message)
  }

  #event(event: QmpEvent): void {
    for (const listener of [...this.#listeners]) listener(event)
  }

  #reply(message: Message): void {
    const pending = typeof message.id === 'number' ? this.#pending.get(message.id) : undefined
    if (pending === undefined) return
    this.#pending.delete(message.id as number)
    if (message.error === undefined) return pending.resolve(message.return)
    const { desc, class: qemuClass } = message.error
    pending.reject(
      new HoldfastError('hypervisor-error', `QEMU refused ${pending.command}: ${desc}`, {
        command: pending.command,
        qemuClass,
      }),
    )
  }

  #end(): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    this.#greeting.reject(new HoldfastError('unreachable', 'QEMU closed the connection before its greeting'))
    for (const pending of this.#pending.values()) pending.reject(lost(pending.command))
    this.#pending.clear()
    this.#closed.resolve()
  }
}

function eventOf({ data, timestamp }: Message, event: string): QmpEvent {
  const at = timestamp === undefined ? 0 : timestamp.seconds * 1000 + timestamp.microseconds / 1000
  return { event, data: data ?? {}, at }
}

function lost(command: string): HoldfastError {
  return new HoldfastError('unreachable', `the connection to QEMU was lost at ${command}`, { command })
}
