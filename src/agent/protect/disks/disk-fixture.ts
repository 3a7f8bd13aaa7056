/** For tests: a disk in memory behind NBD, which carries requests out in any order that the protocol allows. */
import { duplexPair, type Duplex } from 'node:stream'
import type { Random } from '../../../base/random.ts'
import { ByteQueue } from './byte-queue.ts'
import { Handshake } from './nbd-handshake.ts'
import { command, greeting, readU64, requestHeaderBytes, simpleReplyFrame } from './nbd-wire.ts'

interface Request {
  readonly header: Buffer
  readonly type: number
  readonly data: Buffer
}

export class DiskFixture {
  readonly content: Buffer
  /** What a power loss leaves: as it was at the last flush. */
  flushed: Buffer
  /** The most requests that waited at once. */
  mostWaiting = 0
  flushes = 0
  /** Answers nothing any more. */
  isSilent = false
  /** The error of the answers from now on. */
  error = 0
  readonly name: string
  readonly #random: Random

  constructor(name: string, sizeBytes: number, random: Random) {
    this.name = name
    this.content = Buffer.alloc(sizeBytes)
    this.flushed = Buffer.alloc(sizeBytes)
    this.#random = random
  }

  /** The client's end of a connection to it. `later` is called for each turn in which something is carried out. */
  connect(later: (work: () => void) => void): Duplex {
    const [client, stream] = duplexPair()
    const queue = new ByteQueue()
    const handshake = new Handshake([{ name: this.name, disk: 0, sizeBytes: this.content.length }], (data) =>
      stream.write(data),
    )
    const waiting: Request[] = []
    let isChosen = false
    const step = (): boolean => {
      if (!isChosen) {
        const result = handshake.step(queue)
        isChosen = typeof result !== 'string'
        return result !== 'wait'
      }
      const request = takeRequest(queue)
      if (request !== undefined) waiting.push(request)
      this.mostWaiting = Math.max(this.mostWaiting, waiting.length)
      return request !== undefined
    }
    const work = (): void => {
      if (stream.destroyed || this.isSilent) return
      const [request] = waiting.splice(this.#random.int(Math.max(1, waiting.length)), 1)
      if (request?.type === command.disconnect) return void stream.end()
      if (request !== undefined) stream.write(simpleReplyFrame(request.header, this.#carryOut(request)))
      if (waiting.length > 0) later(work)
    }
    stream.write(greeting())
    stream.on('error', () => undefined)
    stream.on('data', (chunk: Buffer) => {
      queue.push(chunk)
      const before = waiting.length
      while (step());
      if (before === 0 && waiting.length > 0) later(work)
    })
    return client
  }

  #carryOut({ header, type, data }: Request): number {
    if (this.error !== 0) return this.error
    const offset = readU64(header, 16)
    const length = header.readUInt32BE(24)
    if (type === command.write) data.copy(this.content, offset)
    else if (type === command.flush) {
      this.flushes++
      this.flushed = Buffer.from(this.content)
    } else this.content.fill(0, offset, offset + length)
    return 0
  }
}

function takeRequest(queue: ByteQueue): Request | undefined {
  if (queue.length < requestHeaderBytes) return undefined
  // The header is put back where the payload is not there yet; a fixture may be slow.
  const header = queue.take(requestHeaderBytes)
  const type = header.readUInt16BE(6)
  const length = type === command.write ? header.readUInt32BE(24) : 0
  if (queue.length >= length) return { header, type, data: queue.take(length) }
  const rest = queue.take(queue.length)
  queue.push(header)
  queue.push(rest)
  return undefined
}
