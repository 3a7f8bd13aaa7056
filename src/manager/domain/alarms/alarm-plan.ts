/** What becomes of an alarm when its condition holds, or is over. Pure. */
import type { AlarmId } from '../../../base/ids.ts'
import { isoTime } from '../../../base/clock.ts'
import { isOpen, type AlarmRecord } from './alarm-record.ts'
import type { Finding } from './condition.ts'

/** One that comes back within this time after it was cleared by itself comes and goes. */
const flapMs = 60 * 60_000
/** The least that each coming back adds to the time until it is cleared again, doubled each time, up to the most. */
const firstFlapMs = 15_000
const longestFlapMs = 15 * 60_000
/** How long one that a person cleared is not raised again while its condition lasts. */
export const mutedMs = 24 * 60 * 60_000

export type Verdict =
  { readonly is: 'holds'; readonly type: string; readonly finding: Finding } | { readonly is: 'over' }

export interface AlarmDecision {
  readonly record: AlarmRecord
  /** What people are told; null: nothing (words that changed, a condition that is over after a person had cleared it). */
  readonly news: 'raised' | 'cleared' | null
}

/** Undefined: it stays as it is. `makeId` is for one that is there for the first time. */
export function decideAlarm(
  record: AlarmRecord | undefined,
  verdict: Verdict,
  nowMs: number,
  newId: AlarmId | null,
): AlarmDecision | undefined {
  if (verdict.is === 'over') return record === undefined ? undefined : over(record, nowMs)
  const { finding, type } = verdict
  if (record !== undefined && isOpen(record)) return stillOpen(record, finding, nowMs)
  if (record !== undefined && isMuted(record, finding, nowMs)) return undefined
  const id = record?.id ?? newId
  if (id === null) return undefined
  return { record: raised(record, { id, type, finding }, nowMs), news: 'raised' }
}

function over(record: AlarmRecord, nowMs: number): AlarmDecision | undefined {
  if (isOpen(record)) {
    const next = { ...record, state: 'cleared' as const, clearedAt: isoTime(nowMs), clearedBy: null, mutedUntil: null }
    return { record: next, news: 'cleared' }
  }
  return record.mutedUntil === null ? undefined : { record: { ...record, mutedUntil: null }, news: null }
}

function stillOpen(record: AlarmRecord, finding: Finding, nowMs: number): AlarmDecision | undefined {
  const { severity, message, mend, occurrence } = withWords(record, finding)
  const isAnother = occurrence !== record.occurrence
  if (isAnother || severity !== record.severity) {
    return { record: raised(record, { id: record.id, type: record.type, finding }, nowMs), news: 'raised' }
  }
  if (message === record.message && mend === record.mend) return undefined
  return { record: { ...record, message, mend }, news: null }
}

function isMuted(record: AlarmRecord, finding: Finding, nowMs: number): boolean {
  if (record.mutedUntil === null || (finding.occurrence ?? null) !== record.occurrence) return false
  return nowMs < Date.parse(record.mutedUntil)
}

type Words = Pick<AlarmRecord, 'severity' | 'message' | 'mend' | 'occurrence' | 'subject' | 'place'>

function withWords<T extends object>(base: T, finding: Finding): T & Words {
  const { subject, place = null, severity, message, mend, occurrence = null } = finding
  return { ...base, subject, place, severity, message: oneLine(message), mend: oneLine(mend), occurrence }
}

/** What programs say may have many lines. */
function oneLine(text: string): string {
  return text
    .replace(/[\s\u0000-\u001f\u007f]+/g, ' ')
    .trim()
    .slice(0, 2000)
}

function raised(
  before: AlarmRecord | undefined,
  { id, type, finding }: { readonly id: AlarmId; readonly type: string; readonly finding: Finding },
  nowMs: number,
): AlarmRecord {
  const now = isoTime(nowMs)
  const isSoon = before?.clearedAt != null && before.clearedBy === null && nowMs - Date.parse(before.clearedAt) < flapMs
  const flaps = before === undefined ? 0 : isOpen(before) ? before.flaps : isSoon ? before.flaps + 1 : 0
  return withWords(
    {
      ...{ id, v: 1 as const, type, state: 'raised' as const, created: before?.created ?? now, raisedAt: now, flaps },
      ...{ acknowledgedAt: null, acknowledgedBy: null, clearedAt: null, clearedBy: null, mutedUntil: null },
      count: (before?.count ?? 0) + 1,
    },
    finding,
  )
}

/** How long its condition must be over before it is cleared: longer each time that it came back. */
export function clearDelayMs(record: Pick<AlarmRecord, 'flaps'>, clearAfterMs: number): number {
  if (record.flaps === 0) return clearAfterMs
  return Math.max(clearAfterMs, Math.min(longestFlapMs, firstFlapMs * 2 ** (record.flaps - 1)))
}

/** A person takes care of it. Undefined: it is not raised. */
export function acknowledged(record: AlarmRecord, by: string, nowMs: number): AlarmRecord | undefined {
  if (record.state !== 'raised') return undefined
  return { ...record, state: 'acknowledged', acknowledgedAt: isoTime(nowMs), acknowledgedBy: by }
}

/** A person clears it. Undefined: it is cleared already. */
export function clearedBy(record: AlarmRecord, by: string, nowMs: number): AlarmRecord | undefined {
  if (!isOpen(record)) return undefined
  const mutedUntil = isoTime(nowMs + mutedMs)
  return { ...record, state: 'cleared', clearedAt: isoTime(nowMs), clearedBy: by, mutedUntil }
}
