/**
 * What /proc/PID/pagemap says: one word of 64 bits for each page of the address space. Bit 55 is the page's soft-dirty bit.
 * It counts whether the page is present or not: in swap the kernel keeps it too, and a mapping that is younger than the last
 * clearing has it for pages that were never touched.
 */
import { addPage } from './memory-shadow.ts'
import { pageBytes, type MemoryRange } from './process-memory.ts'

export const pagemapEntryBytes = 8

/** Bit 55 is bit 7 of the seventh byte, little-endian. */
const [softDirtyByte, softDirtyBit] = [6, 0x80]

/** Pages of a piece of a pagemap, which begins with the one at `start`, that were written since the last clearing. */
export function softDirtyPages(entries: Uint8Array, start: number): MemoryRange[] {
  const found: MemoryRange[] = []
  for (let at = softDirtyByte; at < entries.length; at += pagemapEntryBytes) {
    if (((entries[at] ?? 0) & softDirtyBit) === 0) continue
    addPage(found, start + ((at - softDirtyByte) / pagemapEntryBytes) * pageBytes)
  }
  return found
}

/** Two neighbours that touch become one. */
export function joinRanges(ranges: readonly MemoryRange[]): MemoryRange[] {
  const joined: MemoryRange[] = []
  for (const range of ranges) {
    const last = joined.at(-1)
    if (last !== undefined && last.start + last.bytes === range.start)
      joined[joined.length - 1] = { start: last.start, bytes: last.bytes + range.bytes }
    else joined.push(range)
  }
  return joined
}
