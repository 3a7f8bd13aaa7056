/** Whether an epoch is packed (zstd, its fastest level) before it is sent, and the packing itself. */
import { Writable, type Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import {
  constants,
  createZstdCompress,
  createZstdDecompress,
  zstdCompressSync,
  zstdDecompressSync,
  type ZstdOptions,
} from 'node:zlib'
import { HoldfastError } from '../../../base/errors.ts'
import { lengthOf, pieceBytes, piecesOf, together } from './pieces.ts'
import { freeBytes, type Scratch } from './scratch.ts'

const level = { [constants.ZSTD_c_compressionLevel]: 1 }
/** Less than this is done at once: to hand it to a thread takes longer. */
const littleBytes = 512 * 1024
const leastChunkBytes = 64 * 1024

/** Gives it in pieces, none longer than `pieceBytes`. `little`: room for putting together what is little. */
export async function pack(parts: readonly Uint8Array[], little: Scratch): Promise<Uint8Array[]> {
  const bytes = lengthOf(parts)
  // An epoch becomes a quarter of what it was, or much less.
  const options = { params: level, chunkSize: Math.min(pieceBytes, leastChunkBytes + bytes / 4) >>> 0 }
  if (bytes <= littleBytes) return [zstdCompressSync(putTogether(parts, little.room(bytes)), options)]
  const packed: Uint8Array[] = []
  await through(createZstdCompress(options), parts, (chunk) => packed.push(chunk))
  return packed
}

function putTogether(parts: readonly Uint8Array[], into: Buffer): Buffer {
  let at = 0
  for (const part of parts) {
    into.set(part, at)
    at += part.length
  }
  return into
}

/**
 * `length`: of what was packed. Throws `invalid-request` when it is anything else; no more memory than that is taken. What is
 * long lies in `long`.
 */
export async function unpack(parts: readonly Uint8Array[], length: number, long: Scratch): Promise<Buffer> {
  const options = { chunkSize: Math.max(64, Math.min(pieceBytes, length + 1)), maxOutputLength: length + 1 }
  let plain: Buffer | undefined
  try {
    const isLittle = Math.max(length, lengthOf(parts)) <= littleBytes
    plain = isLittle
      ? zstdDecompressSync(together(parts), options)
      : await unpackLong(parts, long.room(length), options)
  } catch (cause) {
    throw new HoldfastError('invalid-request', 'what came cannot be unpacked', {}, { cause })
  }
  if (plain?.length === length) return plain
  throw new HoldfastError('invalid-request', `what came is not ${length} bytes when it is unpacked`)
}

/** Undefined when it has another length. */
async function unpackLong(
  parts: readonly Uint8Array[],
  plain: Buffer,
  options: ZstdOptions,
): Promise<Buffer | undefined> {
  let at = 0
  let before: Uint8Array | undefined
  await through(createZstdDecompress(options), parts, (chunk) => {
    if (at + chunk.length > plain.length) throw new HoldfastError('invalid-request', 'it is longer than it says')
    plain.set(chunk, at)
    at += chunk.length
    // It has begun to write to another buffer, and so is done with that one.
    if (before !== undefined && before.buffer !== chunk.buffer) freeBytes(before)
    before = chunk
  })
  return at === plain.length ? plain : undefined
}

/** A piece at a time; others have their turn between them. */
async function through(
  coder: Transform,
  parts: readonly Uint8Array[],
  onChunk: (chunk: Uint8Array) => void,
): Promise<void> {
  const out = new Writable({
    write(chunk: Uint8Array, _encoding, done) {
      try {
        onChunk(chunk)
        done()
      } catch (thrown) {
        done(thrown as Error)
      }
    },
  })
  await pipeline(piecesOf(parts).map(together), coder, out)
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
