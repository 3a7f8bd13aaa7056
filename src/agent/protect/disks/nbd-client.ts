/**
 * Writes to one disk over NBD. Requests are pipelined within bounds. What always holds:
 *
 * - A request that was not answered in time, or whose connection broke, is unknown: it may yet be carried out. So the whole
 *   client fails then, and another is to be opened.
 * - `apply` keeps the order of changes that overlap; others may overtake each other, as a server may answer in any order.
 * - After an `apply` that failed the image is somewhere in between, and no later epoch is applied on top of that.
 */
import type { Duplex } from 'node:stream'
import type { Clock } from '../../../base/clock.ts'
import { HoldfastError, toHoldfastError } from '../../../base/errors.ts'
import { ByteReader } from './byte-reader.ts'
import type { JournalPiece } from './journal-format.ts'
import { chooseExport } from './nbd-client-handshake.ts'
import { RequestWindow } from './request-window.ts'
import {
  command,
  errorNumber,
  largestPayload,
  readU64,
  requestFrame,
  simpleReplyBytes,
  simpleReplyMagic,
} from './nbd-wire.ts'

export interface NbdClientOptions {
  readonly clock: Clock
  /** For the handshake, and for each answer from when its request was sent. */
  readonly timeoutMs: number
  /** Requests that are on their way at most. Default 32. */
  readonly depth?: number
}

interface Pending {
  readonly what: string
  readonly sentAt: number
  resolve(): void
  reject(error: HoldfastError): void
}

interface Range {
  readonly from: number
  readonly to: number
  readonly done: Promise<void>
}

const defaultDepth = 32
/** Data on its way at most: a request that is larger travels alone. */
const windowBytes = 8 * 1024 * 1024
const commandOf = { write: command.write, zeroes: command.writeZeroes, trim: command.trim } as const

export class NbdClient implements AsyncDisposable {
  readonly name: string
  readonly sizeBytes: number
  readonly #stream: Duplex
  readonly #reader: ByteReader
  readonly #clock: Clock
  readonly #timeoutMs: number
  readonly #window: RequestWindow
  readonly #pending = new Map<number, Pending>()
  readonly #closed = Promise.withResolvers<void>()
  #applying: Promise<void> = Promise.resolve()
  #failure: HoldfastError | undefined
  #watch: Disposable | undefined
  #nextCookie = 1

  private constructor(stream: Duplex, reader: ByteReader, name: string, sizeBytes: number, options: NbdClientOptions) {
    this.name = name
    this.sizeBytes = sizeBytes
    this.#stream = stream
    this.#reader = reader
    this.#clock = options.clock
    this.#timeoutMs = options.timeoutMs
    this.#window = new RequestWindow(options.depth ?? defaultDepth, windowBytes)
    stream.once('close', () => this.#closed.resolve())
    void this.#hear()
  }

  /** Takes the stream over: it is destroyed when this rejects, and when the client is disposed of. */
  static async open(stream: Duplex, name: string, options: NbdClientOptions): Promise<NbdClient> {
    const reader = new ByteReader(stream)
    const late = new HoldfastError('timeout', `the NBD server of ${name} did not answer within ${options.timeoutMs} ms`)
    using _ = options.clock.timer(options.timeoutMs, () => reader.fail(late))
    try {
      const sizeBytes = await chooseExport(reader, (data) => stream.write(data), name)
      return new NbdClient(stream, reader, name, sizeBytes, options)
    } catch (thrown) {
      stream.destroy()
      throw thrown
    }
  }

  /** At most 32 MiB at once. */
  async write(offset: number, data: readonly Uint8Array[]): Promise<void> {
    const length = data.reduce((sum, part) => sum + part.length, 0)
    await this.#request(command.write, offset, length, data)
  }

  async zeroes(offset: number, length: number): Promise<void> {
    await this.#request(command.writeZeroes, offset, length)
  }

  async trim(offset: number, length: number): Promise<void> {
    await this.#request(command.trim, offset, length)
  }

  /** What was answered before is on the device after. */
  async flush(): Promise<void> {
    await this.#request(command.flush, 0, 0)
  }

  /** Carries out the changes, all of this disk, and flushes. Later calls wait for earlier ones. */
  async apply(pieces: readonly JournalPiece[]): Promise<void> {
    const before = this.#applying
    // No later epoch on top of one that is not there: a failure stays.
    this.#applying = before.then(() => this.#applyNow(pieces))
    this.#applying.catch(() => undefined)
    await this.#applying
  }

  async #applyNow(pieces: readonly JournalPiece[]): Promise<void> {
    const running = new Set<Range>()
    let failure: unknown
    for (const { kind, offset, length, data } of pieces) {
      const [from, to] = [offset, offset + length]
      for (const range of [...running]) if (range.from < to && from < range.to) await range.done
      await this.#window.enter(kind === 'write' ? length : 0)
      if (failure !== undefined) {
        this.#window.leave(kind === 'write' ? length : 0)
        break
      }
      const sent = this.#send(commandOf[kind], offset, length, data)
      const done = sent.then(
        () => void running.delete(range),
        (thrown: unknown) => {
          failure ??= thrown
        },
      )
      const range: Range = { from, to, done }
      running.add(range)
    }
    await Promise.all([...running].map(({ done }) => done))
    if (failure !== undefined) throw toHoldfastError(failure)
    await this.flush()
  }

  async #request(type: number, offset: number, length: number, data: readonly Uint8Array[] = []): Promise<void> {
    await this.#window.enter(data.length === 0 ? 0 : length)
    await this.#send(type, offset, length, data)
  }

  /** Sends a request that has entered the window; it leaves the window with its answer. */
  async #send(type: number, offset: number, length: number, data: readonly Uint8Array[]): Promise<void> {
    const payload = type === command.write ? length : 0
    try {
      if (this.#failure !== undefined) throw this.#failure
      if (offset + length > this.sizeBytes || payload > largestPayload || length > 0xffffffff)
        throw new HoldfastError('invalid-request', `${length} bytes at ${offset} are not of the disk ${this.name}`)
      if (length === 0 && type !== command.flush) return
      const cookie = this.#nextCookie++
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      this.#pending.set(cookie, { what: wordOf(type), sentAt: this.#clock.monotonic(), resolve, reject })
      this.#stream.cork()
      this.#stream.write(requestFrame({ type, cookie, offset, length }))
      for (const part of data) this.#stream.write(part)
      this.#stream.uncork()
      this.#guard()
      await promise
    } finally {
      this.#window.leave(payload)
    }
  }

  async #hear(): Promise<void> {
    try {
      for (;;) {
        const reply = await this.#reader.read(simpleReplyBytes)
        const cookie = readU64(reply, 8)
        const pending = this.#pending.get(cookie)
        if (reply.readUInt32BE(0) !== simpleReplyMagic || pending === undefined)
          throw new HoldfastError('hypervisor-error', `the NBD server of ${this.name} answers what was not asked`)
        this.#pending.delete(cookie)
        const error = reply.readUInt32BE(4)
        if (error === 0) pending.resolve()
        else pending.reject(refusal(this.name, pending.what, error))
      }
    } catch (thrown) {
      this.#fail(toHoldfastError(thrown))
    }
  }

  /** One timer for all requests: the oldest is the first of the map. */
  #guard(): void {
    const [oldest] = this.#pending.values()
    if (this.#watch !== undefined || oldest === undefined) return
    const waitMs = oldest.sentAt + this.#timeoutMs - this.#clock.monotonic()
    this.#watch = this.#clock.timer(Math.max(0, waitMs), () => {
      this.#watch = undefined
      const [late] = this.#pending.values()
      const isLate = late !== undefined && late.sentAt + this.#timeoutMs <= this.#clock.monotonic()
      if (isLate) this.#fail(silent(this.name, late.what, this.#timeoutMs))
      else this.#guard()
    })
  }

  #fail(why: HoldfastError): void {
    this.#failure ??= why
    this.#watch?.[Symbol.dispose]()
    this.#stream.destroy()
    for (const pending of this.#pending.values()) pending.reject(this.#failure)
    this.#pending.clear()
  }

  /** Says goodbye. Does not wait for requests that are on their way: await them first. */
  async [Symbol.asyncDispose](): Promise<void> {
    const isFirst = this.#failure === undefined
    this.#failure ??= new HoldfastError('unreachable', `the client of ${this.name} was closed`)
    if (isFirst) this.#stream.end(requestFrame({ type: command.disconnect, cookie: 0, offset: 0, length: 0 }))
    using _ = this.#clock.timer(this.#timeoutMs, () => this.#stream.destroy())
    if (!this.#stream.closed) await this.#closed.promise
    this.#fail(this.#failure)
  }
}

function wordOf(type: number): string {
  const found = Object.entries(command).find(([, code]) => code === type)
  return found?.[0] ?? String(type)
}

function refusal(name: string, what: string, error: number): HoldfastError {
  const known = Object.entries(errorNumber).find(([, number]) => number === error)?.[0] ?? String(error)
  const isFull = error === errorNumber.ENOSPC
  return new HoldfastError(isFull ? 'no-space' : 'hypervisor-error', `the disk ${name} refused to ${what}: ${known}`, {
    errno: known,
    mend: isFull ? 'Make room on its datastore.' : "Look at the QEMU's log and at the datastore of the disk.",
  })
}

function silent(name: string, what: string, timeoutMs: number): HoldfastError {
  return new HoldfastError('timeout', `the disk ${name} did not answer a ${what} within ${timeoutMs} ms`, {
    mend: 'Look whether its datastore answers.',
  })
}
