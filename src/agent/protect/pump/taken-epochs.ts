/**
 * The epochs that the primary has taken: the newest one as it is sent, and sent again after a broken connection, the output
 * of those that may not leave yet, and the figures of late ones.
 */
import type { Clock } from '../../../base/clock.ts'
import { momentOf, type ClockLag } from './clock-lag.ts'
import { encodeEpoch } from './epoch.ts'
import { Figures } from './figures.ts'
import { PackingChoice, Rate } from './packing.ts'
import { codePages, SentPages } from './page-coding.ts'
import type { Cut, PrimaryGuest } from './primary-guest.ts'
import { Scratch } from './scratch.ts'

interface Newest {
  readonly epoch: number
  readonly takenAt: number
  readonly readyAt: number
  readonly pauseMs: number
  readonly parts: readonly Uint8Array[]
  readonly bytes: number
  readonly writtenBytes: number
}

/** What is shorter says more about the way there and back than about what can be carried. */
const tellingBytes = 256 * 1024

export class TakenEpochs {
  readonly #clock: Clock
  readonly #guestClock: ClockLag
  readonly #outputs = new Map<number, Cut['output']>()
  readonly #sent = new SentPages()
  readonly #packing = new PackingChoice()
  /** Two, in turn: what is not packed is sent from there. */
  #coded = new Scratch()
  #codedBefore = new Scratch()
  readonly #plain = new Scratch()
  readonly #carried = new Rate(tellingBytes)
  readonly figures = new Figures()
  #newest: Newest = { epoch: 0, takenAt: 0, readyAt: 0, pauseMs: 0, parts: [], bytes: 0, writtenBytes: 0 }
  #safeAt: number | undefined

  constructor(clock: Clock, guestClock: ClockLag) {
    this.#clock = clock
    this.#guestClock = guestClock
  }

  /**
   * Makes it ready to be sent. `sentBytes`: all that was sent so far; `heldBackMs`: how long the guest was held back
   * before it.
   */
  async keep(
    n: number,
    epoch: number,
    cut: Cut,
    { sentBytes, heldBackMs }: { readonly sentBytes: number; readonly heldBackMs: number },
  ): Promise<void> {
    const takenAt = this.#clock.monotonic()
    const { isPaused, ranges, devices, journal, check, output, pauseMs, givenMs } = cut
    const clock = this.#guestClock.note(momentOf(cut), pauseMs - givenMs)
    // From here on it waits for the second to have the epoch, also while that is made ready.
    this.#outputs.set(epoch, output)
    const isPacked = this.#packing.next()
    if (!isPacked) this.#sent.clear()
    ;[this.#coded, this.#codedBefore] = [this.#codedBefore, this.#coded]
    const room = this.#coded.room(cut.pages.length)
    const sent = isPacked ? this.#sent : undefined
    const pages = await codePages(ranges, cut.pages, room, sent, () => this.#clock.sleep(0))
    const whole = { n, epoch, isPaused, ranges, pages, devices, journal, check, clock }
    const encoded = await encodeEpoch(whole, isPacked ? this.#plain : undefined)
    const readyAt = this.#clock.monotonic()
    if (isPacked) this.#packing.notePacked(encoded.plainBytes, encoded.sentBytes, readyAt - takenAt)
    const { parts, sentBytes: bytes } = encoded
    this.#newest = { epoch, takenAt, readyAt, pauseMs, parts, bytes, writtenBytes: cut.pages.length }
    this.figures.note(takenAt, pauseMs, heldBackMs)
    this.figures.noteSent(takenAt, sentBytes)
  }

  /** The newest, as it goes over the wire. */
  get parts(): readonly Uint8Array[] {
    return this.#newest.parts
  }

  /** How fast written memory has reached the second of late, packed or not, bytes a millisecond; undefined before any has. */
  get bytesPerMs(): number | undefined {
    return this.#carried.bytesPerMs
  }

  /** How long ago the newest was taken, and how long the guest stands still for one, milliseconds. */
  get last(): { readonly sinceMs: number; readonly lastPauseMs: number } {
    const { epoch, takenAt, pauseMs } = this.#newest
    // The first takes hold of disks and NICs, which no other does.
    return { sinceMs: this.#clock.monotonic() - takenAt, lastPauseMs: epoch > 1 ? pauseMs : 0 }
  }

  /** The second has it. */
  acknowledged(epoch: number): void {
    if (epoch !== this.#newest.epoch || this.#safeAt === this.#newest.takenAt) return
    const { takenAt, readyAt, bytes, writtenBytes } = this.#newest
    const now = this.#clock.monotonic()
    this.#safeAt = takenAt
    this.#packing.link.note(bytes, now - readyAt)
    this.#carried.note(writtenBytes, now - takenAt)
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
