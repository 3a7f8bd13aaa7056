/**
 * Gives a guest back the time for which its epochs made it stand still: just before it goes on its virtual clock is moved on
 * to where it would be. To the guest that is a host that did not run it for some milliseconds, as hosts do all the time.
 */
import { describeError } from '../../../base/errors.ts'
import type { Logger } from '../../../base/log.ts'
import type { ClockInMemory } from '../../../hypervisor/checkpoint/clock-in-memory.ts'

/** A guest's kernel takes a jump of some twenty seconds for a fault of its own. */
const mostGivenMs = 10_000
/** A clock that is ahead of true time by more than this is not the one that was thought. */
const mostAheadMs = 100

export class ClockGiving {
  readonly #clock: ClockInMemory
  readonly #log: Logger
  /** When the guest was let go last, and where its clock stood then. */
  #last: { readonly nowMs: number; readonly virtualMs: number } | undefined

  constructor(clock: ClockInMemory, log: Logger) {
    this.#clock = clock
    this.#log = log
  }

  /** A saved state may still tell where the clock is. */
  get isSought(): boolean {
    return this.#clock.isSought
  }

  find(devices: Uint8Array): void {
    this.#clock.find(devices)
    if (this.#clock.isKnown) this.#log.info({}, 'the time that epochs take is given back to the guest')
    else if (!this.#clock.isSought)
      this.#log.warn({}, 'the guest’s clock was not found in QEMU: it loses what epochs take')
  }

  /** The guest stands still by somebody's wish, or by its own fault: that time is not given back. */
  forget(): void {
    this.#last = undefined
  }

  /** Just before the guest goes on; `nowMs` by a clock that does not jump. Gives how far its clock was moved on. */
  giveBack(nowMs: number): number {
    try {
      return this.#giveBack(nowMs)
    } catch (err) {
      // Whatever happens here, the guest is to go on.
      this.#log.warn({ err: describeError(err) }, 'the guest’s clock cannot be moved on any more')
      this.#clock.giveUp()
      return 0
    }
  }

  #giveBack(nowMs: number): number {
    if (!this.#clock.isKnown) return 0
    const virtualMs = this.#clock.nowMs()
    const lostMs = this.#last === undefined ? 0 : nowMs - this.#last.nowMs - (virtualMs - this.#last.virtualMs)
    if (lostMs < -mostAheadMs) {
      this.#log.warn({ lostMs }, 'the guest’s clock is ahead of time: it is left alone from now on')
      this.#clock.giveUp()
      return 0
    }
    const givenMs = Math.min(mostGivenMs, Math.max(0, lostMs))
    if (givenMs > 0) this.#clock.moveOn(givenMs)
    this.#last = { nowMs, virtualMs: virtualMs + givenMs }
    return givenMs
  }
}
