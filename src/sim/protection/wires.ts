/** Time and messages between simulated hosts: messages are late, lost, said twice and out of order; links are cut in one direction. */
import type { SeededRandom } from '../seeded-random.ts'

interface Entry {
  readonly at: number
  readonly order: number
  readonly run: () => void
}

/** Events in the order of their time; a binary heap. */
export class Agenda {
  now = 0
  readonly #heap: Entry[] = []
  #order = 0

  at(at: number, run: () => void): void {
    const heap = this.#heap
    heap.push({ at: Math.max(at, this.now), order: this.#order++, run })
    for (let child = heap.length - 1; child > 0;) {
      const parent = (child - 1) >> 1
      if (!isBefore(heap, child, parent)) break
      swap(heap, child, parent)
      child = parent
    }
  }

  runUntil(end: number): void {
    for (let next = this.#heap[0]; next !== undefined && next.at <= end; next = this.#heap[0]) {
      this.#removeFirst()
      this.now = next.at
      next.run()
    }
    this.now = end
  }

  #removeFirst(): void {
    const heap = this.#heap
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    heap[0] = last
    for (let parent = 0; ;) {
      const left = 2 * parent + 1
      if (left >= heap.length) break
      const child = left + 1 < heap.length && isBefore(heap, left + 1, left) ? left + 1 : left
      if (!isBefore(heap, child, parent)) break
      swap(heap, child, parent)
      parent = child
    }
  }
}

function isBefore(heap: readonly Entry[], a: number, b: number): boolean {
  const [first, second] = [heap[a] as Entry, heap[b] as Entry]
  return first.at < second.at || (first.at === second.at && first.order < second.order)
}

function swap(heap: Entry[], a: number, b: number): void {
  const kept = heap[a] as Entry
  heap[a] = heap[b] as Entry
  heap[b] = kept
}

export class Wires {
  readonly #agenda: Agenda
  readonly #random: SeededRandom
  readonly #cut = new Set<string>()
  /** Until then messages are now and then very late, lost or repeated. */
  isCalm = false

  constructor(agenda: Agenda, random: SeededRandom) {
    this.#agenda = agenda
    this.#random = random
  }

  cut(from: string, to: string): void {
    this.#cut.add(`${from}>${to}`)
  }

  mend(from: string, to: string): void {
    this.#cut.delete(`${from}>${to}`)
  }

  send(from: string, to: string, arrive: () => void): void {
    const random = this.#random
    const copies = !this.isCalm && random.chance(0.02) ? 2 : 1
    for (let copy = 0; copy < copies; copy++) {
      if (this.#cut.has(`${from}>${to}`) || (!this.isCalm && random.chance(0.01))) continue
      const isLate = !this.isCalm && random.chance(0.02)
      const delay = 1 + random.int(isLate ? 600 : 20)
      this.#agenda.at(this.#agenda.now + delay, () => {
        if (!this.#cut.has(`${from}>${to}`)) arrive()
      })
    }
  }
}
