/** Which cleared alarms are forgotten. Pure. */
import { isOpen, type AlarmRecord } from './alarm-record.ts'

const keptMs = 30 * 24 * 60 * 60_000
const keptCleared = 1000

/** Those cleared more than 30 days ago, and of the others all but the newest 1,000. */
export function forgettable(records: readonly AlarmRecord[], nowMs: number): AlarmRecord[] {
  // One that a person cleared while its condition lasts is what keeps it from being raised again.
  const cleared = records.filter((record) => !isOpen(record) && record.mutedUntil === null)
  const newestFirst = cleared.toSorted((a, b) => (b.clearedAt ?? '').localeCompare(a.clearedAt ?? ''))
  return newestFirst.filter(({ clearedAt }, at) => at >= keptCleared || nowMs - Date.parse(clearedAt ?? '') > keptMs)
}
