import type { Clock } from '../base/clock.ts'

/** Notices that a count does not change any more. */
export class StallWatch {
  readonly #clock: Clock
  #count = -1
  #since: number

  constructor(clock: Clock) {
    this.#clock = clock
    this.#since = clock.monotonic()
  }

  isQuietFor(count: number, ms: number): boolean {
    const now = this.#clock.monotonic()
    if (count !== this.#count) {
      this.#count = count
      this.#since = now
    }
    return now - this.#since > ms
  }
}

/** No byte for so long: the way to the other side is broken, whatever TCP still hopes for. */
export const stallMs = 15_000
