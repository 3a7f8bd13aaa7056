/**
 * A whole copy of ranges of memory, to find by comparing what has changed in them. A piece that is nothing but zeros takes
 * no room: much of a guest's memory was never used.
 */
import { crc32 } from 'node:zlib'
import { pageBytes, type MemoryRange } from './process-memory.ts'

/** Fills `into` with what is at an address. */
export type ReadMemory = (address: number, into: Uint8Array) => void

const pieceBytes = 2 ** 20
const zeros = Buffer.alloc(pieceBytes)

interface Piece {
  readonly start: number
  readonly bytes: number
  /** Undefined: zeros. */
  held: Buffer | undefined
  /** Of what is held; undefined when it has changed since. */
  checksum: number | undefined
}

interface Part extends MemoryRange {
  readonly pieces: readonly Piece[]
}

/** All zeros at first. Ranges are of whole pages. */
export class MemoryShadow {
  readonly #parts: readonly Part[]
  readonly #scratch = Buffer.allocUnsafeSlow(pieceBytes)

  constructor(ranges: readonly MemoryRange[]) {
    this.#parts = ranges.map(({ start, bytes }) => ({ start, bytes, pieces: piecesOf(start, bytes) }))
  }

  /** Pages that are other than here, in ascending order within each range. */
  compare(read: ReadMemory): MemoryRange[] {
    return this.#differing(read, () => undefined)
  }

  /** The same; from now on they are here as they were read. */
  update(read: ReadMemory): MemoryRange[] {
    return this.#differing(read, (piece, from, bytes) => hold(piece, from, bytes))
  }

  put(address: number, bytes: Uint8Array): void {
    this.#each(address, bytes.length, (piece, at, length, done) => {
      hold(piece, at, bytes.subarray(done, done + length))
    })
  }

  read(address: number, into: Uint8Array): void {
    this.#each(address, into.length, (piece, at, length, done) => {
      into.set((piece.held ?? zeros).subarray(at, at + length), done)
    })
  }

  /** A checksum of each mebibyte. */
  checksums(): number[] {
    return this.#parts.flatMap(({ pieces }) =>
      pieces.map((piece) => (piece.checksum ??= crc32((piece.held ?? zeros).subarray(0, piece.bytes)))),
    )
  }

  #differing(read: ReadMemory, onPage: (piece: Piece, at: number, bytes: Uint8Array) => void): MemoryRange[] {
    const found: MemoryRange[] = []
    for (const piece of this.#parts.flatMap(({ pieces }) => pieces)) {
      const now = this.#scratch.subarray(0, piece.bytes)
      read(piece.start, now)
      const held = (piece.held ?? zeros).subarray(0, piece.bytes)
      if (Buffer.compare(held, now) === 0) continue
      for (let at = 0; at < piece.bytes; at += pageBytes) {
        const page = now.subarray(at, at + pageBytes)
        if (Buffer.compare(held.subarray(at, at + pageBytes), page) === 0) continue
        addPage(found, piece.start + at)
        onPage(piece, at, page)
      }
    }
    return found
  }

  #each(address: number, bytes: number, work: (piece: Piece, at: number, length: number, done: number) => void): void {
    const part = this.#parts.find(({ start, bytes: all }) => address >= start && address + bytes <= start + all)
    if (part === undefined) throw new RangeError(`nothing is kept of ${bytes} bytes at ${address}`)
    for (let done = 0; done < bytes;) {
      const offset = address + done - part.start
      const at = offset % pieceBytes
      const piece = part.pieces[Math.floor(offset / pieceBytes)]
      if (piece === undefined) return
      const length = Math.min(piece.bytes - at, bytes - done)
      work(piece, at, length, done)
      done += length
    }
  }
}

/** Checksums of memory as `MemoryShadow.checksums` gives them for what it holds. */
export function checksumsOf({ start, bytes }: MemoryRange, read: ReadMemory): number[] {
  const scratch = Buffer.allocUnsafeSlow(pieceBytes)
  return piecesOf(start, bytes).map((piece) => {
    const now = scratch.subarray(0, piece.bytes)
    read(piece.start, now)
    return crc32(now)
  })
}

/** Puts a page to those before it. */
export function addPage(found: MemoryRange[], start: number): void {
  const last = found.at(-1)
  if (last !== undefined && last.start + last.bytes === start)
    found[found.length - 1] = { start: last.start, bytes: last.bytes + pageBytes }
  else found.push({ start, bytes: pageBytes })
}

function piecesOf(start: number, bytes: number): Piece[] {
  const pieces: Piece[] = []
  for (let at = 0; at < bytes; at += pieceBytes) {
    pieces.push({ start: start + at, bytes: Math.min(pieceBytes, bytes - at), held: undefined, checksum: undefined })
  }
  return pieces
}

function hold(piece: Piece, at: number, bytes: Uint8Array): void {
  if (piece.held === undefined) {
    if (Buffer.compare(bytes, zeros.subarray(0, bytes.length)) === 0) return
    piece.held = Buffer.alloc(piece.bytes)
  }
  piece.held.set(bytes, at)
  piece.checksum = undefined
}
