/** Whether an epoch is packed (zstd, its fastest level) before it is sent, and the packing itself. */
import { promisify } from 'node:util'
import { constants, zstdCompress, zstdCompressSync, zstdDecompress, zstdDecompressSync } from 'node:zlib'
import { HoldfastError } from '../../../base/errors.ts'

const level = { [constants.ZSTD_c_compressionLevel]: 1 }
/** Less than this is done at once: to hand it to a thread takes longer. */
const littleBytes = 512 * 1024
/** What comes out is put together from pieces of this size. */
const pieceBytes = 8 * 2 ** 20
const leastPieceBytes = 64 * 1024

export async function pack(bytes: Uint8Array): Promise<Buffer> {
  // An epoch becomes a quarter of what it was, or much less.
  const options = { params: level, chunkSize: Math.min(pieceBytes, leastPieceBytes + bytes.length / 4) >>> 0 }
  if (bytes.length <= littleBytes) return zstdCompressSync(bytes, options)
  return await promisify(zstdCompress)(bytes, options)
}

/** `length`: of what was packed. Throws `invalid-request` when it is anything else. */
export async function unpack(bytes: Uint8Array, length: number): Promise<Buffer> {
  const options = { chunkSize: Math.max(64, Math.min(pieceBytes, length + 1)), maxOutputLength: length + 1 }
  try {
    const isLittle = length <= littleBytes
    const plain = isLittle ? zstdDecompressSync(bytes, options) : await promisify(zstdDecompress)(bytes, options)
    if (plain.length === length) return plain
  } catch (cause) {
    throw new HoldfastError('invalid-request', 'what came cannot be unpacked', {}, { cause })
  }
  throw new HoldfastError('invalid-request', `what came is not ${length} bytes when it is unpacked`)
}

/** Weight of the newest of late figures. */
const newest = 0.25
/** Where packing does not pay it is tried again after so many epochs: what a guest writes changes. */
const tryAgainAfter = 64
/** What is shorter says more about the way there and back than about the link. */
const tellingBytes = 32 * 1024

/** How fast something of late has gone. */
export class Rate {
  readonly #tellingBytes: number
  #bytesPerMs: number | undefined

  /** `tellingBytes`: what is less tells nothing. */
  constructor(tellingBytes: number) {
    this.#tellingBytes = tellingBytes
  }

  /** Undefined before there was any. */
  get bytesPerMs(): number | undefined {
    return this.#bytesPerMs
  }

  note(bytes: number, tookMs: number): void {
    if (bytes >= this.#tellingBytes) this.#bytesPerMs = mix(this.#bytesPerMs, bytes / Math.max(0.1, tookMs))
  }
}

/** Learns what packing costs and spares. It pays when packed bytes are there sooner than plain ones. */
export class PackingChoice {
  #packMsPerByte: number | undefined
  #share: number | undefined
  #plainInRow = 0
  /** What has reached the second, as it was sent. */
  readonly link = new Rate(tellingBytes)

  /** Whether to pack the next one. */
  next(): boolean {
    const { bytesPerMs } = this.link
    if (this.#packMsPerByte === undefined || this.#share === undefined || bytesPerMs === undefined) return true
    if (this.#packMsPerByte < (1 - this.#share) / bytesPerMs) return true
    this.#plainInRow++
    return this.#plainInRow % tryAgainAfter === 0
  }

  notePacked(plainBytes: number, packedBytes: number, tookMs: number): void {
    if (plainBytes === 0) return
    this.#plainInRow = 0
    this.#packMsPerByte = mix(this.#packMsPerByte, tookMs / plainBytes)
    this.#share = mix(this.#share, packedBytes / plainBytes)
  }
}

function mix(before: number | undefined, value: number): number {
  return before === undefined ? value : before * (1 - newest) + value * newest
}
