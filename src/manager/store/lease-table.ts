import type { Clock } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { Lease } from './store.ts'

/**
 * Leases, counted by the monotonic clock. Who holds one survives a restart; how much of it was left does not: at the
 * beginning every lease counts as just renewed, so nobody is taken for gone because the manager was.
 */
export class LeaseTable {
  readonly #clock: Clock
  readonly #leases = new Map<string, { lease: Lease; until: number }>()

  constructor(clock: Clock, held: readonly Lease[] = []) {
    this.#clock = clock
    for (const lease of held) this.#leases.set(lease.id, { lease, until: clock.monotonic() + lease.ttlMs })
  }

  /** Takes or renews; undefined when another holds it. `isNew` when its holder or length is not what was held before. */
  acquire(id: string, owner: string, ttlMs: number): { readonly lease: Lease; readonly isNew: boolean } | undefined {
    if (!Number.isFinite(ttlMs) || ttlMs <= 0) throw new HoldfastError('internal', `a lease of ${ttlMs} ms`)
    const before = this.#leases.get(id)
    const now = this.#clock.monotonic()
    if (before !== undefined && before.lease.owner !== owner && before.until > now) return undefined
    const lease = { id, owner, ttlMs }
    this.#leases.set(id, { lease, until: now + ttlMs })
    return { lease, isNew: before?.lease.owner !== owner || before.lease.ttlMs !== ttlMs }
  }

  /** Whether it was held by this owner, and is no more. */
  release(id: string, owner: string): boolean {
    if (this.#leases.get(id)?.lease.owner !== owner) return false
    return this.#leases.delete(id)
  }

  owner(id: string): string | undefined {
    const held = this.#leases.get(id)
    return held !== undefined && held.until > this.#clock.monotonic() ? held.lease.owner : undefined
  }

  /** As after a restart of the manager: nothing is taken from anybody. */
  renewAll(): void {
    for (const held of this.#leases.values()) held.until = this.#clock.monotonic() + held.lease.ttlMs
  }
}
