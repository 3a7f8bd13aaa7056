/**
 * When the next epoch is due. Output that waits is what the outside feels, so it makes an epoch come soon; without any, one
 * comes seldom, since each costs the guest a pause. However fast, the guest stands still for a bounded share of the time.
 */
import type { ProtectionSettings } from '../../../contracts/protection.ts'

/** The guest runs at least so many times as long as it stood still. */
const runningPerPause = 4
/** A journal of this size is worth an epoch of its own. */
const largeJournalBytes = 4 * 2 ** 20

export interface Pace {
  /** Since the last epoch was taken, milliseconds. */
  readonly sinceMs: number
  readonly lastPauseMs: number
  readonly hasHeldOutput: boolean
  readonly journalBytes: number
}

/** Milliseconds until the next epoch is due; 0 or less: now. */
export function dueInMs(pace: Pace, settings: ProtectionSettings): number {
  const { shortestEpochMs, longestEpochMs } = settings
  const isUrgent = pace.hasHeldOutput || pace.journalBytes > largeJournalBytes
  const wanted = isUrgent ? shortestEpochMs : longestEpochMs
  return Math.max(wanted, pace.lastPauseMs * runningPerPause) - pace.sinceMs
}
