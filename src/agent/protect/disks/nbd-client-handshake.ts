/**
 * The client's side of NBD's handshake: chooses an export by NBD_OPT_GO. It does not ask for block sizes, so the server
 * takes requests of any alignment and looks after the rest itself.
 */
import { HoldfastError } from '../../../base/errors.ts'
import type { ByteReader } from './byte-reader.ts'
import {
  exportFlag,
  firstOptionError,
  goData,
  greetingBytes,
  handshakeFlag,
  helloMagic,
  infoType,
  longestOption,
  option,
  optionFrame,
  optionMagic,
  optionReply,
  optionReplyHeaderBytes,
  optionReplyMagic,
  readU64,
} from './nbd-wire.ts'

const needed = { flush: exportFlag.flush, trim: exportFlag.trim, 'write zeroes': exportFlag.writeZeroes }

/** Resolves with the export's size. */
export async function chooseExport(reader: ByteReader, send: (data: Buffer) => void, name: string): Promise<number> {
  const hello = await reader.read(greetingBytes)
  const isNbd = helloMagic.equals(hello.subarray(0, 8)) && optionMagic.equals(hello.subarray(8, 16))
  const serverFlags = hello.readUInt16BE(16)
  if (!isNbd || (serverFlags & handshakeFlag.fixedNewstyle) === 0) throw noNbd('its greeting is another one')
  const clientFlags = Buffer.alloc(4)
  clientFlags.writeUInt32BE(serverFlags & (handshakeFlag.fixedNewstyle | handshakeFlag.noZeroes))
  send(Buffer.concat([clientFlags, optionFrame(option.go, goData(name, []))]))

  let info: Buffer | undefined
  for (;;) {
    const head = await reader.read(optionReplyHeaderBytes)
    const length = head.readUInt32BE(16)
    if (!optionReplyMagic.equals(head.subarray(0, 8)) || head.readUInt32BE(8) !== option.go || length > longestOption)
      throw noNbd('its answer to an option is malformed')
    const type = head.readUInt32BE(12)
    const data = await reader.read(length)
    if (type >= firstOptionError) throw notGiven(name, type, data.toString('utf8'))
    if (type === optionReply.ack) break
    if (type === optionReply.info && length >= 12 && data.readUInt16BE(0) === infoType.export) info = data
  }
  if (info === undefined) throw noNbd('it did not say how large the export is')
  checkFlags(name, info.readUInt16BE(10))
  return readU64(info, 2)
}

function checkFlags(name: string, flags: number): void {
  const missing = Object.entries(needed).flatMap(([what, flag]) => ((flags & flag) === 0 ? [what] : []))
  if ((flags & exportFlag.readOnly) !== 0) missing.push('write')
  if (missing.length === 0) return
  throw new HoldfastError('refused', `the disk ${name} cannot ${missing.join(', ')} over NBD`, {
    mend: 'Export it writable, by QEMU.',
  })
}

function notGiven(name: string, type: number, said: string): HoldfastError {
  const code = type === optionReply.unknown ? 'not-found' : 'refused'
  const why = said === '' ? `error ${type - firstOptionError}` : said
  return new HoldfastError(code, `the NBD server does not give the disk ${name}: ${why}`, {
    mend: 'Look at what the server exports: `qemu-nbd --list`.',
  })
}

function noNbd(what: string): HoldfastError {
  return new HoldfastError('hypervisor-error', `the other side is no NBD server as QEMU's is: ${what}`)
}
