/** Makes reconcilers look now instead of at their next turn. */
import type { Clock } from '../../base/clock.ts'

export class Nudges {
  readonly #wakes = new Map<string, () => void>()
  readonly #pending = new Set<string>()

  /** A reconciler that is looking now looks once more when it is done. */
  nudge(name: string): void {
    const wake = this.#wakes.get(name)
    if (wake === undefined) this.#pending.add(name)
    else wake()
  }

  /** Resolves after `ms`, when the signal aborts, or when nudged. */
  async pause(clock: Clock, name: string, ms: number, signal: AbortSignal): Promise<void> {
    if (this.#pending.delete(name)) return
    const woken = new AbortController()
    this.#wakes.set(name, () => woken.abort(new Error('nudged')))
    await clock.sleep(ms, AbortSignal.any([signal, woken.signal])).catch(() => undefined)
    this.#wakes.delete(name)
  }
}
