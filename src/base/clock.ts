/** Time, passed in, so that the simulation can own it. */
export interface Clock {
  /** Wall clock, milliseconds since 1970. For showing and recording only: it may jump. */
  now(): number
  /**
   * Milliseconds that never jump and count through suspend (CLOCK_BOOTTIME). Deadlines and leases use this one.
   */
  monotonic(): number
  /** Resolves after `ms`; rejects with the signal's reason when aborted. 0: as soon as all that is ready had its turn. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
  /** Calls back once after `ms`; disposing the timer before then cancels it. Never keeps the process alive. */
  timer(ms: number, callback: () => void): Disposable
}

/** The instant as ISO 8601 in UTC, as every API field has it. */
export function isoTime(ms: number): string {
  return new Date(ms).toISOString()
}

/** A signal that aborts with a timeout error after `ms`, by the given clock. Dispose it when done. */
export function deadline(clock: Clock, ms: number, reason: unknown): { signal: AbortSignal } & Disposable {
  const controller = new AbortController()
  const timer = clock.timer(ms, () => controller.abort(reason))
  return { signal: controller.signal, [Symbol.dispose]: () => timer[Symbol.dispose]() }
}
