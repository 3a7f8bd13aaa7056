/**
 * One client of the journal server, over one stream. Whatever it sends, it can do no more than end its own stream: nothing is
 * thrown out of here. A request is answered when it stands in the journal, so an answer means nothing about any disk.
 */
import type { Duplex } from 'node:stream'
import { describeError, HoldfastError } from '../../../base/errors.ts'
import { ByteQueue } from './byte-queue.ts'
import type { JournalPiece } from './journal-format.ts'
import { Handshake, type JournalExport } from './nbd-handshake.ts'
import {
  command,
  commandFlag,
  errorNumber,
  greeting,
  largestPayload,
  readU64,
  requestHeaderBytes,
  requestMagic,
  simpleReplyFrame,
} from './nbd-wire.ts'

/** How a stream ended. */
export interface SessionEnd {
  /** The export that the client had chosen; null when it had not yet. */
  readonly name: string | null
  /** It said that it goes. Otherwise something broke: what it wrote and was not answered may be lost. */
  readonly isOrderly: boolean
  readonly reason: string
}

export interface Journal {
  readonly exports: readonly JournalExport[]
  /** There is no room: nothing more is to be read before the next cut. */
  readonly isFull: boolean
  record(piece: JournalPiece): void
  /** A change was answered with an error, so that it stands in no journal. */
  miss(why: string): void
}

const knownFlags = commandFlag.fua | commandFlag.noHole

export class NbdSession {
  readonly ended: Promise<SessionEnd>
  readonly #stream: Duplex
  readonly #journal: Journal
  readonly #queue = new ByteQueue()
  readonly #handshake: Handshake
  readonly #end = Promise.withResolvers<SessionEnd>()
  #export: JournalExport | undefined
  /** Header of the request whose payload is awaited. */
  #header: Buffer | undefined
  #replies: Buffer[] = []
  /** The client does not read its answers: it is not read from either until it does. */
  #isClogged = false
  #isOver = false

  constructor(stream: Duplex, journal: Journal) {
    this.#stream = stream
    this.#journal = journal
    this.ended = this.#end.promise
    this.#handshake = new Handshake(journal.exports, (data) => this.#replies.push(data))
    stream.on('error', (error: Error) => this.#finish(false, error.message))
    stream.on('end', () => this.#finish(false, 'the client closed the connection'))
    stream.on('close', () => this.#finish(false, 'the connection was closed'))
    stream.on('drain', () => {
      this.#isClogged = false
      this.regulate()
    })
    stream.write(greeting())
    stream.on('data', (chunk: Buffer) => this.#take(chunk))
    this.regulate()
  }

  /** Reads on, or does not, as there is room in the journal. */
  regulate(): void {
    if (this.#isOver) return
    const isHeld = this.#journal.isFull || this.#isClogged
    if (isHeld && !this.#stream.isPaused()) this.#stream.pause()
    else if (!isHeld && this.#stream.isPaused()) this.#stream.resume()
  }

  close(reason: string): void {
    this.#finish(false, reason)
  }

  #take(chunk: Buffer): void {
    if (this.#isOver) return
    try {
      this.#queue.push(chunk)
      while (this.#step());
    } catch (thrown) {
      return this.#finish(false, describeError(thrown))
    }
    this.#reply()
    this.regulate()
  }

  #reply(): void {
    if (this.#replies.length === 0 || this.#isOver) return
    const data = Buffer.concat(this.#replies)
    this.#replies = []
    this.#isClogged = !this.#stream.write(data)
  }

  /** Takes one word of the client; false when it is not all there yet. */
  #step(): boolean {
    if (this.#export === undefined) return this.#shakeHands()
    if (this.#header === undefined) {
      if (this.#queue.length < requestHeaderBytes) return false
      this.#header = this.#queue.take(requestHeaderBytes)
      if (this.#header.readUInt32BE(0) !== requestMagic)
        throw new HoldfastError('invalid-request', 'the client speaks no NBD: a request without its magic')
    }
    const header = this.#header
    const type = header.readUInt16BE(6)
    const length = header.readUInt32BE(24)
    const payload = type === command.write ? length : 0
    if (payload > largestPayload)
      throw new HoldfastError('invalid-request', `the client writes ${payload} bytes at once`)
    if (this.#queue.length < payload) return false
    this.#header = undefined
    if (type === command.disconnect) {
      this.#finish(true, 'the client said goodbye')
      return false
    }
    const error = this.#request(this.#export, header, type, length, this.#queue.takeParts(payload))
    this.#replies.push(simpleReplyFrame(header, error))
    return true
  }

  #shakeHands(): boolean {
    const step = this.#handshake.step(this.#queue)
    if (step === 'left') this.#finish(true, 'the client wants no export')
    else if (typeof step !== 'string') this.#export = step
    return step !== 'wait' && step !== 'left'
  }

  /** The error number of the answer; 0 is well done. */
  #request(to: JournalExport, header: Buffer, type: number, length: number, data: Buffer[]): number {
    if ((header.readUInt16BE(4) & ~knownFlags) !== 0) return errorNumber.EINVAL
    if (type === command.flush) return 0
    const kind = kindOf(type)
    // There is nothing to read from: what was written stands in journals that are on their way.
    if (kind === undefined) return errorNumber.EINVAL
    const offset = readU64(header, 16)
    if (offset + length > to.sizeBytes) {
      this.#journal.miss(`a ${kind} of ${length} bytes at ${offset} is beyond the end of ${to.name}`)
      return kind === 'trim' ? errorNumber.EINVAL : errorNumber.ENOSPC
    }
    if (length > 0) this.#journal.record({ disk: to.disk, kind, offset, length, data })
    return 0
  }

  #finish(isOrderly: boolean, reason: string): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#queue.clear()
    // The last answers still go out, where the client reads them.
    if (isOrderly && !this.#isClogged) this.#stream.end(Buffer.concat(this.#replies), () => this.#stream.destroy())
    else this.#stream.destroy()
    // What is still in it must not hold up the end.
    this.#stream.resume()
    this.#end.resolve({ name: this.#export?.name ?? null, isOrderly, reason })
  }
}

function kindOf(type: number): JournalPiece['kind'] | undefined {
  switch (type) {
    case command.write:
      return 'write'
    case command.writeZeroes:
      return 'zeroes'
    case command.trim:
      return 'trim'
    default:
      return undefined
  }
}
