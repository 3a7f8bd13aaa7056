/**
 * Since when VMs wait to be started, or run: by the record where that is known, so that it outlasts a manager, and from then
 * on by the clock that does not jump. Attempts that fail write the record anew, and change nothing of how long it waits.
 */
import type { Clock } from '../../base/clock.ts'
import type { VmId } from '../../base/ids.ts'
import type { RunRecord } from '../../contracts/run-record.ts'

/** Wall clocks of managers differ, and jump: more than this is not believed. */
const mostMs = 24 * 3_600_000

export class StateTimes {
  readonly #clock: Clock
  readonly #since = new Map<VmId, { readonly state: string; readonly at: number }>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Milliseconds of the clock that does not jump. `isWaiting`: whether it is to be started. */
  of(run: RunRecord, isWaiting: boolean): number {
    const state = isWaiting ? 'waiting' : run.phase === 'moving' ? 'running' : run.phase
    const known = this.#since.get(run.vm)
    if (known?.state === state) return known.at
    const now = this.#clock.monotonic()
    const elapsed = this.#clock.now() - Date.parse(run.since)
    const at = now - (Number.isNaN(elapsed) ? 0 : Math.min(Math.max(elapsed, 0), mostMs))
    this.#since.set(run.vm, { state, at })
    return at
  }

  /** Nothing is kept of others than these. */
  keepOnly(vms: ReadonlySet<VmId>): void {
    for (const vm of this.#since.keys()) if (!vms.has(vm)) this.#since.delete(vm)
  }
}
