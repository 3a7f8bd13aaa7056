/**
 * A clock that jumps from one timer to the next. Whatever is due at the same instant fires in the order in which it was
 * asked for, so a run is the same each time. Between two timers every promise that can settle does.
 */
import type { Clock } from '../base/clock.ts'

interface Waiting {
  readonly at: number
  readonly sequence: number
  readonly callback: () => void
}

export class VirtualClock implements Clock {
  #elapsedMs = 0
  #sequence = 0
  #waiting: Waiting[] = []
  readonly #startMs: number

  constructor(startMs = Date.UTC(2026, 0, 1)) {
    this.#startMs = startMs
  }

  now(): number {
    return this.#startMs + this.#elapsedMs
  }

  monotonic(): number {
    return this.#elapsedMs
  }

  timer(ms: number, callback: () => void): Disposable {
    const entry: Waiting = { at: this.#elapsedMs + Math.max(0, ms), sequence: this.#sequence++, callback }
    this.#waiting.push(entry)
    return { [Symbol.dispose]: () => void (this.#waiting = this.#waiting.filter((other) => other !== entry)) }
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const reason = (): Error => (signal?.reason instanceof Error ? signal.reason : new Error(String(signal?.reason)))
      if (signal?.aborted === true) return reject(reason())
      const timer = this.timer(ms, () => {
        signal?.removeEventListener('abort', onAbort)
        resolve()
      })
      const onAbort = (): void => {
        timer[Symbol.dispose]()
        reject(reason())
      }
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  }

  /** Lets time pass until `isDone` holds; false when `limitMs` of virtual time went by, or nothing was left to happen. */
  async runUntil(isDone: () => boolean, limitMs = 3_600_000): Promise<boolean> {
    const end = this.#elapsedMs + limitMs
    for (;;) {
      await settleMicrotasks()
      if (isDone()) return true
      const next = this.#next()
      if (next === undefined || next.at > end) {
        this.#elapsedMs = Math.max(this.#elapsedMs, next === undefined ? this.#elapsedMs : end)
        return isDone()
      }
      this.#fire(next)
    }
  }

  /** Runs until the promise settles and passes its outcome on; rejects when it has not within `limitMs` of virtual time. */
  async settle<T>(promise: Promise<T>, limitMs = 3_600_000): Promise<T> {
    let isSettled = false
    const mark = (): void => void (isSettled = true)
    promise.then(mark, mark)
    if (!(await this.runUntil(() => isSettled, limitMs))) throw new Error(`nothing settled it in ${limitMs} ms`)
    return promise
  }

  /** Lets `ms` go by. */
  async pass(ms: number): Promise<void> {
    await this.settle(this.sleep(ms), ms + 1)
  }

  #next(): Waiting | undefined {
    return this.#waiting.reduce<Waiting | undefined>(
      (best, entry) =>
        best === undefined || entry.at < best.at || (entry.at === best.at && entry.sequence < best.sequence)
          ? entry
          : best,
      undefined,
    )
  }

  #fire(entry: Waiting): void {
    this.#waiting = this.#waiting.filter((other) => other !== entry)
    this.#elapsedMs = Math.max(this.#elapsedMs, entry.at)
    entry.callback()
  }
}

/** One turn of the real event loop: every promise that can settle has. */
function settleMicrotasks(): Promise<void> {
  // eslint-disable-next-line no-restricted-globals -- this is the clock: it must wait for microtasks, not for time
  return new Promise((resolve) => setImmediate(resolve))
}
