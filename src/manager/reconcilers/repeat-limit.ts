/** Keeps a reconciler, which looks again and again, from doing the same thing at every look. */
import type { Clock } from '../../base/clock.ts'

export class RepeatLimit<Key> {
  readonly #clock: Clock
  readonly #everyMs: number
  readonly #doneAt = new Map<Key, number>()

  /** The same thing is done at most once in `everyMs`. */
  constructor(clock: Clock, everyMs: number) {
    this.#clock = clock
    this.#everyMs = everyMs
  }

  /** Whether it is due now. Then it counts as done now. */
  take(key: Key): boolean {
    const now = this.#clock.monotonic()
    if (now - (this.#doneAt.get(key) ?? -Infinity) < this.#everyMs) return false
    this.#doneAt.set(key, now)
    // What is long past limits nothing: the table stays as small as what goes on.
    for (const [old, at] of this.#doneAt) if (now - at > 10 * this.#everyMs) this.#doneAt.delete(old)
    return true
  }
}
