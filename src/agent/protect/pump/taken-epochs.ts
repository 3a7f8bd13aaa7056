/**
 * The epochs that the primary has taken: the newest one as it is sent, and sent again after a broken connection, the output
 * of those that may not leave yet, and the figures of late ones.
 */
import type { Clock } from '../../../base/clock.ts'
import { momentOf, type ClockLag } from './clock-lag.ts'
import { encodeEpoch } from './epoch.ts'
import { Figures } from './figures.ts'
import type { Cut, PrimaryGuest } from './primary-guest.ts'

interface Newest {
  readonly epoch: number
  readonly takenAt: number
  readonly pauseMs: number
  readonly parts: readonly Uint8Array[]
}

export class TakenEpochs {
  readonly #clock: Clock
  readonly #guestClock: ClockLag
  readonly #outputs = new Map<number, Cut['output']>()
  readonly figures = new Figures()
  #newest: Newest = { epoch: 0, takenAt: 0, pauseMs: 0, parts: [] }
  #safeAt: number | undefined

  constructor(clock: Clock, guestClock: ClockLag) {
    this.#clock = clock
    this.#guestClock = guestClock
  }

  /** `sentBytes`: all that was sent so far. */
  keep(n: number, epoch: number, cut: Cut, sentBytes: number): void {
    const takenAt = this.#clock.monotonic()
    const { isPaused, ranges, pages, devices, journal, output, pauseMs } = cut
    const clock = this.#guestClock.note(momentOf(cut), pauseMs)
    const parts = encodeEpoch({ n, epoch, isPaused, ranges, pages, devices, journal, clock })
    this.#newest = { epoch, takenAt, pauseMs, parts }
    this.#outputs.set(epoch, output)
    this.figures.note(takenAt, pauseMs)
    this.figures.noteSent(takenAt, sentBytes)
  }

  /** The newest, as it goes over the wire. */
  get parts(): readonly Uint8Array[] {
    return this.#newest.parts
  }

  /** How long ago the newest was taken, and how long the guest stood still for it, milliseconds. */
  get last(): { readonly sinceMs: number; readonly lastPauseMs: number } {
    const { takenAt, pauseMs } = this.#newest
    return { sinceMs: this.#clock.monotonic() - takenAt, lastPauseMs: pauseMs }
  }

  /** The second has it. */
  acknowledged(epoch: number): void {
    if (epoch === this.#newest.epoch) this.#safeAt = this.#newest.takenAt
  }

  /** Age of the newest state that is safe on the second host, milliseconds; null before there is any. */
  get lagMs(): number | null {
    return this.#safeAt === undefined ? null : Math.round(this.#clock.monotonic() - this.#safeAt)
  }

  /** Lets the output of all epochs up to this one go out, in their order. */
  release(through: number, guest: PrimaryGuest): void {
    for (const [epoch, output] of this.#outputs) {
      if (epoch > through) break
      guest.release(output)
      this.#outputs.delete(epoch)
    }
  }
}
