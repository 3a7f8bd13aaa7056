/**
 * Knowing what a process writes by comparing all of its memory with a copy: the way that always works. It costs as much
 * memory again, and each look reads everything.
 */
import { MemoryShadow } from './memory-shadow.ts'
import type { MemoryRange, ProcessMemory, WriteTracking } from './process-memory.ts'

export class ComparisonTracking implements WriteTracking {
  readonly kind = 'comparison'
  /** What is told of a page is what was compared: `read` gives the copy, not what the page has become since. */
  readonly needsStandstill = false
  readonly #memory: Pick<ProcessMemory, 'read'>
  readonly #ranges: readonly MemoryRange[]
  #shadow: MemoryShadow
  #isFirst = true

  constructor(memory: Pick<ProcessMemory, 'read'>, ranges: readonly MemoryRange[]) {
    this.#memory = memory
    this.#ranges = ranges
    this.#shadow = new MemoryShadow(ranges)
  }

  take(): MemoryRange[] {
    const written = this.#shadow.update((address, into) => this.#memory.read(address, into))
    if (!this.#isFirst) return written
    this.#isFirst = false
    return [...this.#ranges]
  }

  count(): number {
    return 0
  }

  read(address: number, into: Uint8Array): void {
    this.#shadow.read(address, into)
  }

  async stop(): Promise<void> {
    this.#shadow = new MemoryShadow([])
  }
}
