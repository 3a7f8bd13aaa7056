import { orAborted } from '../../../base/aborted.ts'
import { deadline, type Clock } from '../../../base/clock.ts'
import { HoldfastError } from '../../../base/errors.ts'

/** The promise's own end, if it comes in time. Rejects with `timeout`, or with the signal's reason; the work goes on. */
export async function within<T>(
  clock: Clock,
  promise: Promise<T>,
  ms: number,
  what: string,
  signal?: AbortSignal,
): Promise<T> {
  using late = deadline(clock, ms, new HoldfastError('timeout', `${what} within ${ms} ms`))
  return await orAborted(promise, signal === undefined ? late.signal : AbortSignal.any([signal, late.signal]))
}
