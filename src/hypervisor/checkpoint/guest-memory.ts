/**
 * The memory of a guest as pages of its blocks, numbered through: block after block, so that a page is one number on both
 * hosts wherever either QEMU has it. Reading and writing goes to QEMU's process from outside.
 */
import { HoldfastError } from '../../base/errors.ts'
import { pageBytes, type MemoryRange, type ProcessMemory } from '../../base/process-memory.ts'
import type { RamBlock } from './ram-blocks.ts'

/** Pages `first` to `first + count - 1`. */
export interface PageRange {
  readonly first: number
  readonly count: number
}

/** A block where it is. */
export type PlacedBlock = Omit<RamBlock, 'mostBytes'>

interface Place extends PlacedBlock {
  readonly firstPage: number
  readonly pages: number
}

const zeroPage = new Uint8Array(pageBytes)

export class GuestMemory {
  readonly #memory: Pick<ProcessMemory, 'read' | 'readMany' | 'write' | 'writeMany'>
  readonly #places: readonly Place[]
  readonly #byAddress: readonly Place[]
  readonly pages: number

  constructor(
    memory: Pick<ProcessMemory, 'read' | 'readMany' | 'write' | 'writeMany'>,
    blocks: readonly PlacedBlock[],
  ) {
    this.#memory = memory
    let firstPage = 0
    this.#places = blocks.map((block) => {
      const place = { ...block, firstPage, pages: block.bytes / pageBytes }
      firstPage += place.pages
      return place
    })
    this.#byAddress = this.#places.toSorted((a, b) => a.address - b.address)
    this.pages = firstPage
  }

  /** What a tracker of writes has found, as pages in ascending order. What is no memory of the guest is left out. */
  pagesAt(ranges: readonly MemoryRange[]): PageRange[] {
    const found: PageRange[] = []
    for (const { start, bytes } of ranges) {
      for (const place of this.#byAddress) {
        const from = Math.max(start, place.address)
        const to = Math.min(start + bytes, place.address + place.bytes)
        if (to <= from) continue
        const first = place.firstPage + Math.floor((from - place.address) / pageBytes)
        found.push({ first, count: Math.ceil((to - place.address) / pageBytes) + place.firstPage - first })
      }
    }
    return found.sort((a, b) => a.first - b.first)
  }

  /** The pages' bytes, one after the other, into `into`. Gives how many bytes that are. */
  read({ first, count }: PageRange, into: Uint8Array): number {
    let done = 0
    for (const { address, bytes } of this.#pieces(first, count)) {
      this.#memory.read(address, into.subarray(done, done + bytes))
      done += bytes
    }
    return done
  }

  /** The bytes of the pages of all ranges, one after the other, into `into`, which they fill. */
  readMany(ranges: readonly PageRange[], into: Uint8Array): void {
    this.#memory.readMany(this.#addressesOf(ranges), into)
  }

  /** Into the pages of all ranges what is in `from`, one after the other. */
  writeMany(ranges: readonly PageRange[], from: Uint8Array): void {
    this.#memory.writeMany(this.#addressesOf(ranges), from)
  }

  #addressesOf(ranges: readonly PageRange[]): MemoryRange[] {
    const found: MemoryRange[] = []
    for (const { first, count } of ranges) {
      for (const { address, bytes } of this.#pieces(first, count)) found.push({ start: address, bytes })
    }
    return found
  }

  write({ first, count }: PageRange, from: Uint8Array): void {
    let done = 0
    for (const { address, bytes } of this.#pieces(first, count)) {
      this.#memory.write(address, from.subarray(done, done + bytes))
      done += bytes
    }
  }

  /** Whether a page of this range lies in a ROM or a table, which QEMU itself may have filled. */
  isRom({ first }: PageRange): boolean {
    return this.#placeOf(first).isRom
  }

  /** Cuts a range where blocks end and where it is longer than so many pages. */
  *cut({ first, count }: PageRange, mostPages: number): Generator<PageRange> {
    for (let at = first; at < first + count;) {
      const place = this.#placeOf(at)
      const until = Math.min(first + count, place.firstPage + place.pages, at + mostPages)
      yield { first: at, count: until - at }
      at = until
    }
  }

  *#pieces(first: number, count: number): Generator<{ address: number; bytes: number }> {
    for (const piece of this.cut({ first, count }, Number.MAX_SAFE_INTEGER)) {
      const place = this.#placeOf(piece.first)
      const address = place.address + (piece.first - place.firstPage) * pageBytes
      yield { address, bytes: piece.count * pageBytes }
    }
  }

  #placeOf(page: number): Place {
    const place = this.#places.find(({ firstPage, pages }) => page >= firstPage && page < firstPage + pages)
    if (place === undefined) throw new HoldfastError('internal', `the guest has no page ${page} of ${this.pages}`)
    return place
  }
}

/** Where the blocks are in the process, for a tracker of writes. */
export function addressesOf(blocks: readonly PlacedBlock[]): MemoryRange[] {
  return blocks.map(({ address, bytes }) => ({ start: address, bytes }))
}

/** Whether these pages are nothing but zeros. */
export function isZero(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at += pageBytes) {
    if (Buffer.compare(zeroPage, bytes.subarray(at, at + pageBytes)) !== 0) return false
  }
  return true
}
