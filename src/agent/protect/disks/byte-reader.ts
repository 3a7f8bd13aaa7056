/** Reads a stream by counts of bytes. The stream's end or error rejects what is awaited, and all that is awaited later. */
import type { Duplex } from 'node:stream'
import { HoldfastError } from '../../../base/errors.ts'
import { ByteQueue } from './byte-queue.ts'

export class ByteReader {
  readonly #queue = new ByteQueue()
  #wanted: { readonly count: number; resolve(data: Buffer): void; reject(error: HoldfastError): void } | undefined
  #failure: HoldfastError | undefined

  constructor(stream: Duplex) {
    stream.on('data', (chunk: Buffer) => {
      this.#queue.push(chunk)
      this.#give()
    })
    stream.on('error', (cause: Error) =>
      this.fail(new HoldfastError('unreachable', 'the connection broke', {}, { cause })),
    )
    const end = (): void => this.fail(new HoldfastError('unreachable', 'the other side closed the connection'))
    stream.on('end', end)
    stream.on('close', end)
  }

  /** The next `count` bytes. One read at a time. */
  async read(count: number): Promise<Buffer> {
    if (this.#queue.length >= count) return this.#queue.take(count)
    if (this.#failure !== undefined) throw this.#failure
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
    this.#wanted = { count, resolve, reject }
    return promise
  }

  /** Nothing more is to be expected; the first reason counts. */
  fail(why: HoldfastError): void {
    this.#failure ??= why
    this.#wanted?.reject(this.#failure)
    this.#wanted = undefined
  }

  #give(): void {
    const wanted = this.#wanted
    if (wanted === undefined || this.#queue.length < wanted.count) return
    this.#wanted = undefined
    wanted.resolve(this.#queue.take(wanted.count))
  }
}
