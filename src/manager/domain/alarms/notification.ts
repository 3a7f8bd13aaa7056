/** Who is told of alarms, and what is owed to them. Pure. */
import type { AlarmId, DeliveryId, TargetId } from '../../../base/ids.ts'
import { alarmSeverities, type Alarm, type AlarmSeverity } from '../../../contracts/alarms.ts'
import type { MailSecurity } from '../../../contracts/notifications.ts'

export interface WebhookTarget {
  /** Sealed: the path of many a webhook is its secret. */
  readonly url: string
  /** What may be shown of it. */
  readonly origin: string
  /** Sealed; null: not signed. */
  readonly secret: string | null
  readonly ca: string | null
}

export interface EmailTarget {
  readonly host: string
  readonly port: number
  readonly security: MailSecurity
  readonly user: string | null
  /** Sealed. */
  readonly password: string | null
  readonly ca: string | null
  readonly from: string
  readonly to: readonly string[]
}

export interface TargetRecord {
  readonly id: TargetId
  readonly v: 1
  readonly uuid: string
  readonly name: string
  readonly created: string
  readonly leastSeverity: AlarmSeverity
  readonly tellsClearing: boolean
  readonly webhook: WebhookTarget | null
  readonly email: EmailTarget | null
}

/** What is sent; the same each time that it is tried. */
export interface Notice {
  readonly version: 1
  /** The same for every try. */
  readonly delivery: string
  readonly change: 'raised' | 'cleared' | 'test'
  readonly cluster: { readonly id: string; readonly name: string }
  readonly alarm: Omit<Alarm, 'revision'>
}

/** Something that a target has not been told yet; removed when it was, or is given up. */
export interface DeliveryRecord {
  readonly id: DeliveryId
  readonly v: 1
  readonly target: TargetId
  readonly alarm: AlarmId
  readonly notice: Notice
  readonly created: string
  /** Tries that failed. */
  readonly attempts: number
  /** Not tried again before. */
  readonly nextAt: string
  /** Why the last one failed. */
  readonly problem: string | null
}

export function isTold(target: TargetRecord, change: 'raised' | 'cleared', severity: AlarmSeverity): boolean {
  if (change === 'cleared' && !target.tellsClearing) return false
  return alarmSeverities.indexOf(severity) <= alarmSeverities.indexOf(target.leastSeverity)
}

const pausesMs = [5_000, 15_000, 60_000, 5 * 60_000, 15 * 60_000] as const
const longestPauseMs = 60 * 60_000
const dayMs = 24 * 60 * 60_000
/** A wall clock that jumped must not give up what was hardly tried. */
const leastAttempts = 10

/** The pause after so many tries that failed. */
export function pauseAfterMs(attempts: number): number {
  return pausesMs[attempts - 1] ?? longestPauseMs
}

/** Whether it is to be tried now. A wall clock that went back does not make it wait for longer than the longest pause. */
export function isDue({ nextAt }: Pick<DeliveryRecord, 'nextAt'>, nowMs: number): boolean {
  const waitMs = Date.parse(nextAt) - nowMs
  return waitMs <= 0 || waitMs > longestPauseMs
}

/** After a try that failed: what is kept, or null when it is given up. */
export function afterFailure(record: DeliveryRecord, problem: string, nowMs: number): DeliveryRecord | null {
  const attempts = record.attempts + 1
  if (nowMs - Date.parse(record.created) >= dayMs && attempts >= leastAttempts) return null
  const nextAt = new Date(nowMs + pauseAfterMs(attempts)).toISOString()
  return { ...record, attempts, nextAt, problem: problem.slice(0, 500) }
}
