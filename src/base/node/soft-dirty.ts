/**
 * Knowing what a process writes by the soft-dirty bits of its pages, on kernels before 6.7 that have them: `4` to
 * /proc/PID/clear_refs takes the bit and the right to write from every page, and the first write to a page brings both back.
 *
 * Telling and forgetting are two steps, so a write between them is lost: the process has to stand still for a `take`. The
 * bits are the whole process's, and each clearing walks all of its page tables.
 */
import { open as openFile, type FileHandle } from 'node:fs/promises'
import { readSync, writeSync } from 'node:fs'
import { HoldfastError } from '../errors.ts'
import { joinRanges, pagemapEntryBytes, softDirtyPages } from '../pagemap.ts'
import { pageBytes, type MemoryRange, type ProcessMemory, type WriteTracking } from '../process-memory.ts'

const clearSoftDirty = '4'
const pagesAtOnce = 2 ** 16

export async function trackBySoftDirty(
  pid: number,
  memory: Pick<ProcessMemory, 'read'>,
  ranges: readonly MemoryRange[],
): Promise<WriteTracking> {
  await using stack = new AsyncDisposableStack()
  const pagemap = stack.adopt(await openFile(`/proc/${pid}/pagemap`, 'r'), (file) => file.close())
  const clearRefs = stack.adopt(await openFile(`/proc/${pid}/clear_refs`, 'w'), (file) => file.close())
  return new SoftDirtyTracking(pid, memory, { pagemap, clearRefs, files: stack.move() }, ranges)
}

interface Opened {
  readonly pagemap: FileHandle
  readonly clearRefs: FileHandle
  readonly files: AsyncDisposableStack
}

class SoftDirtyTracking implements WriteTracking {
  readonly kind = 'soft-dirty'
  readonly needsStandstill = true
  readonly #pid: number
  readonly #memory: Pick<ProcessMemory, 'read'>
  readonly #opened: Opened
  readonly #ranges: readonly MemoryRange[]
  readonly #entries = Buffer.allocUnsafeSlow(pagesAtOnce * pagemapEntryBytes)
  /** What was noted before is of no meaning to whoever begins now. */
  #isFirst = true

  constructor(pid: number, memory: Pick<ProcessMemory, 'read'>, opened: Opened, ranges: readonly MemoryRange[]) {
    this.#pid = pid
    this.#memory = memory
    this.#opened = opened
    this.#ranges = ranges
  }

  take(): MemoryRange[] {
    const written = this.#isFirst ? [...this.#ranges] : this.#ranges.flatMap((range) => this.#look(range))
    writeSync(this.#opened.clearRefs.fd, clearSoftDirty)
    this.#isFirst = false
    return written
  }

  count(most: number): number {
    let pages = 0
    for (const range of this.#ranges) {
      if (pages >= most) break
      for (const { bytes } of this.#look(range)) pages += bytes / pageBytes
    }
    return Math.min(pages, most)
  }

  read(address: number, into: Uint8Array): void {
    this.#memory.read(address, into)
  }

  async stop(): Promise<void> {
    await this.#opened.files[Symbol.asyncDispose]()
  }

  #look({ start, bytes }: MemoryRange): MemoryRange[] {
    const found: MemoryRange[] = []
    const end = start + bytes
    for (let from = start; from < end;) {
      const entries = this.#entries.subarray(0, Math.ceil((end - from) / pageBytes) * pagemapEntryBytes)
      const at = (from / pageBytes) * pagemapEntryBytes
      const count = readSync(this.#opened.pagemap.fd, entries, 0, entries.length, at)
      if (count < pagemapEntryBytes)
        throw new HoldfastError('host-error', `what process ${this.#pid} wrote cannot be read`)
      const whole = count - (count % pagemapEntryBytes)
      found.push(...softDirtyPages(entries.subarray(0, whole), from))
      from += (whole / pagemapEntryBytes) * pageBytes
    }
    return joinRanges(found)
  }
}
