/**
 * How far a guest's clock has fallen behind true time, which is its host's. QEMU's virtual clock, by which every clock of a
 * guest but its RTC goes, stands still whenever the guest does, unless that is given back (clock-giving.ts); each saved state
 * says how far it has come, so what was lost between two epochs is exact. What the guest itself did about it is known only
 * where its agent tells its time.
 */
import type { GuestClock } from '../../../contracts/protection.ts'
import { Open, Type, type Static } from '../../../contracts/schema.ts'
import { virtualClockMs } from '../../../hypervisor/checkpoint/virtual-clock.ts'
import type { Cut } from './primary-guest.ts'

/** A moment at which the guest stood still. Milliseconds, by the host's clock and by the guest's virtual one. */
export interface ClockMoment {
  readonly wallMs: number
  readonly virtualMs: number
}

/** What the guest had lost by that moment. */
export const ClockBase = Open({ wallMs: Type.Number(), virtualMs: Type.Number(), lagMs: Type.Number() })
export type ClockBase = Static<typeof ClockBase>

/** What was measured is true for so long; later it is an estimate again. */
const measuredForMs = 30_000
/** Said to be right again only well below the limit, so that it is not said again and again. */
const rightAgain = 0.5
/** Of the newest epoch in the mean of late ones. */
const weight = 0.1

/** Undefined where the state does not tell. */
export function momentOf({ devices, stoppedAt }: Pick<Cut, 'devices' | 'stoppedAt'>): ClockMoment | undefined {
  const virtualMs = virtualClockMs(devices)
  return virtualMs === undefined ? undefined : { wallMs: stoppedAt, virtualMs }
}

export class ClockLag {
  readonly #limitMs: number
  /** Lag is counted from there. */
  #base: ClockBase | undefined
  #last: ClockMoment | undefined
  /** Undefined before the first moment, unless it was measured. */
  #lagMs: number | undefined
  /** Measured since the last moment; the pause that followed that one is in it already. */
  #measured: number | undefined
  #measuredAt = -Infinity
  #isBeyondLimit = false
  /** Of late, the part of the time in which the guest stood still. */
  lostShare = 0
  /** By the newest epoch. */
  lostMs = 0

  /** `base`: of whoever held it before; the guest was this host's since then. */
  constructor(limitMs: number, base?: ClockBase) {
    this.#limitMs = limitMs
    this.#base = base
  }

  get lagMs(): number | undefined {
    return this.#lagMs
  }

  /** The guest stood still, and has lost so much by it. Gives what belongs into the epoch that was taken. */
  note(moment: ClockMoment | undefined, lostMs = 0): ClockBase | undefined {
    if (moment === undefined) return undefined
    this.#noteShare(moment)
    const isAnew = this.#base === undefined || this.#measured !== undefined
    const lagMs = isAnew || this.#base === undefined ? (this.#measured ?? 0) : since(this.#base, moment)
    if (isAnew) this.#base = { ...moment, lagMs }
    this.#measured = undefined
    this.#lagMs = lagMs + lostMs
    this.lostMs = lostMs
    this.#judge()
    return { ...moment, lagMs }
  }

  /** By the guest's own word, just now; `nowMs` by a clock that does not jump. */
  measured(lagMs: number, nowMs: number): void {
    this.#measured = this.#lagMs = lagMs
    this.#measuredAt = nowMs
    this.#judge()
  }

  /** The guest boots, and takes the time from its RTC, which never stood still. */
  rebooted(): void {
    this.#measured = this.#lagMs = 0
    this.#measuredAt = -Infinity
    this.#judge()
  }

  /** Null while nothing is known. */
  seen(nowMs: number): GuestClock | null {
    if (this.#lagMs === undefined) return null
    const isMeasured = nowMs - this.#measuredAt < measuredForMs
    return { lagMs: Math.round(this.#lagMs * 10) / 10, isMeasured, isBeyondLimit: this.#isBeyondLimit }
  }

  #noteShare(moment: ClockMoment): void {
    const passedMs = moment.wallMs - (this.#last?.wallMs ?? Infinity)
    if (this.#last !== undefined && passedMs > 0) {
      const lost = Math.min(1, Math.max(0, since({ ...this.#last, lagMs: 0 }, moment) / passedMs))
      this.lostShare += (lost - this.lostShare) * weight
    }
    this.#last = moment
  }

  #judge(): void {
    const limitMs = this.#limitMs * (this.#isBeyondLimit ? rightAgain : 1)
    this.#isBeyondLimit = limitMs > 0 && (this.#lagMs ?? 0) > limitMs
  }
}

/** What a guest that had lost `base.lagMs` has lost by now. */
function since(base: ClockBase, { wallMs, virtualMs }: ClockMoment): number {
  return base.lagMs + (wallMs - base.wallMs) - (virtualMs - base.virtualMs)
}
