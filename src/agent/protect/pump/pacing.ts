/**
 * When the next epoch is due. Output that waits is what the outside feels, so it makes an epoch come soon; without any, one
 * comes seldom, since each costs the guest a pause, but before more was written than the link carries in a moment: output
 * may begin to wait at any time, and waits for all of that. However fast, the guest stands still for a bounded share of the
 * time.
 */
import type { ProtectionSettings } from '../../../contracts/protection.ts'

/** The guest runs at least so many times as long as it stood still. */
const runningPerPause = 4
/** A journal of this size is worth an epoch of its own. */
const largeJournalBytes = 4 * 2 ** 20
/** What an epoch brings is to be sent within so many of the shortest epochs. */
const epochsToSend = 3
/** Of a link that has carried nothing yet: a gigabit's tenth. */
const assumedBytesPerMs = 12_500
/** A guest is not held back for less: any link carries it in a moment. */
const alwaysCarriedBytes = 32 * 2 ** 20

export interface Pace {
  /** Since the last epoch was taken, milliseconds. */
  readonly sinceMs: number
  readonly lastPauseMs: number
  readonly hasHeldOutput: boolean
  readonly journalBytes: number
  /** Memory that was written since the last epoch, as far as is known. */
  readonly writtenBytes: number
  /** How fast written memory has reached the second of late; undefined before any has. */
  readonly bytesPerMs: number | undefined
}

/** Milliseconds until the next epoch is due; 0 or less: now. */
export function dueInMs(pace: Pace, settings: ProtectionSettings): number {
  const { shortestEpochMs, longestEpochMs } = settings
  const sendableBytes = (pace.bytesPerMs ?? assumedBytesPerMs) * shortestEpochMs * epochsToSend
  const isMuch = pace.journalBytes > largeJournalBytes || pace.writtenBytes > sendableBytes
  const wanted = pace.hasHeldOutput || isMuch ? shortestEpochMs : longestEpochMs
  return Math.max(wanted, pace.lastPauseMs * runningPerPause) - pace.sinceMs
}

/**
 * While an epoch is on its way the guest may write so much before it is held back: what the link carries in two of the
 * longest epochs.
 */
export function mostWaitingBytes(bytesPerMs: number | undefined, { longestEpochMs }: ProtectionSettings): number {
  return Math.max(alwaysCarriedBytes, (bytesPerMs ?? assumedBytesPerMs) * longestEpochMs * 2)
}
