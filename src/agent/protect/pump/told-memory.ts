/**
 * Test mode, the primary's half: a copy of all that the second was told, compared with the guest's whole memory while it
 * stands still. What differs was written and not told: the tracker has missed it. The second compares by the checksums.
 */
import { HoldfastError } from '../../../base/errors.ts'
import { checksumsOf, MemoryShadow } from '../../../base/memory-shadow.ts'
import { pageBytes, type MemoryRange, type TrackerKind } from '../../../base/process-memory.ts'
import type { GuestMemory, PageRange } from '../../../hypervisor/checkpoint/guest-memory.ts'

type Pages = Pick<GuestMemory, 'pages' | 'read'>

export class ToldMemory {
  readonly #there: Pages
  readonly #tracker: TrackerKind
  readonly #shadow: MemoryShadow

  /** `there`: the guest's memory itself, whatever the tracker says is in it. */
  constructor(there: Pages, tracker: TrackerKind) {
    this.#there = there
    this.#tracker = tracker
    this.#shadow = new MemoryShadow([wholeOf(there)])
  }

  told({ first }: PageRange, bytes: Uint8Array): void {
    this.#shadow.put(first * pageBytes, bytes)
  }

  /** Gives the checksums of all memory. Throws `internal` when a page was missed. */
  check(): number[] {
    const missed = this.#shadow.compare(readerOf(this.#there))
    const [first] = missed
    if (first === undefined) return this.#shadow.checksums()
    const pages = missed.reduce((sum, { bytes }) => sum + bytes, 0) / pageBytes
    throw new HoldfastError(
      'internal',
      `test mode: ${this.#tracker} has missed ${pages} written pages of ${this.#there.pages}, the first ${first.start / pageBytes}`,
    )
  }
}

/** The second's half. Throws `internal` when its memory is not what the primary's was. */
export function mustEqual(here: Pages, epoch: number, checksums: readonly number[]): void {
  const own = checksumsOf(wholeOf(here), readerOf(here))
  const differing = own.filter((sum, at) => sum !== checksums[at]).length
  if (differing === 0 && own.length === checksums.length) return
  const first = own.findIndex((sum, at) => sum !== checksums[at])
  throw new HoldfastError(
    'internal',
    `test mode: after epoch ${epoch} the second's memory differs from the primary's in ${differing} MiB of ${checksums.length}, the first ${first}`,
  )
}

function wholeOf({ pages }: Pages): MemoryRange {
  return { start: 0, bytes: pages * pageBytes }
}

function readerOf(memory: Pages): (address: number, into: Uint8Array) => void {
  return (address, into) => {
    memory.read({ first: address / pageBytes, count: into.length / pageBytes }, into)
  }
}
