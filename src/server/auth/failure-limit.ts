/**
 * How often an address may show wrong secrets. Beyond that, wrong ones are answered `too-many-requests`. Right ones are
 * always taken: with 256 random bits nothing can be guessed, and nobody must be able to lock others out behind the same
 * address.
 */
import type { Clock } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'

const windowMs = 60_000
const maxFailures = 20
const maxAddresses = 10_000

export class FailureLimit {
  readonly #clock: Clock
  readonly #counts = new Map<string, { count: number; until: number }>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Counts a failure; the error to answer with. */
  failed(address: string, error: HoldfastError): HoldfastError {
    const now = this.#clock.monotonic()
    let entry = this.#counts.get(address)
    if (entry === undefined || entry.until <= now) {
      this.#dropOld(now)
      entry = { count: 0, until: now + windowMs }
      this.#counts.set(address, entry)
    }
    entry.count++
    if (entry.count <= maxFailures) return error
    return new HoldfastError('too-many-requests', 'too many wrong tokens or codes from this address', {
      mend: 'Wait a minute.',
    })
  }

  #dropOld(now: number): void {
    if (this.#counts.size < maxAddresses) return
    for (const [address, entry] of this.#counts) if (entry.until <= now) this.#counts.delete(address)
    if (this.#counts.size >= maxAddresses) this.#counts.clear()
  }
}
