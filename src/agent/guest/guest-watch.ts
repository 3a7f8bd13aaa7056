/**
 * What is known of one guest's life since its last start or reset. Time counts only from one look to the next while the guest
 * could be judged at both and in between: whatever interrupts that, the counting begins anew. So what is reported errs
 * towards a guest that lives.
 */
import type { GuestObservation } from '../../contracts/monitoring.ts'

/** What one look has found. */
export interface Look {
  readonly nowMs: number
  /** Its agent has answered. */
  readonly hasAnswered: boolean
  /** Changes with everything that its disks were asked and with each frame that it sent. */
  readonly activity: string
}

/** Between two looks lies no more than this many times what should: this program stood still, and saw nothing of the guest. */
const mostDelay = 4
/** An agent that does not answer is waited for, and QEMU and storage before it. */
const longestLookMs = 10_000

export class GuestWatch {
  readonly boot: string
  readonly #since: number
  /** An agent has answered since the guest began. */
  #isHeard: boolean
  #silentMs = 0
  #idleMs = 0
  #last: Look | undefined
  #lookedAt = -Infinity
  #isLooking = false

  /** `isHeard`: an earlier agent of this host has noted so, of this very boot. */
  constructor(boot: string, nowMs: number, isHeard = false) {
    this.boot = boot
    this.#since = nowMs
    this.#isHeard = isHeard
  }

  get isHeard(): boolean {
    return this.#isHeard
  }

  /** Whether the next look is due. From then on it counts as begun, and no other is due until it has come to something. */
  takeDue(nowMs: number, everyMs: number): boolean {
    const pauseMs = this.#isLooking ? Math.max(everyMs, longestLookMs) : everyMs
    if (nowMs - this.#lookedAt < pauseMs) return false
    this.#lookedAt = nowMs
    this.#isLooking = true
    return true
  }

  /** It stands still, moves, or is in other hands: nothing that was counted says that it hangs. */
  interrupt(): void {
    this.#isLooking = false
    this.#last = undefined
    this.#silentMs = 0
    this.#idleMs = 0
  }

  take(look: Look, everyMs: number): void {
    const last = this.#last
    if (last !== undefined && look.nowMs - last.nowMs > mostDelay * everyMs + longestLookMs) this.interrupt()
    const elapsedMs = this.#last === undefined ? 0 : look.nowMs - this.#last.nowMs
    if (look.hasAnswered) this.#isHeard = true
    this.#silentMs = look.hasAnswered ? 0 : this.#silentMs + elapsedMs
    this.#idleMs = last?.activity === look.activity ? this.#idleMs + elapsedMs : 0
    this.#last = look
    this.#isLooking = false
  }

  observe(nowMs: number, isPanicked: boolean): GuestObservation {
    const agent = !this.#isHeard ? 'never' : this.#silentMs > 0 ? 'silent' : 'answering'
    const ms = Math.round
    const upMs = ms(nowMs - this.#since)
    return { boot: this.boot, upMs, agent, silentMs: ms(this.#silentMs), idleMs: ms(this.#idleMs), isPanicked }
  }
}
