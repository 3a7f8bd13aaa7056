import type { Clock } from '../../../base/clock.ts'
import { HoldfastError } from '../../../base/errors.ts'

/** The promise's own end, if it comes in time. Rejects with `timeout`, or with the signal's reason; the work goes on. */
export async function within<T>(
  clock: Clock,
  signal: AbortSignal,
  promise: Promise<T>,
  ms: number,
  what: string,
): Promise<T> {
  signal.throwIfAborted()
  const late = Promise.withResolvers<never>()
  const abort = (): void => late.reject(signal.reason as Error)
  using _ = clock.timer(ms, () => late.reject(new HoldfastError('timeout', `${what} within ${ms} ms`)))
  signal.addEventListener('abort', abort, { once: true })
  try {
    return await Promise.race([promise, late.promise])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}
