/**
 * The journal of one epoch in binary, the same on the wire and in a file:
 *
 *   head     magic 8 · version 4 · count 4 · epoch 8 · n 8 · length of the whole 8 · crc of the head so far 4 · 0 4
 *   table    for each change: disk 4 · kind 4 · offset 8 · length 8
 *   data     of the writes, in the order of the table
 *   trailer  magic 8 · crc of all before it 4 · 0 4
 *
 * The head has a checksum of its own so that the length can be believed before the rest is there. Numbers are big-endian.
 */
import { crc32 } from 'node:zlib'
import { HoldfastError } from '../../../base/errors.ts'
import { largestPayload, readU64, writeU64 } from './nbd-wire.ts'

const kinds = ['write', 'zeroes', 'trim'] as const

/** One change of a disk. Only a `write` has data: `length` bytes, in as many parts as they came in. */
export interface JournalPiece {
  /** The disk's key in the VM. */
  readonly disk: number
  readonly kind: (typeof kinds)[number]
  readonly offset: number
  readonly length: number
  readonly data: readonly Buffer[]
}

/** All changes of one epoch, in their order. */
export interface EpochJournal {
  readonly epoch: number
  /** Number of the configuration under which the epoch was cut. */
  readonly n: number
  readonly pieces: readonly JournalPiece[]
}

export interface JournalHead {
  readonly epoch: number
  readonly n: number
  readonly count: number
  /** Of the whole, with head and trailer. */
  readonly length: number
}

const headMagic = Buffer.from('HFEPOCH\n', 'latin1')
const trailerMagic = Buffer.from('HFEPEND\n', 'latin1')
const version = 1
export const journalHeadBytes = 48
const headCrcAt = 40
const rowBytes = 24
const trailerBytes = 16

/** The parts of the binary form, one after the other. The data is not copied. */
export function encodeJournal({ epoch, n, pieces }: EpochJournal): Buffer[] {
  const top = Buffer.alloc(journalHeadBytes + pieces.length * rowBytes)
  const parts: Buffer[] = [top]
  let length = top.length + trailerBytes
  pieces.forEach((piece, index) => {
    const at = journalHeadBytes + index * rowBytes
    top.writeUInt32BE(piece.disk, at)
    top.writeUInt32BE(kinds.indexOf(piece.kind), at + 4)
    writeU64(piece.offset, top, at + 8)
    writeU64(piece.length, top, at + 16)
    for (const part of piece.data) {
      parts.push(part)
      length += part.length
    }
  })
  headMagic.copy(top, 0)
  top.writeUInt32BE(version, 8)
  top.writeUInt32BE(pieces.length, 12)
  writeU64(epoch, top, 16)
  writeU64(n, top, 24)
  writeU64(length, top, 32)
  top.writeUInt32BE(crc32(top.subarray(0, headCrcAt)), headCrcAt)
  const trailer = Buffer.alloc(trailerBytes)
  trailerMagic.copy(trailer, 0)
  trailer.writeUInt32BE(checksum(parts), 8)
  parts.push(trailer)
  return parts
}

function checksum(parts: readonly Uint8Array[]): number {
  return parts.reduce((sum, part) => crc32(part, sum), 0)
}

/** What stands in the first bytes; undefined when they are no head of a journal, or not a whole one. */
export function readJournalHead(bytes: Buffer): JournalHead | undefined {
  if (bytes.length < journalHeadBytes || !headMagic.equals(bytes.subarray(0, 8))) return undefined
  if (crc32(bytes.subarray(0, headCrcAt)) !== bytes.readUInt32BE(headCrcAt)) return undefined
  const found = bytes.readUInt32BE(8)
  if (found !== version) {
    throw new HoldfastError('refused', `the journal has version ${found}, this program reads version ${version}`, {
      mend: 'Use the version of Holdfast that wrote it.',
    })
  }
  const head = {
    epoch: readU64(bytes, 16),
    n: readU64(bytes, 24),
    count: bytes.readUInt32BE(12),
    length: readU64(bytes, 32),
  }
  const isSound =
    Number.isSafeInteger(head.epoch) &&
    Number.isSafeInteger(head.n) &&
    Number.isSafeInteger(head.length) &&
    head.length >= journalHeadBytes + head.count * rowBytes + trailerBytes
  return isSound ? head : undefined
}

/** Whether these bytes are a whole journal, and its head where they are. Nothing of its content is looked at. */
export function wholeJournalHead(bytes: Buffer): JournalHead | undefined {
  const head = readJournalHead(bytes)
  if (head?.length !== bytes.length) return undefined
  const end = bytes.length - trailerBytes
  if (!trailerMagic.equals(bytes.subarray(end, end + 8))) return undefined
  return crc32(bytes.subarray(0, end)) === bytes.readUInt32BE(end + 8) ? head : undefined
}

/** The journal in exactly these bytes; its data are views of them. Throws `checksum-mismatch` when they are not whole. */
export function decodeJournal(bytes: Buffer): EpochJournal {
  const head = wholeJournalHead(bytes)
  if (head === undefined) {
    throw new HoldfastError('checksum-mismatch', 'the journal of an epoch is not whole', {
      mend: 'Send it again; where it was read from a file, check the device that the file is on.',
    })
  }
  const pieces: JournalPiece[] = []
  const end = bytes.length - trailerBytes
  let dataAt = journalHeadBytes + head.count * rowBytes
  for (let index = 0; index < head.count; index++) {
    const piece = readRow(bytes, journalHeadBytes + index * rowBytes, dataAt, end)
    if (piece === undefined) throw malformed(`its change ${index + 1} of ${head.count} is out of range`)
    if (piece.kind === 'write') dataAt += piece.length
    pieces.push(piece)
  }
  if (dataAt !== end) throw malformed('it has more data than changes')
  return { epoch: head.epoch, n: head.n, pieces }
}

function readRow(bytes: Buffer, at: number, dataAt: number, end: number): JournalPiece | undefined {
  const disk = bytes.readUInt32BE(at)
  const kind = kinds[bytes.readUInt32BE(at + 4)]
  const offset = readU64(bytes, at + 8)
  const length = readU64(bytes, at + 16)
  if (kind === undefined || !Number.isSafeInteger(offset + length)) return undefined
  if (kind !== 'write') return { disk, kind, offset, length, data: [] }
  if (length > Math.min(largestPayload, end - dataAt)) return undefined
  return { disk, kind, offset, length, data: [bytes.subarray(dataAt, dataAt + length)] }
}

function malformed(what: string): HoldfastError {
  return new HoldfastError('invalid-request', `the journal of an epoch makes no sense: ${what}`, {
    mend: 'Both hosts must run versions of Holdfast that go together.',
  })
}
