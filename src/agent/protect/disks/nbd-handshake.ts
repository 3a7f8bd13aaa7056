/**
 * The server's side of NBD's handshake: the client haggles over options until it has chosen an export, or goes away.
 *
 *   hello ──client's flags──▶ options ──GO or EXPORT_NAME──▶ chosen
 *                                    ╰──ABORT──▶ left
 */
import { HoldfastError } from '../../../base/errors.ts'
import type { ByteQueue } from './byte-queue.ts'
import {
  exportFlag,
  exportNameZeroes,
  handshakeFlag,
  infoType,
  largestPayload,
  longestOption,
  nameOfGo,
  option,
  optionHeaderBytes,
  optionMagic,
  optionReply,
  optionReplyFrame,
  preferredBlock,
  writeU64,
} from './nbd-wire.ts'

/** A disk that is written to. */
export interface JournalExport {
  /** What clients call it. */
  readonly name: string
  /** The disk's key in the VM. */
  readonly disk: number
  readonly sizeBytes: number
}

const flags = exportFlag.hasFlags | exportFlag.flush | exportFlag.fua | exportFlag.trim | exportFlag.writeZeroes

export class Handshake {
  readonly #exports: readonly JournalExport[]
  readonly #send: (data: Buffer) => void
  #clientFlags: number | undefined

  constructor(exports: readonly JournalExport[], send: (data: Buffer) => void) {
    this.#exports = exports
    this.#send = send
  }

  /** Takes one word of the client; `wait` when it is not all there yet. Throws when it is none of the protocol's. */
  step(queue: ByteQueue): 'wait' | 'more' | 'left' | JournalExport {
    if (this.#clientFlags === undefined) return this.#hello(queue)
    const header = this.#header
    if (header === undefined) {
      if (queue.length < optionHeaderBytes) return 'wait'
      this.#header = readOptionHeader(queue.take(optionHeaderBytes))
      return 'more'
    }
    if (queue.length < header.length) return 'wait'
    this.#header = undefined
    return this.#option(header.code, queue.take(header.length))
  }

  #header: { readonly code: number; readonly length: number } | undefined

  #hello(queue: ByteQueue): 'wait' | 'more' {
    if (queue.length < 4) return 'wait'
    const clientFlags = queue.take(4).readUInt32BE()
    if ((clientFlags & ~(handshakeFlag.fixedNewstyle | handshakeFlag.noZeroes)) !== 0)
      throw new HoldfastError('invalid-request', `the client has flags that NBD does not know: ${clientFlags}`)
    this.#clientFlags = clientFlags
    return 'more'
  }

  #option(code: number, data: Buffer): 'more' | 'left' | JournalExport {
    switch (code) {
      case option.exportName:
        return this.#exportName(data.toString('utf8'))
      case option.abort:
        this.#send(optionReplyFrame(code, optionReply.ack))
        return 'left'
      case option.list:
        for (const { name } of this.#exports) this.#send(optionReplyFrame(code, optionReply.server, serverData(name)))
        this.#send(optionReplyFrame(code, optionReply.ack))
        return 'more'
      case option.info:
      case option.go:
        return this.#go(code, nameOfGo(data))
      default:
        this.#send(optionReplyFrame(code, optionReply.unsupported))
        return 'more'
    }
  }

  #go(code: number, name: string | undefined): 'more' | JournalExport {
    const found = this.#exports.find((one) => one.name === name)
    if (found === undefined) {
      this.#send(optionReplyFrame(code, name === undefined ? optionReply.invalid : optionReply.unknown))
      return 'more'
    }
    this.#send(optionReplyFrame(code, optionReply.info, exportInfo(found)))
    this.#send(optionReplyFrame(code, optionReply.info, blockSizeInfo()))
    this.#send(optionReplyFrame(code, optionReply.ack))
    return code === option.go ? found : 'more'
  }

  /** The old way, which has no words for a refusal. */
  #exportName(name: string): JournalExport {
    const found = this.#exports.find((one) => one.name === name)
    if (found === undefined)
      throw new HoldfastError('not-found', `the client wants an export that there is not: ${name}`)
    const isShort = ((this.#clientFlags ?? 0) & handshakeFlag.noZeroes) !== 0
    this.#send(Buffer.concat([exportInfo(found).subarray(2), Buffer.alloc(isShort ? 0 : exportNameZeroes)]))
    return found
  }
}

function readOptionHeader(header: Buffer): { code: number; length: number } {
  if (!optionMagic.equals(header.subarray(0, 8)))
    throw new HoldfastError('invalid-request', 'the client speaks no NBD: an option without its magic')
  const length = header.readUInt32BE(12)
  if (length > longestOption)
    throw new HoldfastError('invalid-request', `the client sends an option of ${length} bytes`)
  return { code: header.readUInt32BE(8), length }
}

function exportInfo({ sizeBytes }: JournalExport): Buffer {
  const data = Buffer.alloc(12)
  data.writeUInt16BE(infoType.export, 0)
  writeU64(sizeBytes, data, 2)
  data.writeUInt16BE(flags, 10)
  return data
}

/** With a smallest block of one byte a client never reads what stands around an unaligned write. */
function blockSizeInfo(): Buffer {
  const data = Buffer.alloc(14)
  data.writeUInt16BE(infoType.blockSize, 0)
  data.writeUInt32BE(1, 2)
  data.writeUInt32BE(preferredBlock, 6)
  data.writeUInt32BE(largestPayload, 10)
  return data
}

function serverData(name: string): Buffer {
  const bytes = Buffer.from(name, 'utf8')
  const length = Buffer.alloc(4)
  length.writeUInt32BE(bytes.length)
  return Buffer.concat([length, bytes])
}
