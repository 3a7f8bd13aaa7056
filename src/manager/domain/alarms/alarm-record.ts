/**
 * What is kept of an alarm. There is one record for each (type, subject, place): a condition that comes back raises the same
 * alarm again, and counts.
 *
 *   raised ──acknowledge──▶ acknowledged
 *     ▲ ╰──over, or a person──▶ cleared ◀──╯
 *     ╰─────────holds again──────╯
 */
import type { AlarmId } from '../../../base/ids.ts'
import type { Alarm, AlarmSeverity, AlarmState, AlarmSubject } from '../../../contracts/alarms.ts'

export interface AlarmRecord {
  readonly id: AlarmId
  readonly v: 1
  readonly type: string
  readonly subject: AlarmSubject
  readonly place: AlarmSubject | null
  readonly severity: AlarmSeverity
  readonly state: AlarmState
  readonly message: string
  readonly mend: string
  readonly created: string
  readonly raisedAt: string
  readonly acknowledgedAt: string | null
  readonly acknowledgedBy: string | null
  readonly clearedAt: string | null
  readonly clearedBy: string | null
  readonly count: number
  /** How often in a row it came back soon after it was cleared: the more, the longer until it is cleared again. */
  readonly flaps: number
  /** Which one of several like it (the task of a restart); another one is news. */
  readonly occurrence: string | null
  /** A person cleared it although its condition lasts: it is not raised again until it was over once, or until then. */
  readonly mutedUntil: string | null
}

/** What makes an alarm one: the id of the claim that its record holds. */
export function alarmKey(
  type: string,
  subject: { readonly id: string },
  place: { readonly id: string } | null,
): string {
  return ['alarm', type, subject.id, ...(place === null ? [] : [place.id])].join('/')
}

export function isOpen(record: Pick<AlarmRecord, 'state'>): boolean {
  return record.state !== 'cleared'
}

/** As the API and those who are told see it. */
export function alarmView(record: AlarmRecord, revision: number): Alarm {
  return { ...alarmFacts(record), revision }
}

/** All but where it stands in the store. */
export function alarmFacts(record: AlarmRecord): Omit<Alarm, 'revision'> {
  const { id, type, subject, place, severity, state, message, mend, raisedAt, count } = record
  const { acknowledgedAt, acknowledgedBy, clearedAt, clearedBy } = record
  return {
    ...{ id, type, subject, place, severity, state, message, mend, raisedAt },
    ...{ acknowledgedAt, acknowledgedBy, clearedAt, clearedBy, count },
  }
}
