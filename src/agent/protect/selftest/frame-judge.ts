/**
 * What the guest of the self-test sends (src/hypervisor/selftest-guest), judged: the number of each frame is greater than
 * that of the one before, and the guest has found its memory as it left it. Frames may be lost, as on any network: those
 * that were on their way through a QEMU that was killed. None may come twice: it would be of a guest that went back.
 */
import { HoldfastError } from '../../../base/errors.ts'

/** Of the UDP frame: "HFST", the tick, and 0, or the address where the memory was wrong, what was expected, what was found. */
export const framePayloadBytes = 24

export class FrameJudge {
  #last = -1
  lost = 0

  /** The newest number; -1 before the first. */
  get last(): number {
    return this.#last
  }

  /** Throws `hypervisor-error` when the guest has gone back, or has found its memory wrong. */
  take(payload: Buffer): void {
    if (payload.length !== framePayloadBytes || payload.toString('latin1', 0, 4) !== 'HFST') return
    const [tick, at] = [payload.readUInt32LE(4), payload.readUInt32LE(8)]
    if (at !== 0) {
      const [expected, found] = [payload.readUInt32LE(12), payload.readUInt32LE(16)].map((word) => word.toString(16))
      throw new HoldfastError(
        'hypervisor-error',
        `the guest found its memory wrong in tick ${tick}: ${found} in place of ${expected} at 0x${at.toString(16)}`,
      )
    }
    if (tick <= this.#last)
      throw new HoldfastError('hypervisor-error', `the guest went back: it sent ${tick} after ${this.#last}`)
    if (this.#last >= 0) this.lost += tick - this.#last - 1
    this.#last = tick
  }
}
