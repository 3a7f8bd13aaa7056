/**
 * The words of NBD, fixed newstyle with simple replies: numbers and frames that server and client share.
 * https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md (the names in capitals below are of that page).
 * All numbers are big-endian. A cookie is eight bytes that the client chooses and the server gives back.
 */

/** Both greet with these: `NBDMAGIC`, `IHAVEOPT`. */
export const helloMagic = Buffer.from('NBDMAGIC', 'latin1')
export const optionMagic = Buffer.from('IHAVEOPT', 'latin1')
export const optionReplyMagic = Buffer.from('0003e889045565a9', 'hex')
export const requestMagic = 0x25609513
export const simpleReplyMagic = 0x67446698

/** NBD_FLAG_FIXED_NEWSTYLE and NBD_FLAG_NO_ZEROES, of the server and of the client. */
export const handshakeFlag = { fixedNewstyle: 1, noZeroes: 2 } as const

export const option = { exportName: 1, abort: 2, list: 3, info: 6, go: 7 } as const

export const optionReply = {
  ack: 1,
  server: 2,
  info: 3,
  unsupported: 0x80000001,
  invalid: 0x80000003,
  unknown: 0x80000006,
} as const

/** From here on an option's reply is a refusal. */
export const firstOptionError = 0x80000000

export const infoType = { export: 0, blockSize: 3 } as const

/** What a server says that its export can do. */
export const exportFlag = {
  hasFlags: 1,
  readOnly: 2,
  flush: 4,
  fua: 8,
  trim: 32,
  writeZeroes: 64,
} as const

export const command = { read: 0, write: 1, disconnect: 2, flush: 3, trim: 4, writeZeroes: 6 } as const

/** NBD_CMD_FLAG_FUA and NBD_CMD_FLAG_NO_HOLE. */
export const commandFlag = { fua: 1, noHole: 2 } as const

/** The errors of the protocol by their Linux numbers. */
export const errorNumber = {
  EPERM: 1,
  EIO: 5,
  ENOMEM: 12,
  EINVAL: 22,
  ENOSPC: 28,
  EOVERFLOW: 75,
  ENOTSUP: 95,
  ESHUTDOWN: 108,
} as const

/** The most that one request may carry: what the protocol allows a client that was told nothing else. */
export const largestPayload = 32 * 1024 * 1024
export const preferredBlock = 4096
/** Names are 4096 bytes at most; with what stands around them no option that we know is longer. */
export const longestOption = 8 * 1024

export const greetingBytes = 18
export const optionHeaderBytes = 16
export const optionReplyHeaderBytes = 20
export const requestHeaderBytes = 28
export const simpleReplyBytes = 16
/** NBD_OPT_EXPORT_NAME is answered with size, flags, and these zeroes unless the client can do without. */
export const exportNameZeroes = 124

const twoTo32 = 2 ** 32

/** Above 2⁵³ it is not exact, but still above every size that an image can have. */
export function readU64(from: Buffer, at: number): number {
  return from.readUInt32BE(at) * twoTo32 + from.readUInt32BE(at + 4)
}

export function writeU64(value: number, to: Buffer, at: number): void {
  to.writeUInt32BE(Math.floor(value / twoTo32), at)
  to.writeUInt32BE(value % twoTo32, at + 4)
}

export function greeting(): Buffer {
  const flags = Buffer.alloc(2)
  flags.writeUInt16BE(handshakeFlag.fixedNewstyle | handshakeFlag.noZeroes)
  return Buffer.concat([helloMagic, optionMagic, flags])
}

export function optionFrame(code: number, data: Uint8Array): Buffer {
  const head = Buffer.alloc(8)
  head.writeUInt32BE(code, 0)
  head.writeUInt32BE(data.length, 4)
  return Buffer.concat([optionMagic, head, data])
}

export function optionReplyFrame(code: number, reply: number, data: Uint8Array = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(12)
  head.writeUInt32BE(code, 0)
  head.writeUInt32BE(reply, 4)
  head.writeUInt32BE(data.length, 8)
  return Buffer.concat([optionReplyMagic, head, data])
}

/** The data of NBD_OPT_GO and NBD_OPT_INFO: the export's name, and the kinds of information that are asked for. */
export function goData(name: string, infos: readonly number[]): Buffer {
  const bytes = Buffer.from(name, 'utf8')
  const data = Buffer.alloc(6 + bytes.length + infos.length * 2)
  data.writeUInt32BE(bytes.length, 0)
  bytes.copy(data, 4)
  data.writeUInt16BE(infos.length, 4 + bytes.length)
  infos.forEach((info, at) => data.writeUInt16BE(info, 6 + bytes.length + at * 2))
  return data
}

/** The name in such data; undefined when it is malformed. */
export function nameOfGo(data: Buffer): string | undefined {
  if (data.length < 6) return undefined
  const length = data.readUInt32BE(0)
  if (length > data.length - 6) return undefined
  const infos = data.readUInt16BE(4 + length)
  return data.length === 6 + length + infos * 2 ? data.toString('utf8', 4, 4 + length) : undefined
}

export interface RequestFrame {
  readonly type: number
  readonly flags?: number
  readonly cookie: number
  readonly offset: number
  readonly length: number
}

/** The head of a request; a write's payload follows. */
export function requestFrame({ type, flags = 0, cookie, offset, length }: RequestFrame): Buffer {
  const head = Buffer.allocUnsafe(requestHeaderBytes)
  head.writeUInt32BE(requestMagic, 0)
  head.writeUInt16BE(flags, 4)
  head.writeUInt16BE(type, 6)
  writeU64(cookie, head, 8)
  writeU64(offset, head, 16)
  head.writeUInt32BE(length, 24)
  return head
}

/** The reply to the request whose header is given. */
export function simpleReplyFrame(request: Buffer, error: number): Buffer {
  const reply = Buffer.allocUnsafe(simpleReplyBytes)
  reply.writeUInt32BE(simpleReplyMagic, 0)
  reply.writeUInt32BE(error, 4)
  request.copy(reply, 8, 8, 16)
  return reply
}
